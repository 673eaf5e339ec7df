"""``edge-agent export``: the stored windows as CSV or JSON lines."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TextIO

from edge_agent.config import Config
from edge_agent.errors import StoreError
from edge_agent.host.clock import epoch_ms
from edge_agent.host.rights import is_barred
from edge_agent.store.database import Database
from edge_agent.store.table import csv_lines, json_lines
from edge_agent.types import StoredWindow

log = logging.getLogger(__name__)


def export(config: Config, start: datetime | None, end: datetime | None, as_json: bool, target: TextIO) -> int:
    """``edge-agent export``: write the stored windows from ``start`` up to, not including, ``end``.

    The agent may be running. If its disk is full, windows that it keeps in memory are not in the file.

    Args:
        config: names the store and the device.
        start: None for the oldest window.
        end: None for the newest one.
        as_json: JSON lines instead of CSV.
        target: opened with ``newline=""``.

    Returns:
        How many windows were written.

    Raises:
        StoreError: the file is missing, closed to this user, damaged or not ours.
    """
    path = config.store.path
    if is_barred(path):
        raise StoreError(f"{path}: this user may not read the store; run this with sudo")
    if not path.is_file():
        raise StoreError(f"{path}: there is no store here; name the configuration of the agent with -c FILE")
    try:
        with closing(Database(path, read_only=True)) as database:
            windows, device = _windows(database, start, end), config.device.id
            lines = json_lines(windows, device) if as_json else csv_lines(windows, database.labels(), device)
            return sum(1 for _ in map(target.write, lines)) - (0 if as_json else 1)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); starting the agent once repairs a damaged store"
        ) from error


def write_file(config: Config, start: datetime | None, end: datetime | None, as_json: bool, path: Path) -> int:
    """The same into a file; it appears only when it is complete.

    Raises:
        StoreError: as :func:`export` does, or the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as target:
            count = export(config, start, end, as_json, target)
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the export: {error.strerror}; is there space and the right?") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _windows(database: Database, start: datetime | None, end: datetime | None) -> Iterator[StoredWindow]:
    low = -(1 << 62) if start is None else epoch_ms(start)
    high = 1 << 62 if end is None else epoch_ms(end)
    after = -1
    while True:
        chunk, damaged = database.windows("id > ? AND start_ms >= ? AND start_ms < ? ORDER BY id", (after, low, high))
        if damaged:
            log.warning("%s: %d windows are damaged and left out", database.path, damaged)
        if not chunk:
            return
        yield from chunk
        after = database.id_of(chunk[-1].place)
