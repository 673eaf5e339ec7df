"""The store's SQL: one connection to a file, or to memory while the file cannot be written.

Nothing here decides anything; :mod:`edge_agent.store` does. Every method may raise :class:`sqlite3.Error`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_agent.errors import StoreError
from edge_agent.store.ranges import Ranges
from edge_agent.store.rows import COLUMNS, Run, from_row
from edge_agent.store.trend import SumRow
from edge_agent.types import StoredWindow

APPLICATION_ID = 0x436E7463
"""SQLite's magic number that tells our file from a stranger's: "Cntc"."""
SCHEMA_VERSION = 1

# Small pages: every commit writes whole pages to the log, and 1 KiB ones halve what an SD card has to take (measured by
# benchmarks/sd_card.py). 1,024 pages (1 MiB) of log before they are folded into the file bound the log; longer ones
# save little, since most pages are written once anyway. Cut to a size below that the log would have to grow again each
# time, and a file that grows costs a commit of the file system's journal with every sync.
_PRAGMAS = """
PRAGMA page_size=1024;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA wal_autocheckpoint=1024;
PRAGMA journal_size_limit=2097152;
PRAGMA cache_size=-1024;
PRAGMA temp_store=MEMORY;
"""

_SCHEMA = f"""
CREATE TABLE runs(id INTEGER PRIMARY KEY, session TEXT NOT NULL, boot_id TEXT NOT NULL, model TEXT NOT NULL,
    labels TEXT NOT NULL, UNIQUE(session, boot_id, model, labels));
CREATE TABLE windows(seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, start_ms INTEGER NOT NULL,
    start_monotonic_s REAL NOT NULL, window_s REAL NOT NULL, clock_synced INTEGER NOT NULL, frames INTEGER NOT NULL,
    faces INTEGER, people INTEGER, suppressed INTEGER NOT NULL, gated TEXT, shares TEXT, rolling TEXT);
CREATE INDEX windows_start ON windows(start_ms);
CREATE TABLE settled(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE state(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={SCHEMA_VERSION};
"""

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM windows"  # noqa: S608 (constants only)
_INSERT = f"INSERT INTO windows({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_IS_OLD = """
CASE WHEN run IN (SELECT id FROM runs WHERE boot_id = :boot) THEN start_monotonic_s < :monotonic_s
WHEN clock_synced AND start_ms <= :now_ms THEN start_ms < :start_ms END
"""
"""Whether a window was measured longer ago; NULL where nobody knows: its clock was wrong, or is in the future."""
MANY_RUNS = 1000
"""Restarts leave up to two runs each; so many take about 100 kB."""
CHUNK = 500
"""Windows that are read at a time."""


_UNREADABLE = (ValueError, TypeError, KeyError, IndexError)
"""What decoding a damaged row raises."""


class DamagedRowsError(Exception):
    """Rows that SQLite hands out but nobody can decode; ``numbers`` are theirs."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(f"{len(numbers)} windows cannot be decoded, the first is {numbers[0]}")
        self.numbers = numbers


class Database:
    """One SQLite connection with our tables; not thread-safe by itself."""

    def __init__(self, path: Path | None, read_only: bool = False) -> None:
        """Open ``path``, making it and its folder if they are missing; None keeps everything in memory.

        ``read_only`` opens a file that is there, also one that an agent is writing, and changes nothing in it.

        Raises:
            sqlite3.Error, OSError: the file cannot be opened or is damaged.
            StoreError: it is a database, but not one that this version can use.
        """
        self.path = path
        self._read_only = read_only
        if path is not None and not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        address = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._sql = sqlite3.connect(address, timeout=5.0, isolation_level=None, check_same_thread=False, uri=True)
        self._runs: dict[int, Run] = {}
        self._doubtful = 0
        self.rows = 0
        """Windows in here."""
        try:
            self._prepare()
        except BaseException:
            self._sql.close()
            raise

    def _prepare(self) -> None:
        application, version = self._pragma("application_id"), self._pragma("user_version")
        empty = not self._one("SELECT count(*) FROM sqlite_master")
        if not empty and application != APPLICATION_ID:
            raise StoreError(f"{self.path}: a database of another program; point store.path to another file")
        if version > SCHEMA_VERSION:
            raise StoreError(f"{self.path}: written by a newer version of countenance; update, or move the file away")
        if not self._read_only:
            self._sql.executescript(_PRAGMAS)
        if empty:
            if self._read_only:
                raise StoreError(f"{self.path}: holds no windows yet")
            self._sql.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
            self._sync_folder()
        self.rows = int(self._one("SELECT count(*) FROM windows"))
        if not self._read_only:
            self._forget_old_runs()

    def _forget_old_runs(self) -> None:
        """Runs whose windows are all gone; only where there are many, since finding them reads the whole file."""
        if int(self._one("SELECT count(*) FROM runs")) > MANY_RUNS:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk must not keep the file from being read
                self._sql.execute("DELETE FROM runs WHERE id NOT IN (SELECT run FROM windows)")

    def _sync_folder(self) -> None:
        """A new file survives a power cut only once its folder's entry is on the disk too."""
        if self.path is None:
            return
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _one(self, query: str, values: Sequence[Any] = ()) -> Any:
        return self._sql.execute(query, values).fetchone()[0]

    def _pragma(self, name: str) -> int:
        return int(self._one(f"PRAGMA {name}"))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on the disk (fdatasync) when it ends."""
        rows = self.rows
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._sql.execute("ROLLBACK")
            self._runs.clear()
            self.rows = rows
            raise

    def run_id(self, run: Run) -> int:
        """The row of ``run``, made when it is new."""
        known = next((number for number, other in self._runs.items() if other == run), None)
        if known is not None:
            return known
        values = (run.session, run.boot_id, run.model, ",".join(run.labels))
        self._sql.execute("INSERT OR IGNORE INTO runs(session, boot_id, model, labels) VALUES (?, ?, ?, ?)", values)
        number = int(self._one("SELECT id FROM runs WHERE session=? AND boot_id=? AND model=? AND labels=?", values))
        self._runs[number] = run
        return number

    def _run(self, number: int) -> Run:
        if number not in self._runs:
            row = self._sql.execute("SELECT session, boot_id, model, labels FROM runs WHERE id=?", (number,)).fetchone()
            if row is None:
                raise ValueError(f"run {number} is missing")
            session, boot_id, model, labels = row
            self._runs[number] = Run(session, boot_id, model, tuple(labels.split(",")) if labels else ())
        return self._runs[number]

    def insert(self, row: Sequence[Any]) -> None:
        """Add one row of :data:`edge_agent.store.rows.COLUMNS`."""
        self._sql.execute(_INSERT, row)
        self.rows += 1

    def windows(self, where: str, values: Sequence[Any], limit: int = CHUNK) -> list[StoredWindow]:
        """At most ``limit`` windows that match ``where``, which may carry an ORDER BY.

        Raises:
            DamagedRowsError: rows cannot be decoded; delete them and ask again.
        """
        found, damaged = [], []
        for row in self._sql.execute(f"{_SELECT} WHERE {where} LIMIT ?", (*values, limit)).fetchall():
            try:
                found.append(from_row(row, self._run(row[1])))
            except _UNREADABLE:
                damaged.append(row[0])
        if damaged:
            raise DamagedRowsError(damaged)
        return found

    def labels(self) -> tuple[str, ...]:
        """Every emotion that some window knows, in the order of the first run that did."""
        rows = self._sql.execute("SELECT labels FROM runs WHERE labels != '' ORDER BY id").fetchall()
        return tuple(dict.fromkeys(label for (labels,) in rows for label in labels.split(",")))

    def numbers(self, first: int, last: int) -> list[int]:
        """Which windows from ``first`` to ``last`` there are, ascending."""
        return [seq for (seq,) in self._sql.execute("SELECT seq FROM windows WHERE seq BETWEEN ? AND ?", (first, last))]

    def sums(self, start_ms: int, end_ms: int, bucket_ms: int) -> list[SumRow]:
        """Windows that started from ``start_ms`` up to ``end_ms``, summed per bucket and order of labels."""
        orders = [labels for (labels,) in self._sql.execute("SELECT DISTINCT labels FROM runs")]
        return [row for order in orders for row in self._sums_of(order, start_ms, end_ms, bucket_ms)]

    def _sums_of(self, order: str, start_ms: int, end_ms: int, bucket_ms: int) -> Iterator[SumRow]:
        labels = order.split(",") if order else []
        weighted = "".join(f", total(people * json_extract(shares, '$[0][{i}]'))" for i in range(len(labels)))
        query = (
            f"SELECT start_ms / ?, count(*), sum(suppressed), total(people){weighted} FROM windows "  # noqa: S608
            "JOIN runs ON runs.id = run WHERE labels = ? AND start_ms >= ? AND start_ms < ? "
            "AND (shares IS NULL OR json_valid(shares)) GROUP BY 1"
        )
        for bucket, windows, suppressed, people, *values in self._sql.execute(
            query, (bucket_ms, order, start_ms, end_ms)
        ):
            yield SumRow(bucket, windows, suppressed, int(people), dict(zip(labels, values, strict=True)))

    def reach(self) -> tuple[int, int] | None:
        """The first and the last start in milliseconds since 1970; None when there are no windows."""
        first_ms, last_ms = self._sql.execute("SELECT min(start_ms), max(start_ms) FROM windows").fetchone()
        return None if first_ms is None else (int(first_ms), int(last_ms))

    def bounds(self) -> tuple[int, int]:
        """(lowest, highest) number; zeros when there are no windows."""
        return (
            int(self._one("SELECT coalesce(min(seq), 0) FROM windows")),
            int(self._one("SELECT coalesce(max(seq), 0) FROM windows")),
        )

    def used_bytes(self) -> int:
        """Size of the pages in use, without the write-ahead log and pages that wait to be used again."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def oldest(self, count: int, up_to: int = 1 << 62) -> list[int]:
        """The lowest ``count`` numbers, none above ``up_to``."""
        rows = self._sql.execute("SELECT seq FROM windows WHERE seq <= ? ORDER BY seq LIMIT ?", (up_to, count))
        return [seq for (seq,) in rows]

    def older_than(self, age_s: float, now_ms: int, now_monotonic_s: float, boot_id: str, limit: int) -> list[int]:
        """The lowest numbers, at most ``limit``, of windows that were measured longer ago than ``age_s``.

        A window of this boot is as old as the monotonic clock says, however the wall clock was stepped. Numbers ascend
        with true time, so a window whose age is not known (NULL) is as old as one after it, and none goes behind one
        that is young.
        """
        values: dict[str, Any] = {
            "boot": boot_id,
            "monotonic_s": now_monotonic_s - age_s,
            "start_ms": now_ms - round(age_s * 1000),
            "now_ms": now_ms,
            "doubtful": self._pass_doubtful(boot_id),
        }
        young = self._first(f"WHERE seq > :doubtful AND NOT {_IS_OLD} ORDER BY seq LIMIT 1", values)
        values["below"] = 1 << 62 if young is None else young
        old = self._first(f"WHERE seq > :doubtful AND {_IS_OLD} AND seq < :below ORDER BY seq DESC LIMIT 1", values)
        return [] if old is None else self.oldest(limit, up_to=old)

    def _pass_doubtful(self, boot_id: str) -> int:
        """Up to which number no age will ever be known: kept, since weeks of such windows take long to walk."""
        first = self._first(
            "WHERE seq > :doubtful AND (clock_synced OR run IN (SELECT id FROM runs WHERE boot_id = :boot)) "
            "ORDER BY seq LIMIT 1",
            {"doubtful": self._doubtful, "boot": boot_id},
        )
        self._doubtful = self.bounds()[1] if first is None else first - 1
        return self._doubtful

    def _first(self, condition: str, values: Mapping[str, Any]) -> int | None:
        row = self._sql.execute(f"SELECT seq FROM windows {condition}", values).fetchone()  # noqa: S608 (constants only)
        return row[0] if row else None

    def delete(self, numbers: Iterable[int]) -> None:
        """Remove these windows."""
        self.rows -= self._sql.executemany("DELETE FROM windows WHERE seq=?", ((seq,) for seq in numbers)).rowcount

    def renumber(self, by: int) -> None:
        """Raise every number by ``by``, which must take the lowest above the highest."""
        with self.transaction():
            self._sql.execute("UPDATE windows SET seq = seq + ?", (by,))

    def restamp(self, boot_id: str, wall_minus_monotonic_ms: float) -> int:
        """Give every window of this boot that was stamped by an unsynchronised clock its true start; how many."""
        runs = [number for (number,) in self._sql.execute("SELECT id FROM runs WHERE boot_id=?", (boot_id,))]
        marks = ",".join("?" * len(runs))
        other = self._sql.execute(
            f"SELECT seq FROM windows WHERE run NOT IN ({marks}) ORDER BY seq DESC LIMIT 1",  # noqa: S608
            runs,
        ).fetchone()
        cursor = self._sql.execute(
            "UPDATE windows SET start_ms = CAST(round(? + start_monotonic_s * 1000) AS INTEGER), clock_synced = 1 "
            "WHERE seq > ? AND clock_synced = 0",
            (wall_minus_monotonic_ms, other[0] if other else -1),
        )
        return cursor.rowcount

    def settled(self) -> Ranges:
        """Numbers that nobody waits for any more."""
        return Ranges(self._sql.execute("SELECT first, last FROM settled ORDER BY first").fetchall())

    def save_settled(self, settled: Ranges) -> None:
        """Replace what :meth:`settled` returns."""
        self._sql.execute("DELETE FROM settled")
        self._sql.executemany("INSERT INTO settled(first, last) VALUES (?, ?)", list(settled))

    def state(self, name: str) -> str | None:
        """A value kept by :meth:`set_state`."""
        row = self._sql.execute("SELECT value FROM state WHERE name=?", (name,)).fetchone()
        return row[0] if row else None

    def set_state(self, name: str, value: str) -> None:
        """Keep a small value."""
        self._sql.execute("INSERT OR REPLACE INTO state(name, value) VALUES (?, ?)", (name, value))

    def insert_raw(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add whole rows as they stood in another file of ours; those that are here already stay."""
        for row in rows:
            self._sql.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
        self.rows = int(self._one("SELECT count(*) FROM windows"))

    def copy_to(self, path: Path) -> None:
        """Write everything to a new file."""
        self._sql.execute("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        """Fold the write-ahead log into the file, where it can be, and let go of it."""
        if not self._read_only:
            with contextlib.suppress(sqlite3.Error):
                self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._sql.close()
