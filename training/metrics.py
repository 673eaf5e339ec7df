"""Figures of a classifier, from labels (n,) and probabilities or logits (n, classes)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]
Logits = NDArray[np.float32] | NDArray[np.float64]


def softmax(logits: Logits) -> Scores:
    """Rows of logits to rows that sum to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: Scores = powers / powers.sum(axis=1, keepdims=True)
    return shares


def confusion(labels: Labels, top: Labels, classes: int) -> NDArray[np.int64]:
    """Counts of shape (classes, classes): row the true label, column the answer."""
    return np.bincount(labels * classes + top, minlength=classes * classes).reshape(classes, classes)


def accuracy(counts: NDArray[np.int64]) -> float:
    """Share of right answers in a confusion matrix."""
    return float(np.trace(counts) / counts.sum())


def per_class(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 per class, 0 where a class has no answers or no images."""
    right = np.diag(counts).astype(float)
    answered, there = counts.sum(0), counts.sum(1)
    return {
        "precision": right / np.maximum(answered, 1),
        "recall": right / np.maximum(there, 1),
        "f1": 2 * right / np.maximum(answered + there, 1),
    }


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Mean F1 over all classes."""
    return float(per_class(counts)["f1"].mean())


def cross_entropy(labels: Labels, logits: Logits) -> float:
    """Mean of -log of the right class's softmax, from logits (n, classes)."""
    peak = logits.max(axis=1)
    right = logits[np.arange(len(labels)), labels]
    return float((np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak - right).mean())


def calibration_error(labels: Labels, probabilities: Scores, bins: int = 15) -> float:
    """Expected calibration error of the top label (Guo et al. 2017), equally wide bins, 0 to 1."""
    return float(sum(share * abs(right - sure) for share, right, sure in reliability(labels, probabilities, bins)))


def reliability(labels: Labels, probabilities: Scores, bins: int = 15) -> list[tuple[float, float, float]]:
    """(share of the images, accuracy, mean confidence) of each bin of confidence that is not empty."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    rows = [bin_of == b for b in np.unique(bin_of)]
    return [(float(r.mean()), float(right[r].mean()), float(sure[r].mean())) for r in rows]
