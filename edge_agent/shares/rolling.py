"""The estimate over the last quarter of an hour, built so that no reader can subtract a person out of it.

People enter and leave in *cohorts*, and the rules below make every published figure - a window's shares or the rolling
ones - a function of whole groups of at least ``min_people`` people. docs/privacy.md gives the argument in full:

1. Only people of a published (not suppressed) window enter, and only those that are not in here already.
2. They enter together, as one cohort of at least ``min_people``. The rest of their window is nobody or at least
   ``min_people`` too, else "window minus cohort" would be a small group: some newcomers wait where that is needed.
3. A cohort leaves as a whole, and only in the moment another one enters; the last one leaves when its time is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cohort:
    """People who entered together and will leave together."""

    entered_monotonic_s: float
    people: frozenset[int]
    """Their lineages."""
    posteriors: NDArray[np.float64]
    """One row a track, shape (tracks, classes)."""


class RollingPeople:
    """Who counts in the rolling estimate. Ids and scores stay in memory, for ``span_s`` seconds at most after entry
    or until the next cohort enters.
    """

    def __init__(self, span_s: float, min_people: int) -> None:
        self._span_s = span_s
        self._min_people = min_people
        self._cohorts: deque[Cohort] = deque()

    @property
    def posteriors(self) -> NDArray[np.float64] | None:
        """One row for each person in the estimate; None when nobody is."""
        return np.concatenate([cohort.posteriors for cohort in self._cohorts]) if self._cohorts else None

    @property
    def cohorts(self) -> tuple[Cohort, ...]:
        """The cohorts of the current estimate, oldest first."""
        return tuple(self._cohorts)

    def enter(self, lineages: Sequence[int], posteriors: NDArray[np.float64], now_monotonic_s: float) -> bool:
        """Offer a published window's people; True when the estimate changed.

        Args:
            lineages: whose row each is; tracks of one lineage may be one person, and count as one here.
            posteriors: shape (n, classes).
            now_monotonic_s: when the window closed.
        """
        alive = [cohort for cohort in self._cohorts if now_monotonic_s - cohort.entered_monotonic_s < self._span_s]
        known = frozenset().union(*(cohort.people for cohort in alive))
        entering = self._cohort(frozenset(lineages), known)
        if len(entering) < self._min_people:
            return self.expire(now_monotonic_s)
        rows = np.array([lineage in entering for lineage in lineages], dtype=bool)
        self._cohorts = deque([*alive, Cohort(now_monotonic_s, entering, posteriors[rows])])
        return True

    def _cohort(self, people: frozenset[int], known: frozenset[int]) -> frozenset[int]:
        """Who of a window's people may enter: the new ones, less as many as the rest needs to be nobody or enough."""
        new, rest = sorted(people - known), len(people & known)
        waiting = self._min_people - rest if 0 < rest < self._min_people else 0
        # The latest to come wait: they are the likeliest to be in the next window, too.
        return frozenset(new[: max(0, len(new) - waiting)])

    def expire(self, now_monotonic_s: float) -> bool:
        """Forget everybody once the newest cohort is too old; True when the estimate changed."""
        if not self._cohorts or now_monotonic_s - self._cohorts[-1].entered_monotonic_s < self._span_s:
            return False
        self._cohorts.clear()
        return True
