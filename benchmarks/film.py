"""Films of people who enter, stop, cross, are hidden and leave. They are made of photographs, and each frame has its
truth.

Faces from ``wild_faces_dev.zip`` walk through a made-up room: nearer ones are larger, faster and hide farther ones;
pillars hide everybody; heads turn away for a moment. Some leave and return, pass one after the other, or hang on the
wall as photographs. The sensor has noise and the lamps flicker. Everything follows from the seed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.detectors import Detector
from edge_agent.types import Box

WIDTH, HEIGHT = 640, 480
FPS = 15.0
SECONDS = 40.0
SEEN_FROM = 0.6
"""Share of a face that must be visible for a detector to find it."""
NOISE = 3.0
"""Standard deviation of the sensor's noise, in grey levels, in every frame."""
GRAIN_MARGIN = 97
"""By how many pixels the noise moves from frame to frame, at most."""
FLICKER = 0.04
"""Share by which a lamp's 100 Hz makes bands of rows darker; they wander, since no camera is quite in step with it."""
Image = NDArray[np.uint8]


class Scene(Enum):
    """What happens in a film."""

    WALK = "walk"
    """Somebody new every few seconds, or in every other film every quarter minute."""
    CROWD = "crowd"
    """Somebody new every second or two."""
    RETURN = "return"
    """One or two people who leave and come back, again and again, by the same edge or the other one."""
    IN_TURN = "in turn"
    """One person at a time."""
    POSTERS = "posters"
    """Two or three photographs on the wall, and at most two people."""


@dataclass(frozen=True)
class Cutout:
    """A photographed head, cut out as a soft oval."""

    image: Image
    """BGR, shape (height, width, 3)."""
    alpha: NDArray[np.float32]
    """Opacity, shape (height, width, 1), 0 to 1."""
    face: Box
    """Where the detector sees the face, in pixels of ``image``."""


@dataclass(frozen=True)
class Truth:
    """One person in one frame."""

    person: int
    face: Box
    visible: float
    """Share of the face inside the picture and not hidden, 0 to 1; 0 while the head is turned away."""
    alive: bool = True
    """False for a photograph on the wall."""


@dataclass(frozen=True)
class Walker:
    """The path of one person through the picture."""

    cutout: Cutout
    start_s: float
    size_px: float
    """Width of the face."""
    y: float
    path: tuple[tuple[float, float], ...]
    """(seconds since start, x of the face's centre), straight in between."""
    away: tuple[tuple[float, float], ...]
    """Times (from, to), since start, when the back of the head is seen."""
    phase: float
    person: int
    """Who it is: the same number for each visit."""
    alive: bool = True

    def centre(self, at_s: float) -> tuple[float, float] | None:
        """Middle of the face, or None before the entry and after the exit; heads bob as people walk."""
        since_s = at_s - self.start_s
        times, xs = zip(*self.path, strict=True)
        if not 0 <= since_s <= times[-1]:
            return None
        bob = 0.05 * self.size_px * np.sin(2 * np.pi * 1.8 * since_s + self.phase) if self.alive else 0.0
        return float(np.interp(since_s, times, xs)), self.y + float(bob)

    def faces_us(self, at_s: float) -> bool:
        """Whether the face can be seen from the camera's side."""
        return not any(first <= at_s - self.start_s <= last for first, last in self.away)


@dataclass(frozen=True)
class Film:
    """A room, its pillars and its walkers, the farthest first."""

    background: Image
    pillars: tuple[tuple[int, int], ...]
    """(left, right) in pixels."""
    walkers: tuple[Walker, ...]
    seconds: float
    seed: int

    def frame(self, at_s: float) -> tuple[Image, list[Truth]]:
        """The picture at this moment and everybody in it."""
        canvas = self.background.astype(np.float32)
        owner = np.full((HEIGHT, WIDTH), -1)
        there = [(i, walker, centre) for i, walker in enumerate(self.walkers) if (centre := walker.centre(at_s))]
        boxes = [
            (i, walker, _paste(canvas, owner, i, walker=walker, centre=centre, at_s=at_s))
            for i, walker, centre in there
        ]
        for left, right in self.pillars:
            canvas[:, left:right] = (70, 75, 80)
            owner[:, left:right] = -2
        truth = [
            Truth(walker.person, box, _visible(owner, i, box) if walker.faces_us(at_s) else 0.0, walker.alive)
            for i, walker, box in boxes
        ]
        return _sensed(canvas, np.random.default_rng([self.seed, round(1000 * at_s)]), at_s), truth


