"""Every window on the disk before anyone hears of it: the page's history and the outbox of MQTT in one file.

A window is *settled* when nobody waits for it any more: its PUBACK came, or it was dropped for age, rows, bytes or
damage. Settled windows are kept as a few ranges and written with a later window, so a delivery costs no write of its
own; what is not settled yet is sent again after a power cut, and consumers drop it by its key.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge_agent.config import StoreConfig
from edge_agent.host.clock import Clock, epoch_ms, from_epoch_ms
from edge_agent.store.database import CHUNK, Database, State
from edge_agent.store.disk import Disk
from edge_agent.store.ledger import OWN, Ledger
from edge_agent.store.ranges import Ranges
from edge_agent.store.trend import SumRow, width_ms
from edge_agent.types import StoredWindow, WindowReport

log = logging.getLogger(__name__)

MEMORY_ROWS = 10_000
"""Windows kept in memory while the disk is not available: 28 hours at 10 s, below 10 MB."""
EXAMPLE = "example"
"""The session of windows that nobody measured: the demo's day."""
PRUNE_ROWS = 64
"""Rows dropped at a time, so that a full store does not prune with every window."""
STEP_S = 0.5
"""A window's start further than this from the synchronised clock was stamped before the clock was stepped."""
SPAN_MS = 21_600_000
"""A longer time is summed in pieces, so that nobody waits for the lock meanwhile."""

Drop = tuple[str, list[int]]
"""(reason, ids or places) of windows that had to go."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How the store is doing, for health."""

    rows: int
    bytes: int
    pending: int
    """Windows whose PUBACK has not come."""
    oldest_pending_s: float | None
    """Age of the oldest of them in seconds, by the monotonic clock; by the wall clock where an earlier boot made it."""
    dropped: Mapping[str, int]
    """Windows dropped undelivered since the agent started, by reason: age, rows, bytes, memory, damage."""
    in_memory: bool


def open_store(config: StoreConfig, session: str, model: str = "unknown", *, clock: Clock | None = None) -> Store:
    """Open the file of windows, or memory in its place while the disk does not let us.

    Args:
        config: where, and the bounds.
        session: names this run of the agent.
        model: which model reads the faces; it is kept with every window.
        clock: tests step it.

    Raises:
        StoreError: the file belongs to another running agent, another program or a newer version.
    """
    return Store(config, session, model, clock=clock or Clock())


