"""Which windows somebody still waits for, and which were lost.

A *place* is a window's rank in the order in which the store took windows. Windows of earlier sessions have the ids of
their rows in the file as their places. Those of this session come after them, whatever the file holds and whenever it
comes: window ``n`` has the place ``OWN + n``, in memory as in the file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from edge_agent.host.clock import Clock
from edge_agent.store.ranges import Ranges

OWN = 1 << 48
"""Above every id that a file reaches."""
MARKS_S = 60.0
"""Deliveries of at most this long are told again after a power cut ..."""
MARKS = 100
"""... and about this many of them."""


class Ledger:
    """Every place up to :attr:`base`, and from OWN on, is settled or a window that waits. Not thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self.next_seq = 1
        self.settled = Ranges()
        """Places of windows that were delivered or dropped."""
        self.dropped: Counter[str] = Counter()
        """Windows that went undelivered, by reason."""
        self._base = 0
        self._clock = clock
        self._news = 0.0
        self._saved_s = clock.monotonic_s()

    def load(self, base: int, settled: Ranges) -> None:
        """A file was opened whose rows up to ``base`` are of earlier sessions; ``settled`` are the ids it tells."""
        kept = [(max(first, 0 if base == self._base else OWN), last) for first, last in self.settled]
        self.settled = Ranges([*kept, *((first, min(last, base)) for first, last in settled)])
        self._base = base

    def ids_settled(self, base: int) -> Ranges:
        """The ids of the settled windows in a database with this base."""
        ours = base - OWN
        return Ranges((first + ours, last + ours) if first > OWN else (first, last) for first, last in self.settled)

    def lose_what_is_missing(self, there: Ranges) -> None:
        """The file was damaged: windows that waited and are not ``there`` will never be sent."""
        for first, last in list(self.waiting()):
            for low, high in list(there.gaps(first, last)):
                self.dropped["damage"] += high - low + 1
                self.settled.add(low, high)
        self._news = math.inf

    def deliver(self, places: Iterable[int]) -> None:
        """Their PUBACKs came."""
        for place in places:
            self.settled.add(place)
            self._news += 1

    def drop(self, reason: str, places: Iterable[int]) -> None:
        """They had to go; those that had been delivered are no loss."""
        for place in places:
            if place not in self.settled:
                self.dropped[reason] += 1
                self.settled.add(place)
                self._news += 1

    def waiting(self, after: int = 0, before: int = 1 << 62) -> Iterator[tuple[int, int]]:
        """Ranges of places of windows that wait, ``after < place < before``, ascending."""
        yield from self.settled.gaps(after + 1, min(before - 1, self._base))
        yield from self.settled.gaps(max(after, OWN) + 1, min(before, OWN + self.next_seq) - 1)

    @property
    def waiting_count(self) -> int:
        """How many windows wait."""
        return sum(last - first + 1 for first, last in self.waiting())

    @property
    def has_news(self) -> bool:
        """Whether something is not on the disk yet."""
        return self._news > 0

    @property
    def is_due(self) -> bool:
        """Whether it should be by now."""
        return self._news >= MARKS or (self.has_news and self._clock.monotonic_s() - self._saved_s >= MARKS_S)

    def saved(self) -> None:
        """It is now."""
        self._saved_s, self._news = self._clock.monotonic_s(), 0.0
