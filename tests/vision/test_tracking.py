"""Who is who from frame to frame, on made-up walks with known people."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.types import Box, Face
from edge_agent.vision.assignment import best_pairs
from edge_agent.vision.tracking import Settings, Tracker, overlap

Walk = Callable[[float], tuple[float, float] | None]
SIDE = 60.0


def face_at(x: float, y: float = 200.0, side: float = SIDE) -> Face:
    return Face(Box(x - side / 2, y - side / 2, side, side), 0.9)


def ids_of(walks: dict[str, Walk], times: np.ndarray, jitter: float = 2.0) -> dict[str, list[int]]:
    """Track people along their walks (None: not seen) with a jittery detector; the ids that each was given."""
    tracker, rng = Tracker(), np.random.default_rng(0)
    ids: dict[str, list[int]] = {name: [] for name in walks}
    for at_s in times:
        there = [(name, place) for name, walk in walks.items() if (place := walk(float(at_s)))]
        rng.shuffle(there)
        faces = [face_at(*(np.array(place) + rng.normal(0, jitter, 2))) for _, place in there]
        for (name, _), tracked in zip(there, tracker.update(faces, float(at_s)), strict=True):
            ids[name].append(tracked.track)
    return ids


@pytest.mark.parametrize("fps", [30, 15, 5, 2])
def test_a_walker_keeps_one_id_at_any_frame_rate(fps):
    """Walking through the picture in four seconds, more than a face's width between frames at 2 a second."""
    ids = ids_of({"a": lambda t: (100 + 110 * t, 200)}, np.arange(0, 4, 1 / fps))
    assert len(set(ids["a"])) == 1


def test_two_who_cross_are_not_confused():
    """Motion tells them apart when their faces pass each other at different heights."""
    walks = {"a": lambda t: (50 + 120 * t, 190), "b": lambda t: (530 - 120 * t, 225)}
    ids = ids_of(walks, np.arange(0, 4, 1 / 15))
    assert len(set(ids["a"])) == len(set(ids["b"])) == 1
    assert set(ids["a"]) != set(ids["b"])


def test_a_walker_behind_a_pillar_comes_out_as_the_same():
    """Hidden for eight tenths of a second while walking on."""
    ids = ids_of({"a": lambda t: None if 1.5 < t < 2.3 else (80 + 110 * t, 200)}, np.arange(0, 4, 1 / 15))
    assert len(set(ids["a"])) == 1


def test_somebody_else_in_the_same_place_much_later_is_somebody_else():
    """An id dies with its track; nobody is recognised."""
    ids = ids_of({"a": lambda t: (300, 200) if t < 1 or t > 6 else None}, np.arange(0, 8, 1 / 15))
    assert len(set(ids["a"])) == 2


def test_a_changing_frame_rate_changes_nobody():
    """15 frames a second, then one, then 30."""
    times = np.concatenate([np.arange(0, 2, 1 / 15), np.arange(2, 8, 1.0), np.arange(8, 10, 1 / 30)])
    ids = ids_of({"a": lambda t: (200 + 3 * t, 200), "b": lambda t: (420, 200)}, times)
    assert len(set(ids["a"])) == len(set(ids["b"])) == 1


def test_a_camera_that_was_away_brings_new_people():
    """After a minute without frames nobody is taken for the one who stood there."""
    ids = ids_of({"a": lambda t: (300, 200)}, np.concatenate([np.arange(0, 2, 1 / 15), np.arange(62, 63, 1 / 15)]))
    assert len(set(ids["a"])) == 2


def test_ids_go_on_after_everybody_was_forgotten():
    """A person after a pause must not be taken for somebody from before it."""
    tracker = Tracker()
    (before,) = tracker.update([face_at(100)], 0.0)
    tracker.forget()
    (after,) = tracker.update([face_at(100)], 0.1)
    assert {after.track, after.lineage}.isdisjoint({before.track, before.lineage})


def test_faces_come_back_in_their_order():
    """The answer belongs to the question, face by face."""
    tracker = Tracker()
    faces = [face_at(500), face_at(100), face_at(300)]
    first = tracker.update(faces, 0.0)
    second = tracker.update(faces[::-1], 0.1)
    assert [item.face for item in second] == faces[::-1]
    assert [item.track for item in second] == [item.track for item in first][::-1]


def test_no_faces_and_a_clock_that_stands_still_are_harmless():
    """Frames without faces are told too, and two frames may carry the same or an earlier time."""
    tracker = Tracker()
    assert tracker.update([], 5.0) == []
    (first,) = tracker.update([face_at(100)], 5.0)
    (second,) = tracker.update([face_at(101)], 4.0)
    assert first.track == second.track