class Store:
    """See the module; thread-safe."""

    def __init__(self, config: StoreConfig, session: str, model: str, *, clock: Clock) -> None:
        self._config, self._session, self._model, self._clock = config, session, model, clock
        self._lock = threading.RLock()
        self._ledger = Ledger(clock)
        self._latest: StoredWindow | None = None
        self._paused: bool | None = None
        self._restamped = False
        self._disk = Disk(config.path, clock, self._opened)
        self._disk.open()
        self.flush()

    # -- what the pipeline and the page use ---------------------------------------------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether windows are kept in memory because the file cannot be written."""
        return self._disk.memory is not None

    @property
    def reason(self) -> str:
        """Why they are, in one line; empty while they are not."""
        return self._disk.reason

    def append(self, report: WindowReport) -> StoredWindow:
        """Number the window and keep it; on the disk when this returns, unless :attr:`in_memory`."""
        with self._lock:
            self._disk.look_after(self._take_over)
            self._restamp_if_due()
            stored = self._stamp(report)
            drop = self._disk.write(functools.partial(self._write, stored))
            if drop is not None:
                self._ledger.drop(*drop)
            if not self.in_memory:
                self._ledger.saved()
            self._ledger.next_seq += 1
            self._latest = stored
            return stored

    def latest(self) -> StoredWindow | None:
        """The window that was appended last, of this session or an earlier one."""
        return self._latest

    def history(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[StoredWindow]:
        """Windows that started from ``start`` up to, not including, ``end``, in the order of their starts."""
        low, after = 0 if start is None else epoch_ms(start), -1
        high = 1 << 62 if end is None else epoch_ms(end)
        while chunk := self._next_by_start(low, after, high):
            yield from chunk
            low, after = _start_and_place(chunk[-1])

    def sums(self, start: datetime, end: datetime, bucket_s: float) -> Iterator[list[SumRow]]:
        """The time from ``start`` to ``end`` in steps of ``bucket_s``, in pieces that each take a moment only.

        :func:`edge_agent.store.trend.merge` makes buckets of all pieces together.
        """
        for first_ms, last_ms in self._reach():
            begin_ms, end_ms = max(first_ms, epoch_ms(start)), min(last_ms + 1, epoch_ms(end))
            for piece_ms in range(begin_ms, end_ms, SPAN_MS):
                yield self._sums(piece_ms, min(piece_ms + SPAN_MS, end_ms), width_ms(bucket_s))

    def first_start(self) -> datetime | None:
        """When the first of all windows began; None without windows."""
        return next((from_epoch_ms(first_ms) for first_ms, _ in self._reach()), None)

    @property
    def has_example(self) -> bool:
        """Whether the past begins with windows that were made up (:data:`EXAMPLE`)."""
        first = next(self.history(), None)
        return first is not None and first.session == EXAMPLE

    def _reach(self) -> list[tuple[int, int]]:
        """From the first window's start to the last one's, in milliseconds since 1970; empty without windows."""
        with self._lock:
            found = [self._disk.read(database, Database.reach, None) for database in self._disk.databases]
        reaches = [reach for reach in found if reach is not None]
        return [(min(low for low, _ in reaches), max(high for _, high in reaches))] if reaches else []

    def _sums(self, first_ms: int, last_ms: int, width_ms: int) -> list[SumRow]:
        nothing: list[SumRow] = []
        with self._lock:
            found = [
                self._disk.read(database, lambda d: d.sums(first_ms, last_ms, width_ms), nothing)
                for database in self._disk.databases
            ]
        return [row for rows in found for row in rows]

    @property
    def paused(self) -> bool:
        """Whether somebody paused the measuring; survives a restart, also where the disk comes later than the agent."""
        return bool(self._paused)

    @paused.setter
    def paused(self, value: bool) -> None:
        with self._lock:
            self._paused = value
            self._disk.write(self._save_state)

    # -- what the publisher uses --------------------------------------------------------------------------------

    @property
    def last_place(self) -> int:
        """The place of the window that was appended last in this session (:mod:`edge_agent.store.ledger`)."""
        return OWN + self._ledger.next_seq - 1

    def pending(self, after: int = 0, before: int = 1 << 62, limit: int = 100) -> list[StoredWindow]:
        """Windows that are not settled with places between ``after`` and ``before``, the first ones."""
        with self._lock:
            self._restamp_if_due()
            found, whole = self._pending(after, before, limit)
            if not whole and self._disk.repair(sqlite3.DatabaseError("windows are missing")):
                found, _ = self._pending(after, before, limit)
            return found

    def _pending(self, after: int, before: int, limit: int) -> tuple[list[StoredWindow], bool]:
        """The windows, and whether all that wait were there: SQLite does not notice every page that is wrong."""
        found, whole = list[StoredWindow](), True
        for first, last in list(self._ledger.waiting(after, before)):
            if len(found) >= limit:
                break
            last = min(last, first + limit - len(found) - 1)
            windows = self._between(first, last, limit)
            waits = [place for low, high in self._ledger.settled.gaps(first, last) for place in range(low, high + 1)]
            whole = whole and [stored.place for stored in windows] == waits
            found += windows
        return found, whole

    def mark_delivered(self, windows: Iterable[StoredWindow]) -> None:
        """These windows' PUBACKs came. Kept in memory, written with a later window or :meth:`flush`."""
        with self._lock:
            self._ledger.deliver(window.place for window in windows if self._is_here(window))

    def _is_here(self, window: StoredWindow) -> bool:
        """Whether its place is still its own: the card may have been swapped while it was under way."""
        if window.session == self._session:
            return True
        there = self._between(window.place, window.place, 1)
        return [(each.session, each.seq) for each in there] == [(window.session, window.seq)]

    def flush(self, *, at_once: bool = False) -> None:
        """While no windows come: see to the disk, and write delivery marks that are due, or all."""
        with self._lock:
            self._disk.look_after(self._take_over)
            self._restamp_if_due()
            if self._disk.memory is None and (self._ledger.is_due or (at_once and self._ledger.has_news)):
                self._disk.write(self._save_state)
                self._ledger.saved()

    def stats(self) -> StoreStats:
        """Figures for health."""
        with self._lock:
            oldest = self.pending(limit=1)
            databases = self._disk.databases
            return StoreStats(
                rows=sum(database.rows for database in databases),
                bytes=sum(self._disk.read(database, Database.used_bytes, 0) for database in databases),
                pending=self._ledger.waiting_count,
                oldest_pending_s=self._age_s(oldest[0]) if oldest else None,
                dropped=dict(self._ledger.dropped),
                in_memory=self.in_memory,
            )

    def close(self) -> None:
        """Write what is only in memory, if the disk takes it, and let go of the file."""
        with self._lock:
            self._disk.look_after(self._take_over, at_once=True)
            self.flush(at_once=True)
            memory = self._disk.memory
            if memory is not None and memory.rows:
                log.error("%d windows that were only in memory are lost: %s", memory.rows, self.reason)
            self._disk.close()

    # -- opening and recovering ---------------------------------------------------------------------------------

    def _opened(self, file: Database, *, saved: bool) -> None:
        """Learn what the file holds, of this session, too; of one that had to be saved, something may be lost."""
        number, session, seq = file.newest()
        is_ours = session == self._session
        file.base = number - seq if is_ours else max(number, file.state.highest, file.state.settled.highest)
        self._ledger.next_seq = max(self._ledger.next_seq, seq + 1 if is_ours else 1)
        self._ledger.load(file.base, file.state.settled)
        if saved or self._ledger.next_seq > 1:
            there = [database.places() for database in self._disk.databases]
            self._ledger.lose_what_is_missing(Ranges(itertools.chain.from_iterable(there)))
        if self._paused is None:
            self._paused = file.state.paused
        if self._latest is None:
            newest, _ = file.windows("id = ?", (number,), 1)
            self._latest = newest[0] if newest else None
        self._restamped = False

    def _take_over(self, file: Database, memory: Database) -> None:
        """Move the windows of memory into the file."""
        after = 0
        while chunk := memory.windows("id > ? ORDER BY id", (after,))[0]:
            for stored in chunk:
                file.insert(file.id_of(stored.place), stored)
            after = memory.id_of(chunk[-1].place)
        self._save_state(file)
        self._restamped = False  # what is in the file could not be written meanwhile

    def _age_s(self, stored: StoredWindow) -> float:
        if stored.boot_id == self._clock.boot_id:
            return max(0.0, self._clock.monotonic_s() - stored.report.start_monotonic_s)
        return max(0.0, (self._clock.wall() - stored.report.window_start).total_seconds())

    # -- writing ------------------------------------------------------------------------------------------------

    def _write(self, stored: StoredWindow, database: Database) -> Drop | None:
        """The window, what must go to make room for it, and the marks of what was delivered so far."""
        drop = self._make_room(database)
        if drop is not None:
            database.delete(drop[1])
        database.insert(database.id_of(stored.place), stored)
        self._save_state(database, stored.place, drop[1] if drop is not None else ())
        return drop and (drop[0], [database.place_of(number) for number in drop[1]])

    def _save_state(self, database: Database, newest: int | None = None, dropped: Iterable[int] = ()) -> None:
        settled = self._ledger.ids_settled(database.base)
        for number in dropped:
            settled.add(number)
        highest = database.id_of(self.last_place if newest is None else newest)
        database.save_state(State(settled, highest, bool(self._paused), database.state.version))

    def _make_room(self, database: Database) -> Drop | None:
        """What lies beyond the bounds, the oldest first; a bound that is left over is met with the next window."""
        in_file = database.path is not None
        most = self._config.max_rows if in_file else MEMORY_ROWS
        if database.rows >= most:
            return "rows" if in_file else "memory", database.oldest(database.rows - most + min(PRUNE_ROWS, most))
        if database.used_bytes() > self._config.max_mb * 1e6:
            return "bytes", database.oldest(PRUNE_ROWS)
        # An unsynchronised clock may be years off: ages are not known then, and rows and bytes bound the file.
        if self._clock.synchronised():
            clock, age_s = self._clock, self._config.max_age_days * 86_400.0
            now_ms, now_s = epoch_ms(clock.wall()), clock.monotonic_s()
            old = database.older_than(age_s, now_ms, now_s, boot_id=clock.boot_id, limit=10 * PRUNE_ROWS)
            return ("age", old) if old else None
        return None

    # -- time ---------------------------------------------------------------------------------------------------

    def _stamp(self, report: WindowReport) -> StoredWindow:
        """The report with its number, and with its true start where the clock was stepped during the window."""
        synced = self._clock.synchronised()
        if synced:
            true_start = self._clock.wall_at(report.start_monotonic_s)
            if abs(true_start - report.window_start) > timedelta(seconds=STEP_S):
                report = replace(report, window_start=true_start)
        seq = self._ledger.next_seq
        return StoredWindow(self._session, seq, report, synced, self._model, self._clock.boot_id, OWN + seq)

    def _restamp_if_due(self) -> None:
        """Once the clock is synchronised: correct the windows of this boot that it had not been for."""
        if not self._clock.synchronised():
            self._restamped = False
            return
        if self._restamped:
            return
        self._restamped = True
        offset_ms = epoch_ms(self._clock.wall()) - self._clock.monotonic_s() * 1000
        count = self._disk.write(lambda database: database.restamp(self._clock.boot_id, offset_ms))
        if count:
            log.info("the clock is synchronised: %d earlier windows of this boot got their true time", count)

    # -- reading ------------------------------------------------------------------------------------------------

    def _between(self, first: int, last: int, limit: int) -> list[StoredWindow]:
        """By place. From the file, then from memory, where later ones are."""
        found: list[StoredWindow] = []
        for database in self._disk.databases:
            found += self._read_from(
                database,
                "id BETWEEN ? AND ? ORDER BY id",
                lambda d: (d.id_of(first), d.id_of(last)),
                limit=limit - len(found),
            )
        return found

    def _next_by_start(self, low_ms: int, after: int, high_ms: int) -> list[StoredWindow]:
        """A chunk of the file and one of memory, merged: those of memory began earlier where the clock fell back."""
        condition = "(start_ms, id) > (?, ?) AND start_ms < ? ORDER BY start_ms, id"
        with self._lock:
            chunks = [
                self._read_from(database, condition, lambda d: (low_ms, d.id_of(after), high_ms), limit=CHUNK)
                for database in self._disk.databases
            ]
        return list(itertools.islice(heapq.merge(*chunks, key=_start_and_place), CHUNK))

    def _read_from(
        self, database: Database, where: str, values: Callable[[Database], Sequence[int]], *, limit: int
    ) -> list[StoredWindow]:
        nothing: tuple[list[StoredWindow], int] = [], 0
        found, damaged = self._disk.read(database, lambda d: d.windows(where, values(d), limit), nothing)
        if damaged and self._disk.repair(sqlite3.DatabaseError(f"{damaged} windows are damaged")):
            return self._read_from(self._disk.databases[0], where, values, limit=limit)
        return found


def _start_and_place(stored: StoredWindow) -> tuple[int, int]:
    return epoch_ms(stored.report.window_start), stored.place
