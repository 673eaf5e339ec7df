"""Shares of any devices over any time, corrected once, from sums that the database adds up.

Only published windows are in the sums, each of at least ``min_people`` people. So two answers differ by whole windows
that were published anyway: nobody can subtract fewer people than a device would have published by itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sql
from sqlalchemy.engine import Connection, Row

from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.pool import pooled_totals
from fleet.database import READINGS

Bucket = Literal["all", "hour", "day", "site", "region", "device"]
_BUCKETS: Mapping[str, str] = {
    "all": "0",
    "hour": "hour",
    "day": "hour / 24",
    "site": "coalesce(site, '')",
    "region": "coalesce(region, '')",
    "device": "device",
}
_PLACES = ("device", "site", "region", "grp")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which device-hours; times in whole hours since 1970, UTC, ``end`` excluded."""

    first_hour: int
    end_hour: int
    places: tuple[tuple[str, str], ...] = ()
    """(column, value) of the devices: ``device``, ``site``, ``region`` or ``grp``."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """Shares of one bucket; percentages by emotion."""

    bucket: str | int
    devices: int
    windows: int
    people: int
    percentages: Mapping[str, float]
    percentages_raw: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] | None
    """None where a model is unknown here, or was taught by its site: nothing is known of its errors."""
    familiar: float | None
    models: tuple[str, ...]


def pooled(
    connection: Connection, estimators: Mapping[str, ShareEstimator], scope: Scope, *, bucket: Bucket
) -> list[Pooled]:
    """One entry for each bucket that somebody was in, in the order of the buckets."""
    parts: dict[Any, list[Pooled]] = defaultdict(list)
    labels = {row.model: tuple(row.labels.split(",")) for row in connection.execute(sql.text("SELECT * FROM model"))}
    for row in _sums(connection, scope, bucket):
        parts[row.bucket].append(_corrected(row, labels[row.model], estimators.get(row.model)))
    return [_joined(parts[key]) for key in sorted(parts)]


def _sums(connection: Connection, scope: Scope, bucket: Bucket) -> Iterator[Row[Any]]:
    """One row for each bucket and model. The sums of each device come first: its windows share one doubt."""
    places = "".join(f" AND {name} = :{name}" for name, _ in scope.places if name in _PLACES)
    per_device = ", ".join(f"sum({name}) AS {name}" for name in READINGS)
    query = f"""
        WITH per_device AS (
            SELECT {_BUCKETS[bucket]} AS bucket, model, device, sum(published) AS windows, sum(people) AS people,
                sum(familiar) AS familiar, {per_device}
            FROM hour LEFT JOIN device USING (device)
            WHERE hour >= :first AND hour < :last AND people > 0{places}
            GROUP BY 1, 2, 3)
        SELECT bucket, model, count(*) AS devices, sum(windows) AS windows, sum(people) AS people,
            sum(1.0 * people * people) AS squares, sum(familiar) AS familiar, {per_device}
        FROM per_device GROUP BY 1, 2 ORDER BY 1, 2
    """
    values = {"first": scope.first_hour, "last": scope.end_hour, **dict(scope.places)}
    yield from connection.execute(sql.text(query), values)


def _corrected(row: Row[Any], labels: Sequence[str], estimator: ShareEstimator | None) -> Pooled:
    facts = row._mapping
    sums = np.array([float(facts[name]) for name in READINGS])
    readings = np.concatenate([half[: len(labels)] for half in np.split(sums, 2)])
    known = estimator is not None and set(estimator.labels) == set(labels)
    if known:
        assert estimator is not None
        order = [labels.index(label) for label in estimator.labels]
        readings = readings[[*order, *(len(labels) + i for i in order)]]
    else:
        estimator = ShareEstimator(labels, [1.0] * len(labels))
    shares = pooled_totals(int(facts["people"]), readings, float(facts["squares"]), estimator=estimator)
    return Pooled(
        bucket=facts["bucket"],
        devices=int(facts["devices"]),
        windows=int(facts["windows"]),
        people=int(facts["people"]),
        percentages=shares.percentages,
        percentages_raw=shares.percentages_raw,
        intervals=shares.intervals if known else None,
        familiar=round(float(facts["familiar"]) / int(facts["people"]), 3) if known else None,
        models=(facts["model"],),
    )


def _joined(parts: Sequence[Pooled]) -> Pooled:
    """Several models' answers, weighted by people; their errors do not hang together, so their squares add up."""
    if len(parts) == 1:
        return parts[0]
    people = sum(part.people for part in parts)
    labels = list(dict.fromkeys(label for part in parts for label in part.percentages))

    def mean(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {
            label: round(sum(p.people * v.get(label, 0.0) for p, v in zip(parts, values, strict=True)) / people, 1)
            for label in labels
        }

    shares = mean([part.percentages for part in parts])
    intervals = None
    if all(part.intervals is not None for part in parts):
        intervals = {label: _interval(parts, label, shares[label]) for label in labels}
    familiar = [part.familiar for part in parts]
    return Pooled(
        bucket=parts[0].bucket,
        devices=sum(part.devices for part in parts),
        windows=sum(part.windows for part in parts),
        people=people,
        percentages=shares,
        percentages_raw=mean([part.percentages_raw for part in parts]),
        intervals=intervals,
        familiar=None if None in familiar else min(value for value in familiar if value is not None),
        models=tuple(model for part in parts for model in part.models),
    )


def _interval(parts: Sequence[Pooled], label: str, share: float) -> tuple[float, float]:
    people = sum(part.people for part in parts)
    reach = [0.0, 0.0]
    for part in parts:
        assert part.intervals is not None
        low, high = part.intervals.get(label, (0.0, 0.0))
        centre, weight = part.percentages.get(label, 0.0), part.people / people
        reach = [math.hypot(reach[0], weight * (centre - low)), math.hypot(reach[1], weight * (high - centre))]
    return max(0.0, math.floor(10 * (share - reach[0])) / 10), min(100.0, math.ceil(10 * (share + reach[1])) / 10)
