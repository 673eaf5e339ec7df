"""Why the classifier answers what it does: which parts of a face the answer hangs on (Zeiler and Fergus 2014).

Patches of the crop are greyed out one after the other, and the model that the device runs is asked again each time.
Where the odds of the answer fall, the answer needed what was there. Odds, as a sure answer's probability hardly moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.classifier import Classifier

CELLS = 6
"""Cells of a map along each side: 25 places of a patch, 100 ms on a Raspberry Pi 4 with the larger model."""
_PATCHES = 3
"""Patches that fill a side without overlapping."""


def occlusion_map(
    classifier: Classifier, crop: NDArray[np.uint8], label: str, *, cells: int = CELLS
) -> NDArray[np.float32]:
    """How far the log-odds of ``label`` fall where a part of a grey crop (height, width, 1) is hidden.

    ``cells`` is a multiple of 3 that divides both sides; the patch has a third of each side in any case.

    Returns:
        Shape (cells, cells), row 0 at the top, in nats: the mean fall over the patches that cover a cell. Negative
        where the answer is surer without it.
    """
    column, patch = classifier.labels.index(label), cells // _PATCHES
    height, width = crop.shape[0] // cells, crop.shape[1] // cells
    corners = [(row, left) for row in range(cells - patch + 1) for left in range(cells - patch + 1)]
    views = np.repeat(crop[None], len(corners) + 1, axis=0)
    grey = round(float(crop.mean()))
    for view, (row, left) in zip(views[1:], corners, strict=True):
        view[row * height : (row + patch) * height, left * width : (left + patch) * width] = grey
    sure = log_odds(classifier.classify(views).probabilities, column)
    total, covered = np.zeros((cells, cells), np.float32), np.zeros((cells, cells), np.float32)
    for (row, left), hidden in zip(corners, sure[1:], strict=True):
        part = slice(row, row + patch), slice(left, left + patch)
        total[part] += sure[0] - hidden
        covered[part] += 1
    falls: NDArray[np.float32] = total / covered
    return falls


def log_odds(probabilities: NDArray[np.float32], column: int) -> NDArray[np.float32]:
    """log(p / (1 - p)) of one column of probabilities (n, labels), in nats, shape (n,).

    1 - p is summed from the others: a float32 p of 0.9999999 would leave nothing of it.
    """
    others = np.delete(probabilities, column, axis=1).sum(axis=1)
    odds: NDArray[np.float32] = np.log(np.maximum(probabilities[:, column], 1e-12) / np.maximum(others, 1e-12))
    return odds
