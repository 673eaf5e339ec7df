"""The stored windows as CSV or JSON lines: the same for ``edge-agent export`` and the page's download."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edge_agent.message import window_payload
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