def read_cutouts(photos: Path, detector: Detector, limit: int = 400) -> list[Cutout]:
    """Heads of the photos in which the detector finds exactly one face of some size, in the archive's order."""
    cutouts: list[Cutout] = []
    with zipfile.ZipFile(photos) as archive:
        for name in archive.namelist():
            if not name.endswith(".jpg") or len(cutouts) == limit:
                continue
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            faces = detector.detect(np.asarray(image, np.uint8))
            if len(faces) == 1 and faces[0].box.width >= 60:
                cutouts.append(_cut(np.asarray(image, np.uint8), faces[0].box))
    return cutouts


def _cut(image: Image, face: Box) -> Cutout:
    """An oval around a face, as far as the photo goes."""
    (x, y), (radius_x, radius_y) = face.centre, (0.72 * face.width, 0.68 * face.height)
    left, top = max(0, int(x - radius_x)), max(0, int(y - radius_y))
    part = image[top : int(y + radius_y), left : int(x + radius_x)]
    ys, xs = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    alpha = np.clip((1.0 - np.hypot((xs - x) / radius_x, (ys - y) / radius_y)) / 0.12, 0, 1).astype(np.float32)
    return Cutout(part, alpha[:, :, None], Box(face.x - left, face.y - top, face.width, face.height))


def make_film(cutouts: list[Cutout], seed: int, seconds: float = SECONDS, *, scene: Scene = Scene.WALK) -> Film:
    """A room with up to two pillars, and who comes into it."""
    rng = np.random.default_rng(seed)
    pillars = tuple(
        (left, left + int(rng.integers(25, 70))) for left in sorted(rng.integers(80, WIDTH - 150, rng.integers(0, 3)))
    )
    order = iter(rng.permutation(len(cutouts)).tolist())
    match scene:
        case Scene.WALK:
            pace_s = rng.uniform(2.0, 8.0) if seed % 2 else rng.uniform(10.0, 20.0)
            walkers = _arrivals(rng, cutouts, order, pace_s=pace_s, seconds=seconds)
        case Scene.CROWD:
            walkers = _arrivals(rng, cutouts, order, pace_s=rng.uniform(1.0, 2.0), seconds=seconds)
        case Scene.RETURN:
            walkers = [v for _ in range(1 + seed % 2) for v in _visits(rng, cutouts, [next(order)], seconds=seconds)]
        case Scene.IN_TURN:
            walkers = _visits(rng, cutouts, list(order), seconds=seconds)
        case Scene.POSTERS:
            walkers = [v for _ in range(seed % 3) for v in _visits(rng, cutouts, [next(order)], seconds=seconds)]
            walkers += _posters(rng, cutouts, [next(order) for _ in range(2 + seed % 2)], seconds=seconds)
    walkers.sort(key=lambda walker: (walker.alive, walker.size_px))
    return Film(_background(rng), pillars, tuple(walkers), seconds, seed)


def _arrivals(
    rng: np.random.Generator, cutouts: list[Cutout], order: Iterator[int], *, pace_s: float, seconds: float
) -> list[Walker]:
    """Somebody new every ``pace_s`` seconds on average."""
    walkers: list[Walker] = []
    at_s = -2.0
    for index in order:
        at_s += float(rng.exponential(pace_s))
        if at_s > seconds - 3:
            break
        walkers.append(_walker(rng, cutouts[index], at_s, person=index))
    return walkers


def _visits(rng: np.random.Generator, cutouts: list[Cutout], people: list[int], *, seconds: float) -> list[Walker]:
    """One visit after the other, of these people in turn, with half a second to ten between them."""
    visits: list[Walker] = []
    at_s, turn = float(rng.uniform(-1.0, 2.0)), 0
    while at_s < seconds - 2:
        person = people[turn % len(people)]
        visits.append(_walker(rng, cutouts[person], at_s, person=person))
        at_s, turn = at_s + visits[-1].path[-1][0] + float(rng.uniform(0.5, 10.0)), turn + 1
    return visits


def _posters(rng: np.random.Generator, cutouts: list[Cutout], people: list[int], *, seconds: float) -> list[Walker]:
    """Side by side on the wall, for the whole film."""
    places = [(k + rng.uniform(0.3, 0.7)) * WIDTH / len(people) for k in range(len(people))]
    return [
        Walker(
            cutouts[person], -1.0, float(rng.uniform(40, 90)), float(rng.uniform(0.3, 0.6)) * HEIGHT,
            ((0.0, x), (seconds + 2.0, x)), (), 0.0, person, alive=False,
        )
        for person, x in zip(people, places, strict=True)
    ]  # fmt: skip


