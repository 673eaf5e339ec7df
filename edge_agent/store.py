"""Every window on the disk before anyone hears of it: the page's history and the outbox of MQTT in one file.

A window is *settled* when nobody waits for it any more: its PUBACK came, or it was dropped for age, rows or bytes.
Settled numbers are kept as a few ranges and written with the next window, so a delivery costs no write of its own.
While the file cannot be written (full or read-only disk) windows go to memory, and move into the file as soon as it
can be. A damaged file is set aside under a name with the time in it and a fresh one started.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TypeVar

from edge_agent.clock import Clock, epoch_ms
from edge_agent.config import StoreConfig
from edge_agent.database import Database, is_damage
from edge_agent.errors import StoreError
from edge_agent.ranges import Ranges
from edge_agent.rows import Run, StoredWindow, labels_of, to_row
from edge_agent.trend import Bucket, SumRow, merge
from edge_agent.types import WindowReport

__all__ = ["Bucket", "Store", "StoreStats", "StoredWindow", "open_store"]

log = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY_ROWS = 10_000
"""Windows that memory holds while the disk is not to be had: 28 hours at 10 s, below 10 MB."""
RETRY_S = 15.0
"""Between two attempts to get back to the disk."""
MARKS_S = 60.0
"""Deliveries of at most this long are told again after a power cut; consumers drop them by key."""
PRUNE_ROWS = 64
"""Rows dropped at a time, so that a full store does not prune with every window."""
STEP_S = 0.5
"""A window's start further than this from the synchronised clock was stamped before the clock was stepped."""