def test_a_child_beside_an_adult_is_nobody_elses_track():
    """A face of a third of the size in the same place is another person."""
    tracker = Tracker()
    (adult,) = tracker.update([face_at(300, side=120)], 0.0)
    (child,) = tracker.update([face_at(300, side=30)], 0.1)
    assert adult.track != child.track


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(5, 200)), max_size=8), st.integers(1, 5))
def test_one_frame_never_holds_a_person_twice(places, frames):
    """Whatever the detector says, everybody is in one place at a time."""
    tracker = Tracker()
    for i in range(frames):
        tracked = tracker.update([face_at(x + i, y, side) for x, y, side in places], i / 15)
        assert len({item.track for item in tracked}) == len(places)


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10_000))
def test_pairs_are_one_to_one_and_the_highest_score_goes_first(rows, columns, seed):
    """Whoever is left without a partner could only have had one that got a better one."""
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.6)
    pairs = best_pairs(scores)
    assert pairs == sorted(pairs)
    assert all(scores[pair] > 0 for pair in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    for row, column in zip(*np.nonzero(scores), strict=True):
        rivals = [scores[pair] for pair in pairs if row == pair[0] or column == pair[1]]
        assert max(rivals, default=0.0) >= scores[row, column]


def test_overlap_is_intersection_over_union():
    """Two unit squares that share half of themselves, and two that only touch."""
    here, half, beside = [0.0, 0, 1, 1], [0.5, 0, 1, 1], [1.0, 0, 1, 1]
    assert overlap(np.array([here]), np.array([here, half, beside])).tolist() == [[1.0, pytest.approx(1 / 3), 0.0]]


def test_ten_faces_take_a_few_milliseconds_at_most():
    """The best of many frames, so that a busy machine does not fail it."""
    tracker = Tracker(Settings())
    faces = [face_at(60 * i, 40 * i) for i in range(10)]

    def once(index: int) -> float:
        began = time.perf_counter()
        tracker.update(faces, index / 15)
        return time.perf_counter() - began

    assert min(once(i) for i in range(50)) < 4e-3


def lineages(places: list[tuple[float, float] | None], step_s: float) -> list[tuple[int, int]]:
    """(track, lineage) of one face that is at these places (None: nowhere), one frame after the other."""
    tracker, seen = Tracker(), []
    for i, place in enumerate(places):
        tracked = tracker.update([face_at(*place)] if place else [], i * step_s)
        seen += [(item.track, item.lineage) for item in tracked]
    return seen


def test_who_reappears_soon_and_near_may_be_the_same():
    """Hidden for three seconds: a new track, because nobody is recognised, but not certainly a new person."""
    (first, _), *_, (last, lineage) = lineages([(300, 200)] * 20 + [None] * 45 + [(360, 200)] * 20, 1 / 15)
    assert (last != first, lineage) == (True, first)


def test_who_appears_far_away_or_much_later_is_certainly_somebody_else():
    """Nobody crosses the room in a second, and doubts end after some seconds."""
    for places in (
        [(60, 200)] * 20 + [None] * 32 + [(600, 200)] * 20,
        [(300, 200)] * 20 + [None] * 75 + [(300, 200)] * 20,
    ):
        (first, _), *_, (last, lineage) = lineages(places, 1 / 15)
        assert last == lineage != first


@pytest.mark.parametrize(("times_as_tall", "same"), [(1.2, True), (2.6, False), (0.35, False)])
def test_who_reappears_at_once_in_another_size_is_certainly_somebody_else(times_as_tall, same):
    """Nobody comes so much nearer in a second; a child is not its parent."""
    tracker = Tracker()
    lost = tracker.update([face_at(200)], 0.0)[0]
    for at_s in np.arange(0.1, 3.0, 0.1):
        tracker.update([], float(at_s))
    found = tracker.update([face_at(200, side=SIDE * times_as_tall)], 3.0)[0]
    assert found.track != lost.track
    assert (found.lineage == lost.lineage) is same


@pytest.mark.parametrize(
    ("fps", "gap_s", "bridged"), [(15, 3.9, True), (15, 4.1, False), (0.25, 8.0, True), (0.25, 13.0, False)]
)
def test_a_gap_is_bridged_while_people_can_be_told_from_newcomers(fps, gap_s, bridged):
    """Four seconds, or three frames of a slow camera."""
    tracker, last_s = Tracker(), 200 / fps
    for number in range(201):
        assert number < 5 or tracker.bridges(number / fps)
        tracker.update([face_at(200)], number / fps)
    assert tracker.bridges(last_s + gap_s) is bridged


def test_an_earlier_time_counts_as_the_last_one():
    """The same person, no motion backwards in time."""
    tracker = Tracker()
    first = tracker.update([face_at(200)], 1.0)[0]
    assert tracker.update([face_at(203)], 0.5)[0].track == first.track
    assert tracker.update([face_at(206)], 1.1)[0].track == first.track


def test_one_lost_track_is_continued_by_one_newcomer_only():
    """Of two who come after one has left, one is certainly new."""
    tracker = Tracker()
    tracker.update([face_at(300)], 0.0)
    for i in range(1, 40):
        tracker.update([], i / 15)
    tracked = tracker.update([face_at(290), face_at(370)], 40 / 15)
    assert len({item.lineage for item in tracked}) == 2
