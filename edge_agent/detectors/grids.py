"""From the cells of a detector's grids to faces: the arithmetic that the device and the training share.

Each cell of a grid answers for faces whose middle lies near its own: a logit, where the face's middle is and how large
it is, and where its five landmarks are. All lengths are in strides, the pixels between two cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NMS_OVERLAP = 0.4
"""Of two boxes that overlap by more (intersection over union), the surer one is the face."""
_LARGEST_LOG = 5.0
"""Of a size in strides: a network that went wrong must not overflow."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What n chosen cells of one grid say."""

    stride: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    logits: NDArray[np.float32]
    """Shape (n,)."""
    boxes: NDArray[np.float32]
    """Shape (n, 4): the face's middle, from the cell's, and the logarithm of width and height."""
    points: NDArray[np.float32]
    """Shape (n, 10): x and y of the right eye, left eye, nose, right and left corner of the mouth, from the cell's."""


@dataclass(frozen=True, slots=True)
class Found:
    """Faces in pixels of the network's input, surest first."""

    boxes: NDArray[np.float32]
    """Shape (n, 4): x, y of the upper left corner, width, height."""
    points: NDArray[np.float32]
    """Shape (n, 5, 2)."""
    scores: NDArray[np.float32]
    """Shape (n,), 0 to 1."""


def logit(score: float) -> float:
    """What a cell says at least where its score is at least this; the score lies in 0 to 1."""
    kept = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(kept / (1 - kept)))


def read(grids: Sequence[Cells]) -> Found:
    """Each face once: the surest of the cells that mean the same face."""
    import cv2

    boxes, points, scores = (np.concatenate(part) for part in zip(*map(_in_pixels, grids), strict=True))
    if not len(scores):
        return Found(boxes, points, scores)
    kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, NMS_OVERLAP), int).reshape(-1)
    return Found(boxes[kept], points[kept], scores[kept])


def _in_pixels(cells: Cells) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    middle = (np.stack([cells.columns, cells.rows], axis=1).astype(np.float32) + 0.5) * cells.stride
    size = np.exp(np.clip(cells.boxes[:, 2:], -_LARGEST_LOG, _LARGEST_LOG)) * cells.stride
    corner = middle + cells.boxes[:, :2] * cells.stride - size / 2
    points = cells.points.reshape(-1, 5, 2) * cells.stride + middle[:, None]
    return np.concatenate([corner, size], axis=1), points, 1 / (1 + np.exp(-cells.logits))