_FAILURES = (sqlite3.Error, OSError, ValueError, TypeError, KeyError, IndexError)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How the store is doing, for health."""

    rows: int
    bytes: int
    pending: int
    """Windows whose PUBACK has not come."""
    oldest_pending_s: float | None
    """Age of the oldest of them in seconds, by the wall clock."""
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
        self._file: Database | None = None
        self._memory: Database | None = None
        self._reason = ""
        self._settled = Ranges()
        self._next_seq = 1
        self._rows = 0
        self._latest: StoredWindow | None = None
        self._paused = False
        self._dropped: Counter[str] = Counter()
        self._marks_saved_s = clock.monotonic_s()
        self._marks_dirty = False
        self._retry_at_s = 0.0
        self._restamped = False
        self._guard: IO[bytes] | None = None
        self._open()

    # -- what the pipeline and the page use ---------------------------------------------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether windows are kept in memory because the file cannot be written."""
        return self._memory is not None

    @property
    def reason(self) -> str:
        """Why they are, in one line; empty while they are not."""
        return self._reason

    def append(self, report: WindowReport) -> StoredWindow:
        """Number the window and keep it; on the disk when this returns, unless :attr:`in_memory`."""
        with self._lock:
            self._recover_if_due()
            self._restamp_if_due()
            stored = self._stamp(report)
            if self._memory is None:
                self._write_to_file(stored)
            if self._memory is not None:
                self._write(self._memory, stored, MEMORY_ROWS, "memory")
            self._next_seq = stored.seq + 1
            self._latest = stored
            return stored

    def latest(self) -> StoredWindow | None:
        """The window that was appended last, of this session or an earlier one."""
        return self._latest

    def history(self, start: datetime | None = None, end: datetime | None = None) -> Iterator[StoredWindow]:
        """Windows that started from ``start`` up to, not including, ``end``, in the order of their numbers."""
        low = -(1 << 62) if start is None else epoch_ms(start)
        high = 1 << 62 if end is None else epoch_ms(end)
        after = -1
        while chunk := self._read_windows(
            "seq > ? AND start_ms >= ? AND start_ms < ? ORDER BY seq", (after, low, high), 500
        ):
            yield from chunk
            after = chunk[-1].seq

    def buckets(self, start: datetime, end: datetime, bucket_s: float) -> list[Bucket]:
        """The time from ``start`` to ``end`` in steps of ``bucket_s``; buckets without any window are left out."""
        width_ms = max(1, round(bucket_s * 1000))
        nothing: list[SumRow] = []
        rows: list[SumRow] = []
        for database in self._databases():
            rows += self._reading(database, lambda d: d.sums(epoch_ms(start), epoch_ms(end), width_ms), nothing)
        return merge(rows, width_ms)

    @property
    def paused(self) -> bool:
        """Whether somebody paused the measuring; survives a restart."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        with self._lock:
            self._paused = value
            self._save_state("paused", "1" if value else "0")

    # -- what the publisher uses --------------------------------------------------------------------------------

    def pending(self, after: int = 0, before: int | None = None, limit: int = 100) -> list[StoredWindow]:
        """Windows that are not settled with ``after < seq < before``, the oldest first, at most ``limit``."""
        found: list[StoredWindow] = []
        with self._lock:
            last = self._next_seq - 1 if before is None else min(before, self._next_seq) - 1
            for first, end in self._settled.gaps(after + 1, last):
                found += self._read_windows("seq BETWEEN ? AND ? ORDER BY seq", (first, end), limit - len(found))
                if len(found) >= limit:
                    break
        return found

    def mark_delivered(self, numbers: Iterable[int]) -> None:
        """These windows' PUBACKs came. Kept in memory, written with a later window or :meth:`flush`."""
        with self._lock:
            for seq in numbers:
                self._settled.add(seq)
            self._marks_dirty = True

    def flush(self) -> None:
        """Write delivery marks that are older than a minute; called while no windows come."""
        with self._lock:
            if self._marks_are_due() and self._file is not None and self._memory is None:
                self._save_marks(self._file)

    def stats(self) -> StoreStats:
        """Figures for health."""
        with self._lock:
            pending = sum(last - first + 1 for first, last in self._settled.gaps(1, self._next_seq - 1))
            oldest = self.pending(limit=1)
            age = (self._clock.wall() - oldest[0].report.window_start).total_seconds() if oldest else None
            size = sum(self._reading(database, Database.used_bytes, 0) for database in self._databases())
            return StoreStats(self._rows, size, pending, age, dict(self._dropped), self.in_memory)

    def close(self) -> None:
        """Write what is only in memory, if the disk takes it, and let go of the file."""
        with self._lock:
            self._retry_at_s = 0.0
            self._recover_if_due()
            if self._file is not None and self._memory is None and self._marks_dirty:
                self._save_marks(self._file)
            for database in self._databases():
                database.close()
            if self._memory is not None and self._rows:
                log.error("windows that were only in memory are lost with this stop: %s", self._reason)
            self._file = self._memory = None
            if self._guard is not None:
                self._guard.close()

    # -- opening, failing and recovering ------------------------------------------------------------------------

    def _open(self) -> None:
        existed = self._config.path.exists()
        try:
            self._take_guard()
            self._file = self._open_file()
            self._load(self._file)
        except _FAILURES as error:
            if not isinstance(error, StoreError):
                if existed:
                    self._skip_numbers()
                self._to_memory(error)
            else:
                raise

    def _open_file(self) -> Database:
        """The file; a damaged one is set aside first."""
        path = self._config.path
        if path.is_dir():
            raise StoreError(f"{path}: is a folder; store.path names a file")
        try:
            return Database(path)
        except _FAILURES as error:
            if isinstance(error, StoreError) or not is_damage(error):
                raise
            self._set_aside(error)
            self._skip_numbers()
            return Database(path)

    def _take_guard(self) -> None:
        """One agent per file: two would give out the same numbers. The lock goes with the process."""
        path = self._config.path
        path.parent.mkdir(parents=True, exist_ok=True)
        guard = path.with_name(path.name + ".lock").open("wb")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            guard.close()
            raise StoreError(
                f"{path}: in use by another running agent; stop it, or give this one its own store.path"
            ) from None
        self._guard = guard

    def _load(self, file: Database) -> None:
        """Continue where the file ends."""
        settled = file.settled()
        lowest, highest, self._rows = file.bounds()
        settled.add(1, lowest - 1)
        self._settled = settled
        self._next_seq = max(self._next_seq, highest + 1, settled.highest + 1)
        self._settle_gap(highest)
        self._paused = file.state("paused") == "1"
        newest = file.windows("seq = ?", (highest,), 1)
        self._latest = newest[0] if newest else None

    def _settle_gap(self, highest: int) -> None:
        """Numbers that were never given out must not count as waiting."""
        self._settled.add(highest + 1, self._next_seq - 1)

    def _skip_numbers(self) -> None:
        """Without the old file nobody knows which numbers were given out: go on above any of them."""
        self._next_seq = max(self._next_seq, epoch_ms(self._clock.wall()))
        self._settled.add(1, self._next_seq - 1)

    def _set_aside(self, error: Exception) -> None:
        path = self._config.path
        aside = path.with_name(f"{path.name}.damaged-{self._clock.wall():%Y%m%dT%H%M%S%f}Z")
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
        log.error("%s is damaged (%s): set aside as %s, a fresh one is started", path, error, aside.name)

    def _to_memory(self, error: Exception) -> None:
        self._memory = Database(None)
        self._reason = f"{self._config.path}: {error}"
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        log.error("windows are kept in memory only, and lost with a stop, until the disk takes them: %s", self._reason)

    def _recover_if_due(self) -> None:
        if self._memory is None or self._clock.monotonic_s() < self._retry_at_s:
            return
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        try:
            self._move_into_file(self._memory)
        except _FAILURES as error:
            self._reason = f"{self._config.path}: {error}"
            return
        self._memory.close()
        self._memory, self._reason = None, ""
        log.warning("windows are written to %s again", self._config.path)

    def _move_into_file(self, memory: Database) -> None:
        """Open the file anew and take over every window of memory in one transaction."""
        if self._guard is None:
            self._take_guard()
        if self._file is not None:
            self._file.close()
            self._file = None
        file = self._file = self._open_file()
        lowest, _, _ = memory.bounds()
        _, highest, rows = file.bounds()
        settled = file.settled()
        settled.add(1, file.bounds()[0] - 1)
        settled.add(highest + 1, lowest - 1)
        for first, last in self._settled:
            settled.add(max(first, 1 if highest == 0 else first), last)
        with file.transaction():
            after = -1
            while chunk := memory.windows("seq > ? ORDER BY seq", (after,)):
                for stored in chunk:
                    self._insert(file, stored)
                after = chunk[-1].seq
                rows += len(chunk)
            file.set_state("paused", "1" if self._paused else "0")
            file.save_settled(settled)
        self._settled, self._rows, self._marks_dirty = settled, rows, False

    # -- writing ------------------------------------------------------------------------------------------------

    def _stamp(self, report: WindowReport) -> StoredWindow:
        synced = self._clock.synchronised()
        if synced:
            true_start = self._clock.wall_at(report.start_monotonic_s)
            if abs(true_start - report.window_start) > timedelta(seconds=STEP_S):
                report = replace(report, window_start=true_start)
        return StoredWindow(self._session, self._next_seq, report, synced, self._model, self._clock.boot_id)

    def _write_to_file(self, stored: StoredWindow) -> None:
        """Write to the file; when that fails, heal it and try once more, or go to memory."""
        for attempt in (1, 2):
            try:
                if self._file is None or (attempt == 1 and not self._config.path.exists()):
                    raise sqlite3.OperationalError("the file has vanished")
                self._write(self._file, stored, self._config.max_rows, "rows")
                return
            except _FAILURES as error:
                if attempt == 2 or not self._heal(error):
                    self._to_memory(error)
                    return

    def _heal(self, error: Exception) -> bool:
        """Start a fresh file after damage or when the old one was deleted; whether that worked."""
        vanished = not self._config.path.exists()
        if not (is_damage(error) or vanished):
            return False
        try:
            if self._file is not None:
                self._file.close()
                self._file = None
            if not vanished:
                self._set_aside(error)
            self._dropped["damage"] += self.stats().pending
            self._file = Database(self._config.path)
        except _FAILURES as second:
            log.error("%s: no fresh file either: %s", self._config.path, second)
            return False
        self._rows = 0
        self._settled.add(1, self._next_seq - 1)
        self._marks_dirty = True
        return True

    def _write(self, database: Database, stored: StoredWindow, max_rows: int, reason: str) -> None:
        """One transaction: the window, what must go to make room, and the delivery marks when they are due."""
        with database.transaction():
            dropped = self._make_room(database, max_rows, reason)
            self._insert(database, stored)
            due = self._marks_are_due() or bool(dropped)
            if due:
                database.save_settled(self._settled)
        self._rows += 1
        if due:
            self._marks_saved_s, self._marks_dirty = self._clock.monotonic_s(), False

    def _insert(self, database: Database, stored: StoredWindow) -> None:
        labels = labels_of(stored.report)
        run = database.run_id(Run(stored.session, stored.boot_id, stored.model, labels))
        database.insert(to_row(stored.seq, run, labels, stored.report, stored.clock_synced))

    def _make_room(self, database: Database, max_rows: int, reason: str) -> int:
        """Drop the oldest windows beyond the bounds; how many."""
        dropped = 0
        if self._rows >= max_rows:
            dropped += self._drop(database, database.oldest(self._rows - max_rows + min(PRUNE_ROWS, max_rows)), reason)
        if database.used_bytes() > self._config.max_mb * 1e6:
            dropped += self._drop(database, database.oldest(PRUNE_ROWS), "bytes")
        # An unsynchronised clock may be years off: ages are not known then, and rows and bytes bound the file.
        if self._clock.synchronised():
            limit = self._clock.wall() - timedelta(days=self._config.max_age_days)
            old = database.started_before(epoch_ms(limit), 10 * PRUNE_ROWS)
            dropped += self._drop(database, old, "age") if old else 0
        return dropped

    def _drop(self, database: Database, numbers: list[int], reason: str) -> int:
        database.delete(numbers)
        self._dropped[reason] += sum(seq not in self._settled for seq in numbers)
        for seq in numbers:
            self._settled.add(seq)
        self._rows -= len(numbers)
        return len(numbers)

    def _marks_are_due(self) -> bool:
        return self._marks_dirty and self._clock.monotonic_s() - self._marks_saved_s >= MARKS_S

    def _save_marks(self, file: Database) -> None:
        try:
            with file.transaction():
                file.save_settled(self._settled)
        except _FAILURES as error:
            log.warning("delivery marks not written, some windows may be sent again after a restart: %s", error)
        self._marks_saved_s, self._marks_dirty = self._clock.monotonic_s(), False

    def _save_state(self, name: str, value: str) -> None:
        if self._file is None or self._memory is not None:
            return
        try:
            with self._file.transaction():
                self._file.set_state(name, value)
        except _FAILURES as error:
            self._to_memory(error)

    def _restamp_if_due(self) -> None:
        """Once per start and step to a synchronised clock: correct the windows of this boot that it missed."""
        if not self._clock.synchronised():
            self._restamped = False
            return
        if self._restamped:
            return
        self._restamped = True
        offset_ms = epoch_ms(self._clock.wall()) - self._clock.monotonic_s() * 1000
        for database in self._databases():
            count = self._reading(database, lambda d: d.restamp(self._clock.boot_id, offset_ms), 0)
            if count:
                log.info("the clock is synchronised: %d earlier windows of this boot got their true time", count)

    # -- reading ------------------------------------------------------------------------------------------------

    def _databases(self) -> list[Database]:
        return [database for database in (self._file, self._memory) if database is not None]

    def _read_windows(self, where: str, values: tuple[int, ...], limit: int) -> list[StoredWindow]:
        """From the file, then from memory, whose numbers are higher."""
        found: list[StoredWindow] = []
        nothing: list[StoredWindow] = []
        with self._lock:
            for database in self._databases():
                left = limit - len(found)
                if left > 0:
                    found += self._reading(database, functools.partial(_windows, where, values, left), nothing)
        return found

    def _reading(self, database: Database, read: Callable[[Database], T], otherwise: T) -> T:
        """What ``read`` finds; a damaged file is healed on the way, and what it held reads as ``otherwise``."""
        with self._lock:
            try:
                return read(database)
            except _FAILURES as error:
                log.error("%s cannot be read: %s", self._config.path, error)
                if database is self._file and is_damage(error) and not self._heal(error) and self._memory is None:
                    self._to_memory(error)
                return otherwise


def _windows(where: str, values: tuple[int, ...], limit: int, database: Database) -> list[StoredWindow]:
    return database.windows(where, values, limit)