def _walker(rng: np.random.Generator, cutout: Cutout, start_s: float, *, person: int) -> Walker:
    size_px = float(rng.uniform(40, 110))
    speed = size_px * rng.uniform(0.9, 5.0)
    from_left = rng.random() < 0.5
    entry, leave = (-size_px, WIDTH + size_px) if from_left else (WIDTH + size_px, -size_px)
    path = [(0.0, entry)]
    if rng.random() < 0.45:  # stops, and may go back
        stop_x = float(rng.uniform(100, WIDTH - 100))
        stop_s = abs(stop_x - entry) / speed
        path += [(stop_s, stop_x), (stop_s + float(rng.uniform(1, 8)), stop_x + float(rng.normal(0, 0.2)) * size_px)]
        leave = entry if rng.random() < 0.3 else leave
    path.append((path[-1][0] + abs(leave - path[-1][1]) / speed, leave))
    away = []
    if rng.random() < 0.4:
        first = float(rng.uniform(0, path[-1][0]))
        away.append((first, first + float(rng.uniform(0.3, 1.5))))
    y = HEIGHT * 0.2 + size_px * 1.2 + float(rng.normal(0, 30))
    return Walker(cutout, start_s, size_px, y, tuple(path), tuple(away), float(rng.uniform(0, 6)), person)


def _background(rng: np.random.Generator) -> Image:
    """Soft blotches of light, so that there is something to find false faces in."""
    coarse = (rng.uniform(60, 200, (8, 10, 1)) + rng.normal(0, 12, (8, 10, 3))).astype(np.float32)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noisy: Image = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    return noisy


def _paste(
    canvas: NDArray[np.float32],
    owner: NDArray[np.int_],
    index: int,
    *,
    walker: Walker,
    centre: tuple[float, float],
    at_s: float,
) -> Box:
    """Draw one head into ``canvas`` and write into ``owner`` whose pixels they are; returns the face's box."""
    scale = walker.size_px / walker.cutout.face.width
    size = max(2, round(walker.cutout.image.shape[1] * scale)), max(2, round(walker.cutout.image.shape[0] * scale))
    head = cv2.resize(walker.cutout.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(walker.cutout.alpha, size, interpolation=cv2.INTER_AREA)[:, :, None]
    if not walker.faces_us(at_s):
        head[:] = (30, 40, 55)
    left, top = round(centre[0] - size[0] / 2), round(centre[1] - size[1] / 2)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + size[0]), min(HEIGHT, top + size[1])
    if x0 < x1 and y0 < y1:
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        canvas[y0:y1, x0:x1] += alpha[part] * (head[part] - canvas[y0:y1, x0:x1])
        owner[y0:y1, x0:x1][alpha[part][:, :, 0] > 0.5] = index
    face = walker.cutout.face
    return Box(left + face.x * scale, top + face.y * scale, face.width * scale, face.height * scale)


def _visible(owner: NDArray[np.int_], index: int, box: Box) -> float:
    """Share of the face's box that shows this person."""
    x0, y0 = max(0, int(box.x)), max(0, int(box.y))
    part = owner[y0 : max(0, int(box.y + box.height)), x0 : max(0, int(box.x + box.width))]
    # The oval of a head covers about nine tenths of its face's box.
    return min(1.0, float((part == index).sum()) / (0.9 * box.width * box.height))


@cache
def _grain() -> NDArray[np.float32]:
    """Noise, somewhat larger than a picture: a different part of it in every frame."""
    shape = HEIGHT + GRAIN_MARGIN, WIDTH + GRAIN_MARGIN, 3
    return NOISE * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _sensed(canvas: NDArray[np.float32], rng: np.random.Generator, at_s: float) -> Image:
    """The picture as a sensor gives it: bands of flicker, then noise."""
    rows = np.arange(canvas.shape[0], dtype=np.float32)[:, None, None]
    bands = 1.0 + FLICKER * np.sin(2 * np.pi * (rows / 160.0 + 0.37 * at_s))
    y, x = rng.integers(0, GRAIN_MARGIN, 2)
    noisy = canvas * bands + _grain()[y : y + canvas.shape[0], x : x + canvas.shape[1]]
    seen: Image = np.clip(noisy, 0, 255).astype(np.uint8)
    return seen


def frames(film: Film, fps: float = FPS) -> Iterator[tuple[float, Image, list[Truth]]]:
    """(seconds, picture, truth) of every frame."""
    for i in range(int(film.seconds * fps)):
        yield (i / fps, *film.frame(i / fps))
