"""What the past day says about the camera: whether its faces are answered like the reference faces.

Only averages over published windows are kept, faded with time, so that a lamp that breaks in the evening is noticed and
one odd group is not.
"""

from __future__ import annotations

from edge_agent.shares.estimate import Averages, ShareEstimator
from edge_agent.shares.reference import Array

HALF_LIFE_S = 6 * 3600.0
"""After so long a group counts half: most of what is remembered is of the past day."""
TRUST = 0.9
"""How far the past is believed to hold for the next window; a camera may be moved between two."""


class PastDay:
    """Averages over the groups of the past day. They are sums of published windows, and say no more of a person."""

    def __init__(self, estimator: ShareEstimator) -> None:
        self._estimator = estimator
        self._people = 0.0
        self._sums: Array | None = None
        self._at_s = 0.0

    def add(self, people: Array, now_monotonic_s: float) -> None:
        """One more published group: mean readings of each person, shape (n, 2 x labels)."""
        fade = 0.5 ** (max(0.0, now_monotonic_s - self._at_s) / HALF_LIFE_S)
        sums = people.sum(axis=0)
        self._sums = sums if self._sums is None else fade * self._sums + sums
        self._people = fade * self._people + len(people)
        self._at_s = now_monotonic_s

    @property
    def doubt(self) -> Array:
        """Weights of the levels of doubt for the next group, as :meth:`ShareEstimator.estimate_people` takes them."""
        even = self._estimator.even_doubt
        if self._sums is None:
            return even
        seen = Averages(max(1, round(self._people)), self._sums / self._people)
        return TRUST * self._estimator.doubt(seen) + (1.0 - TRUST) * even
