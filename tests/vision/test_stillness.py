"""Photographs are no people, and people who sit still are. Both are simulated, with noise and flicker."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.types import Box, Face, TrackedFace
from edge_agent.vision.stillness import KEPT_PLACES, Life, Stillness
from tests.support.faces import astronaut_bgr
from tests.support.scenes import PHOTOGRAPH, SITTING, Sensor, Sitter, box_in, film

STILL_S = 10.0
SENSORS = {
    "a good camera": Sensor(noise=0.5, flicker=0.0),
    "an ordinary one": Sensor(noise=3.0, flicker=0.05),
    "strong flicker": Sensor(noise=3.0, flicker=0.1),
    "dim": Sensor(noise=8.0, flicker=0.05),
    "compressed": Sensor(noise=3.0, flicker=0.05, jpeg=70),
}


def lives(
    sitter: Sitter,
    sensor: Sensor,
    size_px: int,
    seconds: float = 20.0,
    fps: float = 5.0,
    seed: int = 0,
    picture: np.ndarray | None = None,
) -> list[tuple[float, Life]]:
    """The verdict on each frame of a film, with a detector that is off by a fortieth of the face."""
    stillness, rng = Stillness(STILL_S), np.random.default_rng(seed)
    verdicts = []
    shown = astronaut_bgr() if picture is None else picture
    for at_s, image in film(shown, sitter, sensor, size_px=size_px, seconds=seconds, fps=fps, seed=seed):
        box, (x, y) = box_in(size_px), rng.normal(0, size_px / 40, 2)
        face = TrackedFace(Face(Box(box.x + x, box.y + y, box.width, box.height), 0.9), 1, 1)
        (life,) = stillness.judge(image, [face], at_s)
        verdicts.append((at_s, life))
    return verdicts


@pytest.mark.parametrize("size_px", [24, 60])
@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_a_photograph_is_never_alive_and_is_left_out_after_ten_seconds(sensor, size_px):
    verdicts = lives(PHOTOGRAPH, sensor, size_px)
    assert Life.ALIVE not in {life for _, life in verdicts}
    assert {life for at_s, life in verdicts if at_s > STILL_S + 0.5} == {Life.STILL}


@pytest.mark.parametrize("size_px", [24, 60])
@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_somebody_who_sits_still_is_alive_within_seconds_and_stays_so(sensor, size_px):
    verdicts = lives(SITTING, sensor, size_px)
    assert next(at_s for at_s, life in verdicts if life is Life.ALIVE) < 10
    assert np.mean([life is Life.ALIVE for at_s, life in verdicts if at_s > 10]) > 0.75


@pytest.mark.parametrize("light", [0.4, 1.4])
def test_flicker_of_a_dark_or_a_partly_white_photograph_is_no_life(light):
    """White pixels are cut off at 255, so flicker does not scale them as it does the others."""
    picture = np.clip(astronaut_bgr() * light, 0, 255).astype(np.uint8)
    for sitter, life in ((PHOTOGRAPH, Life.STILL), (SITTING, Life.ALIVE)):
        verdicts = lives(sitter, SENSORS["strong flicker"], 90, 12.0, picture=picture)
        assert verdicts[-1][1] is life
        assert (Life.ALIVE in {seen for _, seen in verdicts}) is (life is Life.ALIVE)


def test_a_face_near_the_camera_is_judged_as_well():
    """200 pixels wide, and shrunk before it is looked at."""
    sensor = SENSORS["an ordinary one"]
    assert lives(PHOTOGRAPH, sensor, 200, 11.0, fps=2.5)[-1][1] is Life.STILL
    assert lives(SITTING, sensor, 200, 6.0, fps=2.5)[-1][1] is Life.ALIVE


def test_at_one_frame_a_second_people_and_photographs_differ_too():
    sensor = SENSORS["an ordinary one"]
    assert Life.ALIVE in {life for _, life in lives(SITTING, sensor, 60, fps=1.0)}
    assert {life for at_s, life in lives(PHOTOGRAPH, sensor, 60, fps=1.0) if at_s > 12} == {Life.STILL}


def test_who_walks_is_alive_at_once():
    """By moving half a face's width, whatever the picture shows."""
    stillness, image = Stillness(STILL_S), np.full((100, 300, 3), 90, np.uint8)
    seen = [
        stillness.judge(image, [TrackedFace(Face(Box(8.0 * step, 20, 40, 50), 0.9), 1, 1)], step / 5)[0]
        for step in range(20)
    ]
    assert seen[0] is Life.UNKNOWN
    assert seen[3:] == [Life.ALIVE] * 17


