"""Joins detections of one face over time to one person, by boxes and motion alone.

No appearance and no embedding is compared. A person who is away for longer than a track lives comes back as somebody
new. That is on purpose. An id is a number in memory that dies with its track; recognising a face again would be
biometric
identification (see docs/privacy.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Face, TrackedFace
from edge_agent.vision.assignment import best_pairs


@dataclass(frozen=True)
class Settings:
    """In seconds and face sizes. ``python -m benchmarks.tracking --tune`` chose the values that it varies."""

    max_gap_s: float = 2.0
    """A track that has not been seen for this long has ended."""
    max_gap_frames: float = 3.0
    """At low frame rates it lives this many frame intervals instead."""
    velocity_memory_s: float = 0.3
    """Time constant of the velocity estimate: shorter follows turns, longer ignores the detector's jitter."""
    coasting_s: float = 2.0
    """Time constant with which the assumed speed of an unseen face goes to zero."""
    buffer: float = 0.5
    """Boxes are grown by this fraction of their size on each side before they are compared..."""
    buffer_per_s: float = 0.5
    """...and by this much more for each second since the track was seen..."""
    buffer_max: float = 1.0
    """...up to this."""
    min_overlap: float = 0.1
    """Least intersection over union of the grown boxes."""
    doubt_s: float = 4.0
    """A new track may still be somebody who was last seen this long ago..."""
    reach: float = 1.0
    """...and this many face sizes away from there, or from where it was going..."""
    reach_per_s: float = 1.0
    """...or so many more for each second."""


@dataclass(slots=True)
class _Track:
    """One person's latest box as (centre x, centre y, width, height) and its velocity in pixels a second."""

    number: int
    state: NDArray[np.float64]
    velocity: NDArray[np.float64]
    seen_s: float
    lineage: int
    """The first of the tracks that may all have been this person."""
    continued: bool = False
    """Whether a later track may have been this person."""

    def predict(self, at_s: float, coasting_s: float) -> NDArray[np.float64]:
        """Constant velocity that dies out while the face is unseen; the size stays."""
        travelled = coasting_s * (1.0 - np.exp(-(at_s - self.seen_s) / coasting_s))
        predicted: NDArray[np.float64] = self.state.copy()
        predicted[:2] += self.velocity * travelled
        return predicted

    def see(self, measured: NDArray[np.float64], at_s: float, velocity_memory_s: float) -> None:
        """Take over the box; the velocity follows as far as the elapsed time allows."""
        elapsed_s = at_s - self.seen_s
        if elapsed_s > 0:
            gain = 1.0 - np.exp(-elapsed_s / velocity_memory_s)
            self.velocity += gain * ((measured[:2] - self.state[:2]) / elapsed_s - self.velocity)
        self.state = measured
        self.seen_s = at_s


