"""Bias-corrected temperature scaling (BCTS; Alexandari, Kundaje and Shrikumar 2020).

posterior = softmax(logits / T + b). Temperature alone leaves the mean posterior of each class off its true share,
which estimates of shares do not forgive; the bias puts it right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import Labels, Logits, Scores, softmax


@dataclass(frozen=True)
class Calibration:
    """A fitted scaling."""

    temperature: float
    bias: tuple[float, ...]
    """One for each class; they sum to 0."""

    def posteriors(self, logits: Logits) -> Scores:
        """Calibrated probabilities, shape (n, classes)."""
        return softmax(logits / self.temperature + np.array(self.bias))


def fit(logits: Logits, labels: Labels) -> Calibration:
    """The scaling of least cross-entropy on logits (n, classes) and labels (n,); the problem is convex in 1/T and b."""
    from scipy.optimize import minimize

    n, classes = logits.shape
    wanted = np.eye(classes)[labels]

    def loss_and_slope(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        posteriors = softmax(logits * parameters[0] + parameters[1:])
        over = (posteriors - wanted) / n
        loss = -np.log(np.maximum(posteriors[np.arange(n), labels], 1e-300)).mean()
        return float(loss), np.concatenate([[(over * logits).sum()], over.sum(0)])

    bounds = [(1e-2, 1e2)] + [(None, None)] * classes
    start = np.concatenate([[1.0], np.zeros(classes)])
    best = minimize(loss_and_slope, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(1 / best[0]), tuple((best[1:] - best[1:].mean()).tolist()))


def cross_fitted(logits: Logits, labels: Labels, halves: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Scores:
    """Posteriors of all rows, each half's by a scaling that was fitted on the other half."""
    posteriors = np.empty(logits.shape)
    for fitted, applied in (halves, halves[::-1]):
        posteriors[applied] = fit(logits[fitted], labels[fitted]).posteriors(logits[applied])
    return posteriors