def test_a_visitor_before_a_photograph_does_not_bring_it_to_life():
    """Somebody stands there for eight seconds, and the tracker gives the photograph their number."""
    stillness, sensor = Stillness(STILL_S), SENSORS["an ordinary one"]
    wall = list(film(astronaut_bgr(), PHOTOGRAPH, sensor, size_px=60, seconds=40, fps=5, seed=1))
    guest = film(astronaut_bgr()[:, ::-1], SITTING, sensor, size_px=60, seconds=40, fps=5, seed=2)
    verdicts = []
    for (at_s, empty), (_, visited) in zip(wall, guest, strict=True):
        there = 15 <= at_s < 23
        face = TrackedFace(Face(box_in(60), 0.9), 2 if at_s >= 15 else 1, 1)
        verdicts.append((at_s, stillness.judge(visited if there else empty, [face], at_s)[0]))
    assert {life for at_s, life in verdicts if 11 < at_s < 15} == {Life.STILL}
    assert {life for at_s, life in verdicts if at_s >= 24} == {Life.STILL}


def test_a_screen_that_pauses_is_left_out_again():
    stillness, sensor = Stillness(STILL_S), SENSORS["an ordinary one"]
    playing = list(film(astronaut_bgr(), SITTING, sensor, size_px=60, seconds=10, fps=5, seed=1))
    paused = film(astronaut_bgr(), PHOTOGRAPH, sensor, size_px=60, seconds=60, fps=5, seed=1)
    frames = [*playing, *((10 + at_s, image) for at_s, image in paused)]
    face = TrackedFace(Face(box_in(60), 0.9), 1, 1)
    verdicts = [(at_s, stillness.judge(image, [face], at_s)[0]) for at_s, image in frames]
    assert verdicts[45][1] is Life.ALIVE
    assert {life for at_s, life in verdicts if at_s > 45} == {Life.STILL}


@pytest.mark.parametrize("size_px", [24, 60])
def test_a_photograph_whose_light_changes_once_does_not_come_to_life(size_px):
    """Half of it is lit by another lamp from then on. No later than four seconds after, that is how it looks."""
    stillness, late = Stillness(STILL_S), []
    for at_s, image in film(astronaut_bgr(), PHOTOGRAPH, Sensor(), size_px=size_px, seconds=20.0, fps=5.0, seed=0):
        if at_s > 8:
            image[:, : image.shape[1] // 2] //= 2
        (life,) = stillness.judge(image, [TrackedFace(Face(box_in(size_px), 0.9), 1, 1)], at_s)
        if at_s > 12:
            late.append(life)
    assert Life.ALIVE not in late


def test_memory_is_bounded():
    stillness, image = Stillness(STILL_S), np.full((64, 64, 3), 90, np.uint8)
    for step in range(3 * KEPT_PLACES):
        stillness.judge(image, [TrackedFace(Face(Box(60.0 * step, 0, 40, 50), 0.9), step, step)], step / 1000)
    assert len(stillness._places) <= KEPT_PLACES + 1
    assert len(stillness._began) <= KEPT_PLACES + 1


def test_it_can_be_switched_off():
    stillness = Stillness(0.0)
    image = np.zeros((64, 64, 3), np.uint8)
    assert stillness.judge(image, [TrackedFace(Face(Box(0, 0, 40, 50), 0.9), 1, 1)], 0.0) == [Life.ALIVE]
