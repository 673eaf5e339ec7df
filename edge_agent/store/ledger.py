"""Which windows were given a number, which of them somebody still waits for, and which were lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from edge_agent.host.clock import Clock, epoch_ms
from edge_agent.store.database import Database
from edge_agent.store.ranges import Ranges

MARKS_S = 60.0
"""Deliveries of at most this long are told again after a power cut."""


class Ledger:
    """Every number below :attr:`next_seq` is settled or a window that waits. Not thread-safe: the store locks."""

    def __init__(self, clock: Clock) -> None:
        self.next_seq = 1
        self.settled = Ranges()
        """Delivered, dropped, or never given out."""
        self.dropped: Counter[str] = Counter()
        """Windows that went undelivered, by reason."""
        self._clock = clock
        self._loaded = False
        self._first = 1
        """Where this run began, as long as the file is not :attr:`_loaded`."""
        self._moves: list[tuple[int, int, int]] = []
        """(first, next that was due, by how much these rose) for each return to a file with windows unknown so far."""
        self._dirty = False
        self._saved_s = clock.monotonic_s()

    def load(self, file: Database, damaged: bool = False) -> None:
        """Continue where the file ends; of a ``damaged`` one, what waited and could not be saved is lost."""
        self.settled = file.settled()
        lowest, highest = file.bounds()
        self.next_seq = max(highest, self.settled.highest) + 1
        if not (damaged and self.settled.highest):  # without any mark nobody knows where the numbers began
            self.settled.add(1, lowest - 1)
        if damaged:
            self.lose_what_is_missing(file)
        self.settled.add(highest + 1, self.next_seq - 1)
        self._loaded = True

    def skip(self) -> None:
        """Without the old file nobody knows which numbers were given out: go on above any of them."""
        first = max(self.next_seq, epoch_ms(self._clock.wall()))
        self.settled.add(self.next_seq, first - 1)
        self.next_seq = self._first = first
        self._save_at_once()

    @property
    def numbering(self) -> int:
        """Changes when windows get other numbers, or earlier ones come to light."""
        return len(self._moves)

    def number_now(self, seq: int) -> int:
        """Which number a window of this run has that was given out as ``seq``, or would have been as the next."""
        for first, next_one, by in self._moves:
            if first <= seq <= next_one:
                seq += by
        return seq

    def overlap(self, file: Database, memory: Database) -> int:
        """By how much the numbers of ``memory`` must rise, to lie above all that were ever given out.

        Without the old file they began at the time of day. Where that is not kept over a power cut, an earlier run may
        have begun with the same.
        """
        lowest, taken = self._lowest(memory), max(file.bounds()[1], file.settled().highest)
        return 0 if taken < lowest else max(taken, self.next_seq) + 1 - lowest

    def move(self, memory: Database, by: int) -> None:
        """Raise the numbers of ``memory`` by what :meth:`overlap` says: none of this run is given out a second time."""
        lowest = self._lowest(memory)
        memory.renumber(by)
        settled = Ranges([(1, lowest + by - 1)])
        for first, last in self.settled:
            settled.add(max(first, lowest) + by, last + by)
        self._moves.append((lowest, self.next_seq, by))
        self.settled, self.next_seq = settled, self.next_seq + by
        self._first, self._loaded = lowest + by, False  # whatever file it was that we knew, this is another one

    def _lowest(self, memory: Database) -> int:
        """The first number of those that belong to memory, also when it holds no windows."""
        return (memory.bounds()[0] or self.next_seq) if self._loaded else self._first

    def take_over(self, file: Database, memory: Database) -> None:
        """The windows of memory go into ``file``, which may hold windows of earlier runs that nobody knew of."""
        if self._loaded:
            return  # what waits is known; what the file no longer holds of it was lost, and counts as that
        lowest = self._lowest(memory)
        oldest, highest = file.bounds()
        settled = file.settled()
        settled.add(1, oldest - 1)
        settled.add(highest + 1, lowest - 1)
        for first, last in self.settled:
            settled.add(max(first, lowest), last)
        self._moves.append((lowest, self.next_seq, 0))
        self.settled, self._loaded = settled, True

    def lose_what_is_missing(self, *databases: Database) -> None:
        """The file was replaced: windows that waited and are in none of these will never be sent."""
        for first, last in list(self.waiting()):
            there = Ranges((seq, seq) for database in databases for seq in database.numbers(first, last))
            for low, high in list(there.gaps(first, last)):
                self.dropped["damage"] += high - low + 1
                self.settled.add(low, high)
        self._save_at_once()

    def deliver(self, numbers: Iterable[int]) -> None:
        """Their PUBACKs came."""
        for seq in numbers:
            self.settled.add(seq)
        self._dirty = True

    def drop(self, reason: str, numbers: Iterable[int]) -> None:
        """They had to go; those that had been delivered are no loss."""
        for seq in numbers:
            if seq not in self.settled:
                self.dropped[reason] += 1
                self.settled.add(seq)
        self._dirty = True

    def waiting(self, after: int = 0, before: int | None = None) -> Iterator[tuple[int, int]]:
        """Ranges of windows that wait, ``after < seq < before``, ascending."""
        last = self.next_seq - 1 if before is None else min(before, self.next_seq) - 1
        return self.settled.gaps(after + 1, last)

    @property
    def waiting_count(self) -> int:
        """How many windows wait."""
        return sum(last - first + 1 for first, last in self.waiting())

    @property
    def has_news(self) -> bool:
        """Whether something is not on the disk yet."""
        return self._dirty

    @property
    def is_due(self) -> bool:
        """Whether it should be by now."""
        return self._dirty and self._clock.monotonic_s() - self._saved_s >= MARKS_S

    def _save_at_once(self) -> None:
        """The next run cannot find out by itself that these numbers are settled."""
        self._dirty, self._saved_s = True, -math.inf

    def saved(self) -> None:
        """It is now."""
        self._saved_s, self._dirty = self._clock.monotonic_s(), False
