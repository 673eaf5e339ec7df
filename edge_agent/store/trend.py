"""Windows gathered into longer stretches of time, for the page's trend and for exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from edge_agent.host.clock import from_epoch_ms
from edge_agent.shares.rounding import percentages


@dataclass(frozen=True, slots=True)
class Bucket:
    """The windows of one stretch of time together."""

    start: datetime
    seconds: float
    windows: int
    """All windows in it, the suppressed and the empty ones too."""
    suppressed: int
    people: int
    """People of the windows that are not suppressed; who is seen in two windows counts twice."""
    percentages: Mapping[str, float] | None
    """Mean of the windows' percentages weighted by people, one decimal, sums to 100.0; None without any."""


@dataclass(frozen=True, slots=True)
class SumRow:
    """Sums over the windows of one bucket and one order of labels."""

    bucket: int
    """Start in milliseconds since 1970, divided by the width."""
    windows: int
    suppressed: int
    people: int
    weighted: Mapping[str, float]
    """People times percent, summed over windows."""


@dataclass(slots=True)
class _Total:
    windows: int = 0
    suppressed: int = 0
    people: int = 0
    weighted: dict[str, float] = field(default_factory=dict)

    def add(self, row: SumRow) -> None:
        self.windows += row.windows
        self.suppressed += row.suppressed
        self.people += row.people
        for label, value in row.weighted.items():
            self.weighted[label] = self.weighted.get(label, 0.0) + value


def width_ms(bucket_s: float) -> int:
    """A bucket's width in whole milliseconds, at least 1."""
    return max(1, round(bucket_s * 1000))


def merge(rows: Iterable[SumRow], width: int) -> list[Bucket]:
    """One bucket of ``width`` milliseconds for each stretch that has windows, ascending."""
    totals: dict[int, _Total] = {}
    for row in rows:
        totals.setdefault(row.bucket, _Total()).add(row)
    return [_bucket(totals[key], key * width, width) for key in sorted(totals)]


def _bucket(total: _Total, start_ms: int, width: int) -> Bucket:
    shares = None
    if sum(total.weighted.values()) > 0:
        values = percentages(np.array(list(total.weighted.values())))
        shares = dict(zip(total.weighted, values, strict=True))
    start = from_epoch_ms(start_ms)
    return Bucket(start, width / 1000, total.windows, total.suppressed, total.people, shares)
