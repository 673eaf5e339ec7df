"""Saves from a damaged store what SQLite can still read of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edge_agent.store.database import CHUNK, Database

Row = tuple[Any, ...]


def rescue(damaged: Path, fresh: Database) -> int:
    """Copy windows, their runs, delivery marks and the state into ``fresh``; how many windows that were.

    Raises:
        sqlite3.Error: ``fresh`` cannot be written, or the disk does not let ``damaged`` be opened.
    """
    with closing(sqlite3.connect(damaged)) as old:
        # Nobody else has it open, and so its log needs no index in a file, for which a full disk has no room.
        old.execute("PRAGMA locking_mode = EXCLUSIVE")
        if not _is_readable(old):
            return 0
        _copy(old, fresh)
    return fresh.rows


def _is_readable(old: sqlite3.Connection) -> bool:
    """Whether it is a database at all; trouble of the disk is raised, for that may pass."""
    try:
        old.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return False
    return True


def _copy(old: sqlite3.Connection, fresh: Database) -> None:
    with fresh.transaction():
        for table in ("runs", "settled", "state"):
            fresh.insert_raw(table, _rows(old, f"SELECT * FROM {table}"))  # noqa: S608
        for rows in _from_both_ends(old):
            fresh.insert_raw("windows", rows)


def _from_both_ends(old: sqlite3.Connection) -> Iterator[list[Row]]:
    """Upwards to the first page that cannot be read, then downwards to the last such page."""
    whole = yield from _walk(old, "SELECT * FROM windows WHERE seq > ? ORDER BY seq LIMIT ?", -1)
    if not whole:
        yield from _walk(old, "SELECT * FROM windows WHERE seq < ? ORDER BY seq DESC LIMIT ?", 1 << 62)


def _walk(old: sqlite3.Connection, query: str, edge: int) -> Generator[list[Row], None, bool]:
    """Chunks from ``edge`` on; returns whether the end was reached without damage."""
    step = CHUNK
    while step:
        try:
            rows = old.execute(query, (edge, step)).fetchall()
        except sqlite3.DatabaseError:
            step //= 2  # nearer and nearer to the damage
            continue
        if not rows:
            return True
        yield rows
        edge = rows[-1][0]
    return False


def _rows(old: sqlite3.Connection, query: str) -> list[Row]:
    with suppress(sqlite3.DatabaseError):
        return old.execute(query).fetchall()
    return []
