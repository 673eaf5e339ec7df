"""A window as a row of the store and back.

Shares are kept as JSON lists in the order of the run's labels: a tenth of the size of one object per emotion, and
SQLite can average them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.host.clock import epoch_ms, from_epoch_ms
from edge_agent.types import RollingShares, Shares, StoredWindow, WindowReport

Labels = tuple[str, ...]


COLUMNS = (
    "seq",
    "run",
    "start_ms",
    "start_monotonic_s",
    "window_s",
    "clock_synced",
    "frames",
    "faces",
    "people",
    "suppressed",
    "gated",
    "shares",
    "rolling",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What many rows have in common, kept once."""

    session: str
    boot_id: str
    model: str
    labels: Labels


def labels_of(report: WindowReport) -> Labels:
    """The emotion names of a report in their order; empty when it holds no shares."""
    shares = report.shares or (report.rolling.shares if report.rolling else None)
    return tuple(shares.percentages) if shares else ()


def to_row(seq: int, run: int, labels: Labels, report: WindowReport, clock_synced: bool) -> tuple[Any, ...]:
    """Values for :data:`COLUMNS`."""
    rolling = report.rolling
    return (
        seq,
        run,
        epoch_ms(report.window_start),
        report.start_monotonic_s,
        report.window_s,
        int(clock_synced),
        report.frames,
        report.faces,
        report.people,
        int(report.suppressed),
        None if report.gated is None else _dump(dict(report.gated)),
        None if report.shares is None else _dump(_encode_shares(report.shares, labels)),
        None if rolling is None else _dump([rolling.span_s, rolling.shares and _encode_shares(rolling.shares, labels)]),
    )


def from_row(row: Sequence[Any], run: Run) -> StoredWindow:
    """The window that :func:`to_row` was given.

    Raises:
        ValueError, TypeError, KeyError, IndexError: the row is damaged.
    """
    seq, _, start_ms, monotonic_s, window_s, synced, frames, faces, people, suppressed, gated, shares, rolling = row
    report = WindowReport(
        window_start=from_epoch_ms(start_ms),
        start_monotonic_s=monotonic_s,
        window_s=window_s,
        frames=frames,
        faces=faces,
        people=people,
        suppressed=bool(suppressed),
        shares=None if shares is None else _decode_shares(json.loads(shares), run.labels),
        gated=None if gated is None else json.loads(gated),
        rolling=None if rolling is None else _decode_rolling(json.loads(rolling), run.labels),
    )
    return StoredWindow(run.session, seq, report, bool(synced), run.model, run.boot_id)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _encode_shares(shares: Shares, labels: Labels) -> list[Any]:
    return [
        _values(shares.percentages, labels),
        _values(shares.percentages_raw, labels),
        _values(shares.intervals, labels),
        shares.method,
        shares.people,
    ]


def _values(by_label: Mapping[str, Any], labels: Labels) -> list[Any]:
    return [by_label[label] for label in labels]


def _decode_shares(value: list[Any], labels: Labels) -> Shares:
    best, raw, intervals, method, people = value
    return Shares(
        percentages=dict(zip(labels, best, strict=True)),
        percentages_raw=dict(zip(labels, raw, strict=True)),
        intervals={label: (low, high) for label, (low, high) in zip(labels, intervals, strict=True)},
        method=method,
        people=people,
    )


def _decode_rolling(value: list[Any], labels: Labels) -> RollingShares:
    span_s, shares = value
    return RollingShares(span_s, None if shares is None else _decode_shares(shares, labels))
