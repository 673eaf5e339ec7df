"""The stored windows as CSV or JSON lines: the same for ``edge-agent export`` and the page's download."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from edge_agent.clock import epoch_ms
from edge_agent.config import Config
from edge_agent.database import DamagedRowsError, Database
from edge_agent.errors import StoreError
from edge_agent.message import window_payload
from edge_agent.rights import is_barred
from edge_agent.types import StoredWindow

PLAIN = (
    "window_start",
    "window_s",
    "clock_synced",
    "session",
    "seq",
    "frames",
    "faces",
    "people",
    "suppressed",
    "method",
    "model",
)
"""Columns before those of the emotions; docs/mqtt.md explains each."""


def columns(labels: Sequence[str]) -> list[str]:
    """The CSV's header: per emotion the best estimate, its 90 % interval and the plain average, in percent."""
    return [*PLAIN, *(f"{label}{suffix}" for label in labels for suffix in ("", "_low", "_high", "_raw"))]


def csv_lines(windows: Iterable[StoredWindow], labels: Sequence[str], device_id: str) -> Iterator[str]:
    """Header and one line per window (RFC 4180); what is withheld or unknown is an empty field."""
    yield _line(columns(labels))
    for window in windows:
        payload = window_payload(window, device_id)
        yield _line([_cell(payload[name]) for name in PLAIN] + _shares(payload, labels))


def json_lines(windows: Iterable[StoredWindow], device_id: str) -> Iterator[str]:
    """One JSON object a line, as on MQTT."""
    for window in windows:
        yield json.dumps(window_payload(window, device_id), ensure_ascii=False, allow_nan=False) + "\n"


def export(config: Config, start: datetime | None, end: datetime | None, as_json: bool, target: TextIO) -> int:
    """``edge-agent export``: write the stored windows from ``start`` up to, not including, ``end``.

    The agent may be running. Windows that it still keeps in memory because its disk is full are not in the file.

    Args:
        config: names the store and the device.
        start: None for the oldest window.
        end: None for the newest one.
        as_json: JSON lines in place of CSV.
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
    except (sqlite3.Error, DamagedRowsError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); starting the agent once heals a damaged store") from error


def write_file(config: Config, start: datetime | None, end: datetime | None, as_json: bool, path: Path) -> int:
    """The same into a file, which is there only once it is whole.

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
    while chunk := database.windows("seq > ? AND start_ms >= ? AND start_ms < ? ORDER BY seq", (after, low, high)):
        yield from chunk
        after = chunk[-1].seq


def _shares(payload: Mapping[str, Any], labels: Sequence[str]) -> list[Any]:
    if payload["percentages"] is None:
        return [""] * (4 * len(labels))
    cells: list[Any] = []
    for label in labels:
        low, high = payload["intervals"].get(label, ("", ""))
        cells += [payload["percentages"].get(label, ""), low, high, payload["percentages_raw"].get(label, "")]
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
