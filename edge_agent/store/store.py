"""Every window on the disk before anyone hears of it: the page's history and the outbox of MQTT in one file.

A window is *settled* when nobody waits for it any more: its PUBACK came, or it was dropped for age, rows, bytes or
damage. Settled numbers are kept as a few ranges and written with a later window, so a delivery costs no write of its
own; what is not settled yet is sent again after a power cut, and consumers drop it by its key.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge_agent.config import StoreConfig
from edge_agent.host.clock import Clock, epoch_ms
from edge_agent.store.database import CHUNK, DamagedRowsError, Database
from edge_agent.store.disk import FAILURES, Disk
from edge_agent.store.ledger import Ledger
from edge_agent.store.ranges import Ranges
from edge_agent.store.rows import Run, labels_of, to_row
from edge_agent.store.trend import SumRow, width_ms
from edge_agent.types import StoredWindow, WindowReport

log = logging.getLogger(__name__)

MEMORY_ROWS = 10_000
"""Windows that memory holds while the disk is not to be had: 28 hours at 10 s, below 10 MB."""
PRUNE_ROWS = 64
"""Rows dropped at a time, so that a full store does not prune with every window."""
STEP_S = 0.5
"""A window's start further than this from the synchronised clock was stamped before the clock was stepped."""
SPAN_MS = 21_600_000
"""A longer time is summed in pieces, so that nobody waits for the lock meanwhile."""

Drop = tuple[str, list[int]]
"""(reason, numbers) of windows that had to go."""


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


def open_store(config: StoreConfig, session: str, model: str = "unknown", clock: Clock | None = None) -> Store:
    """Open the file of windows, or memory in its place while the disk does not let us.

    Args:
        config: where, and the bounds.
        session: names this run of the agent.
        model: which model reads the faces; it is kept with every window.
        clock: tests step it.

    Raises:
        StoreError: the file belongs to another running agent, another program or a newer version.
    """
    return Store(config, session, model, clock or Clock())


