"""The store's SQL: one connection to a file, or to memory while the file cannot be written.

Nothing here decides anything; :mod:`edge_agent.store.store` does. Every method may raise :class:`sqlite3.Error`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent.errors import StoreError
from edge_agent.store.ledger import OWN
from edge_agent.store.pages import APPLICATION_ID, PAGE
from edge_agent.store.ranges import Ranges
from edge_agent.store.rows import COLUMNS, START_MS, checksum, from_row, restamped, to_row
from edge_agent.store.trend import SumRow
from edge_agent.types import StoredWindow

SCHEMA_VERSION = 2

# Small pages: every commit writes whole pages to the log, and 1 KiB ones halve what an SD card has to take (measured by
# benchmarks/sd_card.py). 1,024 pages (1 MiB) of log before they are folded into the file bound the log; longer ones
# save little, since most pages are written once anyway. Cut to a size below that the log would have to grow again each
# time, and a file that grows costs a commit of the file system's journal with every sync.
_PRAGMAS = f"""
PRAGMA page_size={PAGE};
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA wal_autocheckpoint=1024;
PRAGMA journal_size_limit=2097152;
PRAGMA cache_size=-1024;
PRAGMA temp_store=MEMORY;
"""
# A file that is thrown away if the power goes needs no log.
_BUILDING = f"PRAGMA page_size={PAGE}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"

_SCHEMA = {
    "windows": f"CREATE TABLE windows({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})",
    "windows_start": "CREATE INDEX windows_start ON windows(start_ms)",
    "state": "CREATE TABLE state(id INTEGER PRIMARY KEY, version INTEGER, paused INTEGER, highest INTEGER,"
    " settled TEXT, crc INTEGER)",
}

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM windows"  # noqa: S608 (constants only)
_INSERT = (  # a row that is there already gives way to the same one on true time
    f"INSERT INTO windows VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT(id) DO UPDATE SET "  # noqa: S608
    + ", ".join(f"{name}=excluded.{name}" for name in COLUMNS)
    + " WHERE excluded.clock_synced > clock_synced"
)
_IS_INTACT = f"checksum({', '.join(COLUMNS)})"
_IS_OLD = """
CASE WHEN boot_id = :boot THEN start_monotonic_s < :monotonic_s
WHEN clock_synced AND start_ms <= :now_ms THEN start_ms < :start_ms END
"""
"""Whether a window was measured longer ago; NULL where nobody knows: its clock was wrong, or is in the future."""
CHUNK = 500
"""Windows that are read at a time."""


@dataclass(frozen=True, slots=True)
class State:
    """What the store remembers beside the windows: one row, with a checksum like theirs."""

    settled: Ranges
    """Ids of windows that nobody waits for any more."""
    highest: int = 0
    """No window had a higher id when this was written."""
    paused: bool = False
    version: int = 0
    """Ascends: of two rows that a damaged file holds, the higher one is the newer."""

    def to_row(self) -> tuple[Any, ...]:
        """Its columns."""
        values = (1, self.version, int(self.paused), self.highest, json.dumps(list(self.settled)))
        return (*values, checksum(values))

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> State:
        """What :meth:`to_row` was called on.

        Raises:
            ValueError: the row is damaged.
        """
        *values, crc = row
        if checksum(values) != crc:
            raise ValueError("the state is damaged")
        _, version, paused, highest, settled = values
        return cls(Ranges(json.loads(settled)), highest, bool(paused), version)


class Database:
    """One SQLite connection with our tables; not thread-safe by itself."""

    def __init__(self, path: Path | None, *, read_only: bool = False, building: bool = False) -> None:
        """Open ``path``, making it if it is missing; None keeps everything in memory.

        Args:
            path: the file.
            read_only: open a file that is there, also one that an agent is writing, and change nothing in it.
            building: the file counts only once it has been closed: nothing is synced, and no log written.

        Raises:
            sqlite3.Error: the file cannot be opened, is damaged, or of an earlier version.
            StoreError: it is a database, but not one that this version can use.
        """
        self.path = path
        self._read_only = read_only
        address = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._sql = sqlite3.connect(address, timeout=5.0, isolation_level=None, check_same_thread=False, uri=True)
        self._sql.text_factory = lambda data: data.decode(errors="replace")  # the checksum tells of what it was
        self._sql.create_function("checksum", len(COLUMNS), lambda *row: checksum(row[:-1]) == row[-1])
        self._doubtful = 0
        self.rows = 0
        """Windows in here."""
        self.base = 0
        """Ids up to this one are windows of earlier sessions; window n of this session is ``base + n``."""
        try:
            self._prepare(_BUILDING if building else "" if read_only else _PRAGMAS)
        except BaseException:
            self._sql.close()
            raise

    def _prepare(self, pragmas: str) -> None:
        schema = dict(self._sql.execute("SELECT name, sql FROM sqlite_master").fetchall())
        application, version = self._pragma("application_id"), self._pragma("user_version")
        is_new = not schema and application in (0, APPLICATION_ID) and self._pragma("page_count") <= 1
        if is_new and self._read_only:
            raise StoreError(f"{self.path}: holds no windows yet")
        if not (is_new or (schema, application, version) == (_SCHEMA, APPLICATION_ID, SCHEMA_VERSION)):
            if application != APPLICATION_ID and schema and "windows" not in schema:
                raise StoreError(f"{self.path}: a database of another program; point store.path to another file")
            is_one_wrong_bit = schema == _SCHEMA and (version ^ SCHEMA_VERSION).bit_count() == 1
            if version > SCHEMA_VERSION and not is_one_wrong_bit:
                raise StoreError(
                    f"{self.path}: written by a newer version of countenance; update, or move the file away"
                )
            raise sqlite3.DatabaseError("of an earlier version" if "runs" in schema else "the schema is damaged")
        self._sql.executescript(pragmas)
        if is_new:
            ours = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION};"
            self._sql.executescript(f"BEGIN IMMEDIATE; {'; '.join(_SCHEMA.values())}; {ours}")
            self.save_state(State(Ranges()))
            self._sql.execute("COMMIT")
            self._sql.execute("PRAGMA wal_checkpoint").fetchall()  # what the file is, it says itself, without its log
            self._sync_folder()
        self.state = self._read_state()
        self.rows = int(self._one("SELECT count(*) FROM windows"))

    def _read_state(self) -> State:
        row = self._sql.execute("SELECT * FROM state").fetchone()
        try:
            return State.from_row(row or (0,))
        except ValueError as error:
            raise sqlite3.DatabaseError(str(error)) from error

    def _sync_folder(self) -> None:
        """A new file survives a power cut only once its folder's entry is on the disk too."""
        if self.path is not None:
            sync_folder(self.path.parent)

    def _one(self, query: str, values: Sequence[Any] = ()) -> Any:
        return self._sql.execute(query, values).fetchone()[0]

    def _pragma(self, name: str) -> int:
        return int(self._one(f"PRAGMA {name}"))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; on the disk (fdatasync) when it ends."""
        rows, state = self.rows, self.state
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._sql.execute("ROLLBACK")
            self.rows, self.state = rows, state
            raise

    def insert(self, number: int, stored: StoredWindow) -> None:
        """Add the window as row ``number``."""
        self.rows += self._sql.execute(_INSERT, to_row(number, stored)).rowcount

    def windows(self, where: str, values: Sequence[Any], limit: int = CHUNK) -> tuple[list[StoredWindow], int]:
        """At most ``limit`` windows that match ``where``, which may carry an ORDER BY, and how many are damaged."""
        found, damaged = list[StoredWindow](), 0
        with closing(self._sql.execute(f"{_SELECT} WHERE {where}", values)) as rows:
            for row in rows:
                if len(found) == limit:
                    break
                try:
                    found.append(replace(from_row(row), place=self.place_of(row[0])))
                except ValueError:
                    damaged += 1
        return found, damaged

    def labels(self) -> tuple[str, ...]:
        """Every emotion that some window knows, in the order of the first window that did."""
        rows = self._sql.execute("SELECT labels FROM windows WHERE labels != '' GROUP BY labels ORDER BY min(id)")
        return tuple(dict.fromkeys(label for (labels,) in rows.fetchall() for label in labels.split(",")))

    def id_of(self, place: int) -> int:
        """The id that the window of a place has in here."""
        return place - OWN + self.base if place > OWN else min(place, self.base)

    def place_of(self, number: int) -> int:
        """The place of the window that has this id."""
        return number - self.base + OWN if number > self.base else number

    def places(self) -> Ranges:
        """Which windows there are."""
        rows = self._sql.execute("SELECT id FROM windows ORDER BY id").fetchall()
        return Ranges((place, place) for (number,) in rows for place in [self.place_of(number)])

    def newest(self) -> tuple[int, str, int]:
        """(id, session, seq) of the row with the highest id; zeros when there is none."""
        row = self._sql.execute("SELECT id, session, seq FROM windows ORDER BY id DESC LIMIT 1").fetchone()
        return row or (0, "", 0)

    def sums(self, start_ms: int, end_ms: int, bucket_ms: int) -> list[SumRow]:
        """Windows that started from ``start_ms`` up to ``end_ms``, summed per bucket, model and order of labels."""
        query = "SELECT DISTINCT labels FROM windows WHERE start_ms >= ? AND start_ms < ?"
        orders = [labels for (labels,) in self._sql.execute(query, (start_ms, end_ms))]
        return [row for order in orders for row in self._sums_of(order, start_ms, end_ms, bucket_ms=bucket_ms)]

    def _sums_of(self, order: str, start_ms: int, end_ms: int, *, bucket_ms: int) -> Iterator[SumRow]:
        labels = order.split(",") if order else []
        n = len(labels)
        # The best estimate and both averages of the answers.
        sums = "".join(
            f", total(people * json_extract(shares, '$[{place}][{i}]'))" for place in (0, 1, 5) for i in range(n)
        )
        query = (
            f"SELECT start_ms / ?, model, count(*), sum(suppressed), total(people){sums} FROM windows "  # noqa: S608
            f"WHERE labels = ? AND start_ms >= ? AND start_ms < ? AND {_IS_INTACT} GROUP BY 1, 2"
        )
        for bucket, model, windows, suppressed, people, *values in self._sql.execute(
            query, (bucket_ms, order, start_ms, end_ms)
        ):
            weighted = dict(zip(labels, values[:n], strict=True))
            yield SumRow(bucket, windows, suppressed, int(people), weighted, model, values[n:])

    def reach(self) -> tuple[int, int] | None:
        """The first and the last start in milliseconds since 1970; None when there are no windows."""
        first_ms, last_ms = self._sql.execute("SELECT min(start_ms), max(start_ms) FROM windows").fetchone()
        return None if first_ms is None else (int(first_ms), int(last_ms))

    def used_bytes(self) -> int:
        """Size of the pages in use, without the write-ahead log and pages that wait to be used again."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def oldest(self, count: int, up_to: int = 1 << 62) -> list[int]:
        """The lowest ``count`` ids, none above ``up_to``."""
        rows = self._sql.execute("SELECT id FROM windows WHERE id <= ? ORDER BY id LIMIT ?", (up_to, count))
        return [number for (number,) in rows]

    def older_than(self, age_s: float, now_ms: int, now_monotonic_s: float, *, boot_id: str, limit: int) -> list[int]:
        """The lowest ids, at most ``limit``, of windows that were measured longer ago than ``age_s``.

        A window of this boot is as old as the monotonic clock says, however the wall clock was stepped. Ids ascend
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
        young = self._first(f"WHERE id > :doubtful AND NOT {_IS_OLD} ORDER BY id LIMIT 1", values)
        values["below"] = 1 << 62 if young is None else young
        old = self._first(f"WHERE id > :doubtful AND {_IS_OLD} AND id < :below ORDER BY id DESC LIMIT 1", values)
        return [] if old is None else self.oldest(limit, up_to=old)

    def _pass_doubtful(self, boot_id: str) -> int:
        """Up to which id no age will ever be known: kept, since weeks of such windows take long to walk."""
        first = self._first(
            "WHERE id > :doubtful AND (clock_synced OR boot_id = :boot) ORDER BY id LIMIT 1",
            {"doubtful": self._doubtful, "boot": boot_id},
        )
        self._doubtful = self.newest()[0] if first is None else first - 1
        return self._doubtful

    def _first(self, condition: str, values: Mapping[str, Any]) -> int | None:
        row = self._sql.execute(f"SELECT id FROM windows {condition}", values).fetchone()  # noqa: S608 (constants only)
        return row[0] if row else None

    def delete(self, numbers: Iterable[int]) -> None:
        """Remove these rows."""
        self.rows -= self._sql.executemany("DELETE FROM windows WHERE id=?", ((each,) for each in numbers)).rowcount

    def restamp(self, boot_id: str, wall_minus_monotonic_ms: float) -> int:
        """Give every window of this boot that was stamped by an unsynchronised clock its true start; how many."""
        other = self._first("WHERE boot_id != :boot ORDER BY id DESC LIMIT 1", {"boot": boot_id}) or 0
        rows = self._sql.execute(f"{_SELECT} WHERE id > ? AND clock_synced = 0 AND {_IS_INTACT}", (other,)).fetchall()
        for row in rows:
            self._sql.execute(_INSERT, restamped(row, round(wall_minus_monotonic_ms + row[START_MS + 1] * 1000)))
        return len(rows)

    def save_state(self, state: State) -> None:
        """Replace :attr:`state`."""
        self.state = replace(state, version=state.version + 1)
        self._sql.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?)", self.state.to_row())

    def insert_row(self, row: Sequence[Any]) -> None:
        """Add a row of :data:`edge_agent.store.rows.COLUMNS` as another file of ours held it."""
        self.rows += self._sql.execute(_INSERT, row).rowcount

    def close(self) -> None:
        """Fold the write-ahead log into the file, where it can be, and let go of it."""
        if not self._read_only:
            with contextlib.suppress(sqlite3.Error):
                self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._sql.close()


def sync_folder(folder: Path) -> None:
    """Names in it, new and changed, outlast a power cut from now on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