class Tracker:
    """Gives every face the id of its track.

    Buffered IoU (Yang et al. 2023, "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It
    Easier by Buffering the Matching Space") over boxes predicted with constant velocity, the best pair first. All
    settings are in seconds, not frames, so a changing frame rate or a gap does not change the result.
    """

    def __init__(self, settings: Settings = Settings()) -> None:
        self._settings = settings
        self._tracks: list[_Track] = []
        self._ended: list[_Track] = []
        self._ids = itertools.count(1)
        self._last_s: float | None = None
        self._interval_s = 0.0

    def update(self, faces: Sequence[Face], at_monotonic_s: float) -> list[TrackedFace]:
        """Join the faces of one frame to the tracks; call it for frames without faces too.

        Args:
            faces: what the detector found, in pixels of the camera's picture.
            at_monotonic_s: when the frame was captured; an earlier time than the last one counts as the last one.

        Returns:
            One :class:`TrackedFace` a face, in the same order.
        """
        now_s = self._advance(at_monotonic_s)
        measured = np.array([_state(face) for face in faces], dtype=np.float64).reshape(-1, 4)
        tracks: dict[int, _Track] = {}
        for row, column in best_pairs(self._scores(measured, now_s)):
            tracks[column] = self._tracks[row]
            tracks[column].see(measured[column], now_s, self._settings.velocity_memory_s)
        for column, state in enumerate(measured):
            if column not in tracks:
                tracks[column] = self._begin(state, now_s)
        return [TrackedFace(face, tracks[i].number, tracks[i].lineage) for i, face in enumerate(faces)]

    def bridges(self, at_monotonic_s: float) -> bool:
        """Whether a frame at this time comes soon enough after the last one to match its people."""
        if self._last_s is None:
            return True
        longest_s = max(self._settings.doubt_s, self._settings.max_gap_frames * self._interval_s)
        return at_monotonic_s - self._last_s <= longest_s

    def forget(self) -> None:
        """Drop all tracks. Ids continue, so that nobody new gets the id of a dropped track."""
        self._tracks, self._ended = [], []

    def _advance(self, at_s: float) -> float:
        """Learn the frame interval and end the tracks that have not been seen for too long."""
        if self._last_s is not None:
            at_s = max(at_s, self._last_s)
            # The interval is smoothed: one long gap must not keep old tracks alive.
            self._interval_s += 0.2 * (min(at_s - self._last_s, 2 * self._settings.max_gap_s) - self._interval_s)
        self._last_s = at_s
        limit_s = max(self._settings.max_gap_s, self._settings.max_gap_frames * self._interval_s)
        self._ended += [track for track in self._tracks if at_s - track.seen_s > limit_s]
        self._ended = [track for track in self._ended if at_s - track.seen_s <= self._settings.doubt_s]
        self._tracks = [track for track in self._tracks if at_s - track.seen_s <= limit_s]
        return at_s

    def _begin(self, state: NDArray[np.float64], at_s: float) -> _Track:
        """A new track; its lineage is that of the nearest lost one that it may continue, if there is any."""
        number = next(self._ids)
        before = min(self._lost(state, at_s), key=lambda track: _apart(track.state, state), default=None)
        if before is not None:
            before.continued = True
        track = _Track(number, state, np.zeros(2), at_s, number if before is None else before.lineage)
        self._tracks.append(track)
        return track

    def _lost(self, state: NDArray[np.float64], at_s: float) -> list[_Track]:
        """Tracks that are out of sight and close enough in time, place and size to reappear as ``state``."""
        how = self._settings
        return [
            track
            for track in (*self._tracks, *self._ended)
            if not track.continued
            and track.seen_s < at_s
            and 0.4 < track.state[3] / state[3] < 2.5
            and min(_apart(track.state, state), _apart(track.predict(at_s, how.coasting_s), state))
            <= how.reach + how.reach_per_s * (at_s - track.seen_s)
        ]

    def _scores(self, measured: NDArray[np.float64], at_s: float) -> NDArray[np.float64]:
        """Overlap of every track with every face, shape (tracks, faces), 0 where they cannot be the same person."""
        if not self._tracks or not len(measured):
            return np.zeros((len(self._tracks), len(measured)))
        how = self._settings
        predicted = np.stack([track.predict(at_s, how.coasting_s) for track in self._tracks])
        unseen_s = np.array([at_s - track.seen_s for track in self._tracks])
        grow = 1.0 + 2.0 * np.minimum(how.buffer + how.buffer_per_s * unseen_s, how.buffer_max)[:, None]
        scores = overlap(predicted, measured, grow)
        return np.where(scores >= how.min_overlap, scores, 0.0)


def _apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Distance of two boxes' centres, in the larger one's height."""
    return float(np.hypot(*(first[:2] - second[:2])) / max(first[3], second[3], 1e-6))


def _state(face: Face) -> tuple[float, float, float, float]:
    return (*face.box.centre, face.box.width, face.box.height)


def overlap(
    first: NDArray[np.float64], second: NDArray[np.float64], grow: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """Intersection over union of each pair of boxes, shape (first, second).

    Args:
        first: rows of (centre x, centre y, width, height).
        second: the same.
        grow: factor on all sizes, one for each row of ``first`` with shape (first, 1), or one for all.
    """
    shared = np.ones((len(first), len(second)))
    areas = np.ones((2, len(first), len(second)))
    for axis in (0, 1):
        a = first[:, None, 2 + axis] * grow
        b = second[None, :, 2 + axis] * grow
        apart = np.abs(first[:, None, axis] - second[None, :, axis])
        shared *= np.clip(np.minimum((a + b) / 2 - apart, np.minimum(a, b)), 0.0, None)
        areas[0] *= a
        areas[1] *= b
    union = areas[0] + areas[1] - shared
    overlaps: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps
