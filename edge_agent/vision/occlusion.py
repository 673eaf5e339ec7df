"""Why the classifier answers what it does: which parts of a face the answer hangs on (Zeiler and Fergus 2014).

Patches of the crop are greyed out one after the other, and the model that the device runs is asked again each time.
Where the odds of the answer fall, the answer needed what was there. Odds, as a sure answer's probability hardly moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.classifier import Classifier

CELLS = 6
"""Cells of a map along each side."""
_PATCH = 2
"""Cells that a patch is wide: 25 places, 100 ms on a Raspberry Pi 4 with the larger model."""


def occlusion_map(classifier: Classifier, crop: NDArray[np.uint8], label: str) -> NDArray[np.float32]:
    """How far the log-odds of ``label`` fall where a part of a grey crop (height, width, 1) is hidden.

    Returns:
        Shape (6, 6), row 0 at the top, in nats: the mean fall over the patches that cover a cell. Negative where the
        answer is surer without it.
    """
    column = classifier.labels.index(label)
    height, width = crop.shape[0] // CELLS, crop.shape[1] // CELLS
    corners = [(row, left) for row in range(CELLS - _PATCH + 1) for left in range(CELLS - _PATCH + 1)]
    views = np.repeat(crop[None], len(corners) + 1, axis=0)
    grey = round(float(crop.mean()))
    for view, (row, left) in zip(views[1:], corners, strict=True):
        view[row * height : (row + _PATCH) * height, left * width : (left + _PATCH) * width] = grey
    sure = _log_odds(classifier.classify(views).probabilities, column)
    total, covered = np.zeros((CELLS, CELLS), np.float32), np.zeros((CELLS, CELLS), np.float32)
    for (row, left), hidden in zip(corners, sure[1:], strict=True):
        part = slice(row, row + _PATCH), slice(left, left + _PATCH)
        total[part] += sure[0] - hidden
        covered[part] += 1
    falls: NDArray[np.float32] = total / covered
    return falls


def _log_odds(probabilities: NDArray[np.float32], column: int) -> NDArray[np.float32]:
    """log(p / (1 - p)), where 1 - p is summed from the others: a float32 p of 0.9999999 would leave nothing of it."""
    others = np.delete(probabilities, column, axis=1).sum(axis=1)
    odds: NDArray[np.float32] = np.log(np.maximum(probabilities[:, column], 1e-12) / np.maximum(others, 1e-12))
    return odds
