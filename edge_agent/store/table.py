"""The stored windows as CSV or JSON lines: the same for ``edge-agent export`` and the page's download."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edge_agent.message import utc_text, window_payload
from edge_agent.store.trend import Bucket
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
    "familiar",
)
"""Columns before those of the emotions; docs/mqtt.md explains each."""
_BUCKET = ("start", "windows", "suppressed", "people", "method")


def columns(labels: Sequence[str]) -> list[str]:
    """The CSV's header: per emotion the best estimate, its 90 % interval and both plain averages, in percent."""
    return [*PLAIN, *(f"{label}{suffix}" for label in labels for suffix in ("", "_low", "_high", "_raw", "_even"))]


def csv_lines(windows: Iterable[StoredWindow], labels: Sequence[str], device_id: str) -> Iterator[str]:
    """Header and one line per window (RFC 4180); what is withheld or unknown is an empty field."""
    yield _line(columns(labels))
    for window in windows:
        payload = window_payload(window, device_id)
        yield _line([_cell(payload[name]) for name in PLAIN] + _shares(payload, labels))


def bucket_columns(labels: Sequence[str]) -> list[str]:
    """The header of windows that were added up: per emotion the best estimate and its 90 % interval."""
    return [*_BUCKET, *(f"{label}{suffix}" for label in labels for suffix in ("", "_low", "_high"))]


def bucket_csv_lines(buckets: Iterable[Bucket], labels: Sequence[str]) -> Iterator[str]:
    """Header and one line per bucket; what is withheld or unknown is an empty field."""
    yield _line(bucket_columns(labels))
    for bucket in buckets:
        payload = bucket_payload(bucket)
        shares, intervals = payload["percentages"] or {}, payload["intervals"] or {}
        figures = [cell for label in labels for cell in (shares.get(label, ""), *intervals.get(label, ("", "")))]
        yield _line([_cell(payload[name]) for name in _BUCKET] + figures)


def bucket_json_lines(buckets: Iterable[Bucket], device_id: str) -> Iterator[str]:
    """One JSON object a line, as the page's history tells a bucket."""
    for bucket in buckets:
        yield json.dumps({"device": device_id, **bucket_payload(bucket)}, ensure_ascii=False, allow_nan=False) + "\n"


def bucket_payload(bucket: Bucket) -> dict[str, Any]:
    """A bucket as the page's history tells it (docs/kiosk.md)."""
    return {
        "start": utc_text(bucket.start),
        "windows": bucket.windows,
        "suppressed": bucket.suppressed,
        "people": bucket.people,
        "percentages": None if bucket.percentages is None else dict(bucket.percentages),
        "intervals": None if bucket.intervals is None else {k: list(v) for k, v in bucket.intervals.items()},
        "method": bucket.method,
    }


def json_lines(windows: Iterable[StoredWindow], device_id: str) -> Iterator[str]:
    """One JSON object a line, as on MQTT."""
    for window in windows:
        yield json.dumps(window_payload(window, device_id), ensure_ascii=False, allow_nan=False) + "\n"


def _shares(payload: Mapping[str, Any], labels: Sequence[str]) -> list[Any]:
    if payload["percentages"] is None:
        return [""] * (5 * len(labels))
    cells: list[Any] = []
    for label in labels:
        low, high = payload["intervals"].get(label, ("", ""))
        even = (payload["percentages_even"] or {}).get(label, "")
        cells += [payload["percentages"].get(label, ""), low, high, payload["percentages_raw"].get(label, ""), even]
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
