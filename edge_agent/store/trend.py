"""Windows gathered into longer stretches of time, for the page's trend and for exports.

Where one model read all faces of a stretch, its windows are added up and corrected together
(:mod:`edge_agent.shares.pool`). Otherwise their published percentages are averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from edge_agent.host.clock import from_epoch_ms
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.pool import CameraSums, pooled_sums
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
    """Best estimate for all people together, one decimal, sums to 100.0; None without any."""
    intervals: Mapping[str, tuple[float, float]] | None = None
    """90 % intervals in percent; None where the windows could not be corrected together."""
    method: str | None = None
    """As of a window's shares; ``mean`` where the windows' percentages were averaged, weighted by people."""


@dataclass(frozen=True, slots=True)
class SumRow:
    """Sums over the windows of one bucket, one model and one order of labels."""

    bucket: int
    """Start in milliseconds since 1970, divided by the width."""
    windows: int
    suppressed: int
    people: int
    weighted: Mapping[str, float]
    """People times share, summed over windows."""
    model: str
    """What read the faces, as windows name it."""
    readings: Sequence[float]
    """People times both averages, summed over windows: raw, then even, in the order of the labels."""


@dataclass(slots=True)
class _Total:
    windows: int = 0
    suppressed: int = 0
    people: int = 0
    weighted: dict[str, float] = field(default_factory=dict)
    rows: list[SumRow] = field(default_factory=list)

    def add(self, row: SumRow) -> None:
        self.windows += row.windows
        self.suppressed += row.suppressed
        self.people += row.people
        for label, value in row.weighted.items():
            self.weighted[label] = self.weighted.get(label, 0.0) + value
        if row.people:
            self.rows.append(row)


def width_ms(bucket_s: float) -> int:
    """A bucket's width in whole milliseconds, at least 1."""
    return max(1, round(bucket_s * 1000))


@dataclass(frozen=True)
class Corrector:
    """What adds up the windows of one model."""

    model: str
    """As windows name it."""
    estimator: ShareEstimator


def merge(rows: Iterable[SumRow], width: int, corrector: Corrector) -> list[Bucket]:
    """One bucket of ``width`` milliseconds for each stretch that has windows, ascending."""
    totals: dict[int, _Total] = {}
    for row in rows:
        totals.setdefault(row.bucket, _Total()).add(row)
    return [_bucket(totals[key], key * width, width, corrector=corrector) for key in sorted(totals)]


def _bucket(total: _Total, start_ms: int, width: int, *, corrector: Corrector) -> Bucket:
    start, known = from_epoch_ms(start_ms), (width / 1000, total.windows, total.suppressed, total.people)
    if sum(total.weighted.values()) <= 0:
        return Bucket(start, *known, None)
    labels = list(corrector.estimator.labels)
    if all(r.model == corrector.model and list(r.weighted) == labels for r in total.rows):
        sums = np.sum([row.readings for row in total.rows], axis=0)
        shares = pooled_sums([CameraSums(total.people, sums)], corrector.estimator)
        assert shares is not None
        return Bucket(start, *known, shares.percentages, shares.intervals, shares.method)
    values = percentages(np.array(list(total.weighted.values())))
    return Bucket(start, *known, dict(zip(total.weighted, values, strict=True)), None, "mean")
