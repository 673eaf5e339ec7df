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
"""Of two boxes that overlap by more (intersection over union), the surer one is the face..."""
NMS_INSIDE = 0.7
"""...and also where they share more than this part of the smaller one: an eye and a cheek look like a small face."""
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
    boxes, points, scores = (np.concatenate(part) for part in zip(*map(_in_pixels, grids), strict=True))
    rest, kept = np.argsort(-scores, kind="stable"), []
    while len(rest):
        kept.append(rest[0])
        rest = rest[~_means_the_same(boxes[rest[0]], boxes[rest])]
    return Found(boxes[kept], points[kept], scores[kept])


def _means_the_same(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of other boxes (n, 4) cover the same face, or are a part of it or it of them."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    areas, area = others[:, 2:].prod(axis=1), box[2:].prod()
    same = (both > NMS_OVERLAP * (areas + area - both)) | (both > NMS_INSIDE * np.minimum(areas, area))
    return np.asarray(same, np.bool_)


def _in_pixels(cells: Cells) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    middle = (np.stack([cells.columns, cells.rows], axis=1).astype(np.float32) + 0.5) * cells.stride
    size = np.exp(np.clip(cells.boxes[:, 2:], -_LARGEST_LOG, _LARGEST_LOG)) * cells.stride
    corner = middle + cells.boxes[:, :2] * cells.stride - size / 2
    points = cells.points.reshape(-1, 5, 2) * cells.stride + middle[:, None]
    return np.concatenate([corner, size], axis=1), points, 1 / (1 + np.exp(-cells.logits))
