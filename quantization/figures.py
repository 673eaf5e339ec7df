"""What a head's calibrated answers are worth: one definition for ``export`` and ``evaluate``.

Labels (n,) are -1 in rows that nobody labelled; logits and posteriors have shape (n, classes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantization.calibration import cross_fitted
from training.metrics import Labels, Logits, Scores, accuracy, calibration_error, confusion, macro_f1

Halves = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of PublicTest: for choosing, and for calibrating."""


def labelled(parts: Halves, labels: Labels) -> Halves:
    """The halves without the rows that nobody labelled."""
    first, second = (part[labels[part] >= 0] for part in parts)
    return first, second


def figures(posteriors: Scores, labels: Labels, unseen: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro-F1 of all labelled rows, and the calibration error of those that calibration did not see."""
    known = labels >= 0
    counts = confusion(labels[known], posteriors[known].argmax(1), posteriors.shape[1])
    return {
        "accuracy": accuracy(counts),
        "macro_f1": macro_f1(counts),
        "calibration_error": calibration_error(labels[unseen], posteriors[unseen]),
    }


def cross_fitted_error(logits: Logits, labels: Labels, parts: Halves) -> float:
    """Calibration error of all labelled rows, each half's by a scaling fitted on the other: what the method is worth.

    It does not depend on a calibration that the logits already have.
    """
    parts = labelled(parts, labels)
    rows = np.concatenate(parts)
    return calibration_error(labels[rows], cross_fitted(logits, labels, parts)[rows])
