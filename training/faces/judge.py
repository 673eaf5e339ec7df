"""How many faces a detector finds in the scenes, for how many false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.detectors.grids import Found
from training.faces.data import Faces, Scene

FRAME = (320, 240)
"""Width and height of the frame that a scene is fitted into: the sizes of faces count in its pixels."""
MATCH = 0.4
"""Least intersection over union of a found box and the true one."""
ALARMS_AT = 23
"""False alarms in the 669 val scenes that recall is stated at: what YuNet has in 706 held-back ones."""
SIZES = (12.0, 48.0)
BINS = (8, 12, 16, 24, 32, 48, 64, 96, 1000)
"""Sizes of faces in the frame, in pixels, that recall is told by."""


@dataclass(frozen=True)
class Answers:
    """What a detector said of all scenes."""

    scores: NDArray[np.float32]
    """Of every detection that counts, highest first."""
    hits: NDArray[np.int64]
    """For each: which face it found, or -1 for a false alarm."""
    sizes: NDArray[np.float32]
    """Longer side of every face, in the frame's pixels."""

    def score_at(self, alarms: int = ALARMS_AT) -> float:
        """The lowest score at which there are no more false alarms than that."""
        false = np.flatnonzero(self.hits < 0)
        if len(false) <= alarms:
            return float(self.scores[-1]) if len(self.scores) else 1.0
        return float(np.nextafter(self.scores[false[alarms]], np.float32(2)))

    def recall(self, score: float, least_px: float, most_px: float = np.inf) -> float:
        """Share of the faces of that size that are found with at least that score."""
        wanted = (self.sizes >= least_px) & (self.sizes < most_px)
        found = np.unique(self.hits[(self.hits >= 0) & (self.scores >= score)])
        return float(wanted[found].sum() / max(1, wanted.sum()))

    def alarms(self, score: float) -> int:
        """False alarms at a score."""
        return int(((self.hits < 0) & (self.scores >= score)).sum())


def by_size(answers: Answers, score: float) -> list[tuple[tuple[int, int], float, int]]:
    """Of each span of sizes: the share found with at least that score, and how many faces there are."""
    return [
        (span, answers.recall(score, *span), int(((answers.sizes >= span[0]) & (answers.sizes < span[1])).sum()))
        for span in pairwise(BINS)
    ]


def fitted(scene: Scene, zoom: float = 1.0) -> tuple[NDArray[np.uint8], Faces]:
    """The scene as large as it fits into ``zoom`` times the frame, and its faces there."""
    height, width = scene.image.shape[:2]
    scale = zoom * min(FRAME[0] / width, FRAME[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(scene.image, size, interpolation=method), np.uint8)
    return image, Faces(scene.faces.boxes * scale, scene.faces.points * scale, scene.faces.ignored)


def judge(detect: Callable[[NDArray[np.uint8]], Found], scenes: Iterable[Scene], zoom: float = 1.0) -> Answers:
    """Run a detector over scenes fitted into the frame, or into one ``zoom`` times as large.

    The sizes of faces are always those in the frame itself: a larger picture shows the same faces to more pixels.
    """
    scores: list[float] = []
    hits: list[int] = []
    sizes: list[float] = []
    for scene in scenes:
        image, faces = fitted(scene, zoom)
        found = detect(image)
        first = len(sizes)
        real = np.flatnonzero(~faces.ignored)
        sizes += (faces.boxes[real, 2:].max(axis=1) / zoom).tolist()
        for score, hit in _matched(found.boxes, found.scores, faces, real=real):
            scores.append(score)
            hits.append(hit if hit < 0 else first + hit)
    order = np.argsort(-np.array(scores, np.float32), kind="stable")
    return Answers(np.array(scores, np.float32)[order], np.array(hits, np.int64)[order], np.array(sizes, np.float32))


def _matched(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], faces: Faces, *, real: NDArray[np.int64]
) -> Iterable[tuple[float, int]]:
    """Score and face of each detection, best first; what lies on an ignored face, or finds one again, is left out."""
    taken: set[int] = set()
    for index in np.argsort(-scores):
        shares = overlaps(boxes[index], faces.boxes)
        free = [number for number, face in enumerate(real) if number not in taken and shares[face] >= MATCH]
        if free:
            best = max(free, key=lambda number: shares[real[number]])
            taken.add(best)
            yield float(scores[index]), best
        elif not _excused(boxes[index], faces):
            yield float(scores[index]), -1


def _excused(box: NDArray[np.float32], faces: Faces) -> bool:
    """Whether it lies on a face that is ignored."""
    ignored = faces.boxes[faces.ignored]
    return bool((overlaps(box, ignored) >= MATCH).any() or (_within(box, ignored) >= 0.5).any())


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a box with each of others (n, 4)."""
    both = _both(box, others)
    union = box[2] * box[3] + others[:, 2] * others[:, 3] - both
    return np.asarray(both / np.maximum(union, 1e-6), np.float32)


def _within(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(_both(box, others) / max(float(box[2] * box[3]), 1e-6), np.float32)


def _both(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    return np.asarray(np.maximum(high - low, 0).prod(axis=1), np.float32)
