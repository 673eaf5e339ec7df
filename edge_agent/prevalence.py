"""Shares of people per emotion from the classifier's calibrated posteriors, one row a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.rounding import percentages
from edge_agent.types import Shares


@dataclass(frozen=True, slots=True)
class ShareEstimator:
    """Estimates shares for one classifier."""

    labels: tuple[str, ...]
    """Emotion names in the order of the columns."""
    prior: tuple[float, ...]
    """Shares of the labels that the posteriors were calibrated on, as the model's JSON gives them; sums to 1."""

    def estimate(self, probabilities: NDArray[np.float64]) -> Shares:
        """Shares of ``n`` people.

        Args:
            probabilities: calibrated posteriors, shape (n, len(labels)), n >= 1, each row sums to 1 and each row is one
                person.

        Raises:
            ValueError: the shape is wrong, or nobody is in it.
        """
        posteriors = np.asarray(probabilities, dtype=np.float64)
        if posteriors.ndim != 2 or posteriors.shape[1] != len(self.labels) or len(posteriors) == 0:
            raise ValueError(f"expected (people >= 1, {len(self.labels)}) posteriors, not {posteriors.shape}")
        mean = posteriors.mean(axis=0)
        spread = 1.645 * np.sqrt((posteriors * (1 - posteriors)).sum(axis=0)) / len(posteriors)
        low, high = np.clip([mean - spread, mean + spread], 0.0, 1.0)
        shown = dict(zip(self.labels, percentages(mean), strict=True))
        return Shares(
            percentages=shown,
            percentages_raw=dict(shown),
            intervals={
                label: (round(100 * float(a), 1), round(100 * float(b), 1))
                for label, a, b in zip(self.labels, low, high, strict=True)
            },
            method="mean",
            people=len(posteriors),
        )
