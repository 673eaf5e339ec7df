"""Bias-corrected temperature scaling (BCTS; Alexandari, Kundaje and Shrikumar 2020).

posterior = softmax(logits / T + b). With temperature alone, the mean posterior of a class differs from its true share,
and estimates of shares suffer from that. The bias corrects it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import Labels, Logits, Scores, softmax

_MOST_STEPS = 50
_FLAT = 1e-9
_RIDGE = 1e-9
_ROUNDING = 1e-12
_HOTTEST = 100.0


@dataclass(frozen=True)
class Calibration:
    """A fitted scaling."""

    temperature: float
    bias: tuple[float, ...]
    """One for each class; they sum to 0."""

    def times(self, factor: float) -> Calibration:
        """The same answers, surer by ``factor``, or less sure where it is below 1."""
        return Calibration(self.temperature / factor, tuple(factor * b for b in self.bias))

    def logits(self, logits: Logits) -> Scores:
        """Calibrated logits, shape (n, classes); softmax of them gives the posteriors."""
        calibrated: Scores = logits / self.temperature + np.array(self.bias)
        return calibrated

    def posteriors(self, logits: Logits) -> Scores:
        """Calibrated probabilities, shape (n, classes)."""
        return softmax(self.logits(logits))


def fit(logits: Logits, labels: Labels) -> Calibration:
    """The scaling of least cross-entropy on logits (n, classes) and labels (n,): Newton's method, halving bad steps.

    The problem is convex in 1/T and b, so there is one minimum. T is 100 at most: if logits say nothing about the
    labels, or the opposite, the posteriors are close to the prior.
    """
    n, classes = logits.shape
    # What each parameter (1/T, then b) adds to each class's scaled logit, shape (n, classes, 1 + classes).
    features = np.concatenate([logits[:, :, None], np.broadcast_to(np.eye(classes), (n, classes, classes))], axis=2)
    parameters = np.concatenate([[1.0], np.zeros(classes)])
    loss, slope, curvature = _cross_entropy(features, labels, parameters)
    for _ in range(_MOST_STEPS):
        if np.abs(slope).max() < _FLAT:
            break
        step = np.linalg.solve(curvature, slope)
        step[0] = min(step[0], parameters[0] - 1 / _HOTTEST)
        while (tried := _cross_entropy(features, labels, parameters - step))[0] > loss + _ROUNDING:
            step /= 2
        parameters = parameters - step
        loss, slope, curvature = tried
    return Calibration(float(1 / parameters[0]), tuple((parameters[1:] - parameters[1:].mean()).tolist()))


def _cross_entropy(
    features: NDArray[np.float64], labels: Labels, parameters: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean cross-entropy with its first and second derivatives."""
    n = len(labels)
    posteriors = softmax(features @ parameters)
    own = posteriors[np.arange(n), labels]
    mean = np.einsum("nc,ncp->np", posteriors, features)
    slope = (mean - features[np.arange(n), labels]).mean(axis=0)
    curvature = (np.einsum("nc,ncp,ncq->pq", posteriors, features, features, optimize=True) - mean.T @ mean) / n
    # Adding one number to all of b changes nothing: the ridge makes the matrix invertible.
    return float(-np.log(np.maximum(own, 1e-300)).mean()), slope, curvature + _RIDGE * np.eye(len(parameters))


def certainty(logits: Logits, labels: Labels) -> float:
    """The factor on logits (n, classes) of least cross-entropy, 0.01 to 100: how sure they may be; by bisection."""
    low, high, factor = 1 / _HOTTEST, _HOTTEST, 1.0
    for _ in range(_MOST_STEPS):
        factor = math.sqrt(low * high)
        mean = (softmax(factor * logits) * logits).sum(axis=1)
        if (mean - logits[np.arange(len(labels)), labels]).mean() > 0:
            high = factor
        else:
            low = factor
    return factor


def cross_fitted(logits: Logits, labels: Labels, halves: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Scores:
    """Posteriors of all rows; each half is scaled by what was fitted on the other half. Rows of neither half are
    NaN."""
    posteriors = np.full(logits.shape, np.nan)
    for fitted, applied in (halves, halves[::-1]):
        posteriors[applied] = fit(logits[fitted], labels[fitted]).posteriors(logits[applied])
    return posteriors
