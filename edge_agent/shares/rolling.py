"""The estimate over the last quarter of an hour, made so that no reader can isolate a person by subtraction.

People enter and leave in *cohorts*. The rules below make every published figure, of a window or of the estimate, a
function of whole groups of at least ``min_people`` people. docs/privacy-proof.md has the argument:

1. Only people of a published (not suppressed) window enter, and only those who are not in the estimate yet.
2. They enter together, as one cohort of at least ``min_people``. The rest of their window is nobody or at least
``min_people`` too. Otherwise "window minus cohort" would be a small group, so some newcomers wait where needed.
Enough people are only those who were seen at the same time: somebody who left and returned is not two of them.
3. A cohort leaves as a whole, and only when another one enters. The last one leaves when its time is over.

An example with ``min_people`` 3 (docs/privacy-proof.md has it as a table, and a test runs that)::

    window 1: Ann, Ben, Cem                    they enter as the first cohort
    window 2: Ann, Ben, Cem, Dana              one newcomer is too few: Dana waits
    window 3: Cem, Dana, Eli, Fay              all wait: window minus cohort would be Cem alone
    window 4: Cem, Dana, Eli, Fay, Gil, Hal    Dana, Eli, Fay enter; Gil and Hal wait, so that the rest is three people
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cohort:
    """People who entered together and will leave together."""

    entered_monotonic_s: float
    people: frozenset[int]
    """Their lineages."""
    rows: NDArray[np.float64]
    """One row a track, shape (tracks, columns)."""


class RollingPeople:
    """The people in the rolling estimate. Ids and scores stay in memory, for at most ``span_s`` seconds after entry or
    until the next cohort enters.
    """

    def __init__(self, span_s: float, min_people: int) -> None:
        self._span_s = span_s
        self._min_people = min_people
        self._cohorts: deque[Cohort] = deque()

    @property
    def rows(self) -> NDArray[np.float64] | None:
        """One row for each person in the estimate; None when nobody is."""
        return np.concatenate([cohort.rows for cohort in self._cohorts]) if self._cohorts else None

    @property
    def cohorts(self) -> tuple[Cohort, ...]:
        """The cohorts of the current estimate, oldest first."""
        return tuple(self._cohorts)

    def enter(
        self,
        lineages: Sequence[int],
        rows: NDArray[np.float64],
        *,
        groups: Collection[frozenset[int]],
        now_monotonic_s: float,
    ) -> bool:
        """Offer a published window's people; True when the estimate changed.

        Args:
            lineages: the lineage of each row; tracks of one lineage may be one person, and count as one here.
            rows: the averages of each, shape (n, columns).
            groups: the lineages of people who were seen at the same time, so that no two of a group are one person.
            now_monotonic_s: when the window closed.
        """
        alive = [cohort for cohort in self._cohorts if now_monotonic_s - cohort.entered_monotonic_s < self._span_s]
        known = frozenset().union(*(cohort.people for cohort in alive))
        entering = self._cohort(frozenset(lineages), known, groups)
        if not entering:
            return self.expire(now_monotonic_s)
        enters = np.array([lineage in entering for lineage in lineages], dtype=bool)
        self._cohorts = deque([*alive, Cohort(now_monotonic_s, entering, rows[enters])])
        return True

    def _cohort(
        self, people: frozenset[int], known: frozenset[int], groups: Collection[frozenset[int]]
    ) -> frozenset[int]:
        """The people who may enter: the new ones, without those that the rest needs to reach ``min_people``."""

        def enough(some: Collection[int]) -> bool:
            return max((len(group.intersection(some)) for group in groups), default=0) >= self._min_people

        new, rest = sorted(people - known), set(people & known)
        while new and rest and not enough(rest):
            rest.add(new.pop())  # the last to come wait: they are most likely to be in the next window, too
        return frozenset(new if enough(new) else ())

    def expire(self, now_monotonic_s: float) -> bool:
        """Forget everybody when the newest cohort is too old; True when the estimate changed."""
        if not self._cohorts or now_monotonic_s - self._cohorts[-1].entered_monotonic_s < self._span_s:
            return False
        self._cohorts.clear()
        return True
