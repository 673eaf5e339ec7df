"""A window as a row of the store and back. Every row holds all that is known of its window, and a checksum over it.

So a row needs nothing but itself: it can be read from a page whose neighbours are gone, and a single wrong bit in any
column is seen. Percentages are kept in tenths, as JSON lists in the order of the labels, which SQLite can add up.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.host.clock import epoch_ms, from_epoch_ms
from edge_agent.types import RollingShares, Shares, StoredWindow, WindowReport

Labels = tuple[str, ...]

COLUMNS = {
    "id": "INTEGER PRIMARY KEY",
    "session": "TEXT",
    "seq": "INTEGER",
    "start_ms": "INTEGER",
    "start_monotonic_s": "REAL",
    "window_s": "REAL",
    "clock_synced": "INTEGER",
    "frames": "INTEGER",
    "faces": "INTEGER",
    "people": "INTEGER",
    "suppressed": "INTEGER",
    "gated": "TEXT",
    "shares": "TEXT",
    "rolling": "TEXT",
    "model": "TEXT",
    "labels": "TEXT",
    "boot_id": "TEXT",
    "crc": "INTEGER",
}
"""Of the table ``windows``, with their types."""
_REALS = [at for at, kind in enumerate(COLUMNS.values()) if kind == "REAL"]
START_MS, CLOCK_SYNCED = list(COLUMNS).index("start_ms"), list(COLUMNS).index("clock_synced")


def checksum(values: Sequence[Any]) -> int:
    """CRC-32 over a row without its last column."""
    return zlib.crc32(ascii(tuple(values)).encode())


def to_row(number: int, stored: StoredWindow) -> tuple[Any, ...]:
    """Values for :data:`COLUMNS`; ``number`` is the row's id."""
    report, rolling = stored.report, stored.report.rolling
    labels = _labels_of(report)
    values = (
        number,
        stored.session,
        stored.seq,
        epoch_ms(report.window_start),
        float(report.start_monotonic_s),
        float(report.window_s),
        int(stored.clock_synced),
        report.frames,
        report.faces,
        report.people,
        int(report.suppressed),
        None if report.gated is None else _dump(dict(report.gated)),
        None if report.shares is None else _dump(_encode_shares(report.shares, labels)),
        None if rolling is None else _dump([rolling.span_s, rolling.shares and _encode_shares(rolling.shares, labels)]),
        stored.model,
        ",".join(labels),
        stored.boot_id,
    )
    return (*values, checksum(values))


def from_row(row: Sequence[Any]) -> StoredWindow:
    """The window that :func:`to_row` was given.

    Raises:
        ValueError: the row is damaged.
    """
    *values, crc = row
    if checksum(values) != crc:
        raise ValueError(f"row {row[0]} is damaged")
    (
        number, session, seq, start_ms, monotonic_s, window_s, synced, frames, faces, people, suppressed,
        gated, shares, rolling, model, names, boot_id,
    ) = values  # fmt: skip
    labels = tuple(names.split(",")) if names else ()
    report = WindowReport(
        window_start=from_epoch_ms(start_ms),
        start_monotonic_s=monotonic_s,
        window_s=window_s,
        frames=frames,
        faces=faces,
        people=people,
        suppressed=bool(suppressed),
        shares=None if shares is None else _decode_shares(json.loads(shares), labels),
        gated=None if gated is None else json.loads(gated),
        rolling=None if rolling is None else _decode_rolling(json.loads(rolling), labels),
    )
    return StoredWindow(session, seq, report, bool(synced), model, boot_id, number)


def intact_row(number: int, record: Sequence[Any]) -> list[Any] | None:
    """The row that a record of the file's pages is, with its id; None where it is another thing or damaged."""
    if len(record) != len(COLUMNS):
        return None
    row = [number, *record[1:]]
    for at in _REALS:
        if isinstance(row[at], int):
            row[at] = float(row[at])  # SQLite keeps a whole one as an integer
    return row if checksum(row[:-1]) == row[-1] else None


def restamped(row: Sequence[Any], start_ms: int) -> tuple[Any, ...]:
    """The row with its true start, which a synchronised clock tells."""
    values = list(row[:-1])
    values[START_MS], values[CLOCK_SYNCED] = start_ms, 1
    return (*values, checksum(values))


def _labels_of(report: WindowReport) -> Labels:
    shares = report.shares or (report.rolling.shares if report.rolling else None)
    return tuple(shares.percentages) if shares else ()


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _encode_shares(shares: Shares, labels: Labels) -> list[Any]:
    bounds = [bound for label in labels for bound in shares.intervals[label]]
    return [
        _tenths(shares.percentages[label] for label in labels),
        _tenths(shares.percentages_raw[label] for label in labels),
        _tenths(bounds),
        shares.method,
        shares.people,
        None if shares.percentages_even is None else _tenths(shares.percentages_even[label] for label in labels),
        shares.familiar,
        shares.quality,
    ]


def _tenths(percents: Any) -> list[int]:
    return [round(percent * 10) for percent in percents]


def _decode_shares(value: list[Any], labels: Labels) -> Shares:
    best, raw, bounds, method, people, even, familiar, quality = value
    return Shares(
        percentages=_percents(best, labels),
        percentages_raw=_percents(raw, labels),
        intervals=dict(zip(labels, zip(*[iter(tenth / 10 for tenth in bounds)] * 2, strict=True), strict=True)),
        method=method,
        people=people,
        percentages_even=None if even is None else _percents(even, labels),
        familiar=familiar,
        quality=quality,
    )


def _percents(tenths: list[int], labels: Labels) -> Mapping[str, float]:
    return {label: tenth / 10 for label, tenth in zip(labels, tenths, strict=True)}


def _decode_rolling(value: list[Any], labels: Labels) -> RollingShares:
    span_s, shares = value
    return RollingShares(span_s, None if shares is None else _decode_shares(shares, labels))