class Store:
    """See the module; thread-safe."""

    def __init__(self, config: StoreConfig, session: str, model: str, clock: Clock) -> None:
        self._config, self._session, self._model, self._clock = config, session, model, clock
        self._lock = threading.RLock()
        self._ledger = Ledger(clock)
        self._latest: StoredWindow | None = None
        self._paused: bool | None = None
        self._restamped = False
        self._disk = Disk(config.path, clock, self._follow_replacement)
        self._disk.open()
        if self._disk.file is not None:
            self._load(self._disk.file)
        if self._disk.file is None or self._disk.was_damaged:
            self._ledger.skip()
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
            self._disk.recover_if_due(self._take_over)
            self._restamp_if_due()
            stored = self._stamp(report)
            save_ledger = self._ledger.is_due
            drop = self._disk.write(functools.partial(self._write, stored, save_ledger))
            if drop is not None:
                self._ledger.drop(*drop)
            if drop is not None or save_ledger:
                self._ledger.saved()
            self._ledger.next_seq = stored.seq + 1
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
            low, after = _start_and_number(chunk[-1])

    def sums(self, start: datetime, end: datetime, bucket_s: float) -> Iterator[list[SumRow]]:
        """The time from ``start`` to ``end`` in steps of ``bucket_s``, in pieces that each take a moment only.

        :func:`edge_agent.store.trend.merge` makes buckets of all pieces together.
        """
        for first_ms, last_ms in self._reach():
            begin_ms, end_ms = max(first_ms, epoch_ms(start)), min(last_ms + 1, epoch_ms(end))
            for piece_ms in range(begin_ms, end_ms, SPAN_MS):
                yield self._sums(piece_ms, min(piece_ms + SPAN_MS, end_ms), width_ms(bucket_s))

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
            self._disk.write(self._write_state)

    # -- what the publisher uses --------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The highest number that was given out or can be taken for one."""
        return self._ledger.next_seq - 1

    @property
    def numbering(self) -> int:
        """Changes when windows that wait came to light below others, or were renumbered (:meth:`number_now`)."""
        return self._ledger.numbering

    def number_now(self, session: str, seq: int) -> int:
        """Which number the window has that was handed out as ``seq``.

        Those in memory get higher ones when the file that comes back holds windows of an earlier run under theirs. No
        number of a session is given to two windows, not even one after the other: consumers tell windows apart by it.
        """
        with self._lock:
            return self._ledger.number_now(seq) if session == self._session else seq

    def pending(self, after: int = 0, before: int | None = None, limit: int = 100) -> list[StoredWindow]:
        """Windows that are not settled with ``after < seq < before``, the oldest first, at most ``limit``."""
        found: list[StoredWindow] = []
        with self._lock:
            self._restamp_if_due()
            for first, last in list(self._ledger.waiting(after, before)):
                found += self._read("seq BETWEEN ? AND ? ORDER BY seq", (first, last), limit - len(found))
                if len(found) >= limit:
                    break
        return found

    def mark_delivered(self, windows: Iterable[StoredWindow]) -> None:
        """These windows' PUBACKs came. Kept in memory, written with a later window or :meth:`flush`."""
        with self._lock:
            self._ledger.deliver(self.number_now(window.session, window.seq) for window in windows)

    def flush(self, at_once: bool = False) -> None:
        """While no windows come: get back to the disk if it is due, write delivery marks older than a minute or all."""
        with self._lock:
            self._disk.recover_if_due(self._take_over)
            self._restamp_if_due()
            if self._disk.memory is None and (self._ledger.is_due or (at_once and self._ledger.has_news)):
                self._disk.write(lambda database: database.save_settled(self._ledger.settled))
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
            self._disk.recover_if_due(self._take_over, at_once=True)
            self.flush(at_once=True)
            memory = self._disk.memory
            if memory is not None and memory.rows:
                log.error("%d windows that were only in memory are lost: %s", memory.rows, self.reason)
            self._disk.close()

    # -- opening and recovering ---------------------------------------------------------------------------------

    def _load(self, file: Database) -> None:
        self._ledger.load(file, self._disk.was_damaged)
        self._paused = _said_paused(file)
        newest = self._read("seq = ?", (file.bounds()[1],), 1)
        self._latest = newest[0] if newest else None

    def _take_over(self, file: Database, memory: Database) -> None:
        """Move the windows of memory into the file, which another run of the agent may have left."""
        self._renumber_above(file, memory)
        self._ledger.take_over(file, memory)
        after = -1
        while chunk := memory.windows("seq > ? ORDER BY seq", (after,)):
            for stored in chunk:
                self._insert(file, stored)
            after = chunk[-1].seq
        self._ledger.lose_what_is_missing(file)
        if self._paused is None:  # nobody has said otherwise since the start
            self._paused = _said_paused(file)
        self._write_state(file)
        file.save_settled(self._ledger.settled)
        self._restamped = False  # what lay in the file could not be stamped anew meanwhile

    def _follow_replacement(self, file: Database, *others: Database) -> None:
        """A fresh file has taken the old one's place; what was not read of that is lost, the pause perhaps with it."""
        self._ledger.lose_what_is_missing(file, *others)
        if self._paused is not None:
            with file.transaction():
                self._write_state(file)

    def _renumber_above(self, file: Database, memory: Database) -> None:
        """One number that both know would keep everything out of the file; done in memory, it holds if that fails."""
        by = self._ledger.overlap(file, memory)
        if not by:
            return
        log.warning("%s holds windows under our numbers: ours go up by %d", self._config.path, by)
        self._ledger.move(memory, by)
        if self._latest is not None:
            latest = self._latest
            self._latest = replace(latest, seq=self.number_now(latest.session, latest.seq))

    def _age_s(self, stored: StoredWindow) -> float:
        if stored.boot_id == self._clock.boot_id:
            return max(0.0, self._clock.monotonic_s() - stored.report.start_monotonic_s)
        return max(0.0, (self._clock.wall() - stored.report.window_start).total_seconds())

    # -- writing ------------------------------------------------------------------------------------------------

    def _write(self, stored: StoredWindow, save_ledger: bool, database: Database) -> Drop | None:
        """The window, what must go to make room for it, and the ledger when it is due."""
        drop = self._make_room(database)
        if drop is not None:
            database.delete(drop[1])
        self._insert(database, stored)
        if drop is not None or save_ledger:
            settled = Ranges(self._ledger.settled)
            for seq in drop[1] if drop is not None else ():
                settled.add(seq)
            database.save_settled(settled)
        return drop

    def _insert(self, database: Database, stored: StoredWindow) -> None:
        labels = labels_of(stored.report)
        run = database.run_id(Run(stored.session, stored.boot_id, stored.model, labels))
        database.insert(to_row(stored.seq, run, labels, stored.report, stored.clock_synced))

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
            old = database.older_than(age_s, now_ms, now_s, clock.boot_id, 10 * PRUNE_ROWS)
            return ("age", old) if old else None
        return None

    def _write_state(self, database: Database) -> None:
        database.set_state("paused", "1" if self._paused else "0")

    # -- time ---------------------------------------------------------------------------------------------------

    def _stamp(self, report: WindowReport) -> StoredWindow:
        """The report with its number, and with its true start where the clock was stepped during the window."""
        synced = self._clock.synchronised()
        if synced:
            true_start = self._clock.wall_at(report.start_monotonic_s)
            if abs(true_start - report.window_start) > timedelta(seconds=STEP_S):
                report = replace(report, window_start=true_start)
        return StoredWindow(self._session, self._ledger.next_seq, report, synced, self._model, self._clock.boot_id)

    def _restamp_if_due(self) -> None:
        """Once the clock is synchronised: correct the windows of this boot that it had not been for."""
        if not self._clock.synchronised():
            self._restamped = False
            return
        if self._restamped:
            return
        self._restamped = True
        offset_ms = epoch_ms(self._clock.wall()) - self._clock.monotonic_s() * 1000
        for database in self._disk.databases:
            count = self._disk.read(database, lambda d: d.restamp(self._clock.boot_id, offset_ms), 0)
            if count:
                log.info("the clock is synchronised: %d earlier windows of this boot got their true time", count)

    # -- reading ------------------------------------------------------------------------------------------------

    def _read(self, where: str, values: tuple[int, ...], limit: int) -> list[StoredWindow]:
        """From the file, then from memory, whose numbers are higher."""
        found: list[StoredWindow] = []
        with self._lock:
            for database in self._disk.databases:
                left = limit - len(found)
                if left > 0:
                    found += self._read_from(database, where, values, left)
        return found

    def _next_by_start(self, low_ms: int, after: int, high_ms: int) -> list[StoredWindow]:
        """A chunk of the file and one of memory, merged: those of memory began earlier where the clock fell back."""
        condition = "(start_ms, seq) > (?, ?) AND start_ms < ? ORDER BY start_ms, seq"
        with self._lock:
            chunks = [self._read_from(d, condition, (low_ms, after, high_ms), CHUNK) for d in self._disk.databases]
        return list(itertools.islice(heapq.merge(*chunks, key=_start_and_number), CHUNK))

    def _read_from(self, database: Database, where: str, values: tuple[int, ...], limit: int) -> list[StoredWindow]:
        nothing: list[StoredWindow] = []
        while True:
            try:
                return self._disk.read(database, lambda d: d.windows(where, values, limit), nothing)
            except DamagedRowsError as damage:
                log.error("%s: %s; they are dropped", self._config.path, damage)
                try:
                    database.delete(damage.numbers)
                except FAILURES:
                    return nothing
                self._ledger.drop("damage", damage.numbers)


def _start_and_number(stored: StoredWindow) -> tuple[int, int]:
    return epoch_ms(stored.report.window_start), stored.seq


def _said_paused(file: Database) -> bool:
    return file.state("paused") == "1"
