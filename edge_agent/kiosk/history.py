"""The store's past, for the trend and for downloads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from edge_agent.message import encode, utc_text
from edge_agent.store import Store
from edge_agent.store.table import bucket_payload
from edge_agent.store.trend import Corrector, SumRow, merge, width_ms

MAX_BUCKETS = 2000
MIN_BUCKET_S = 1.0
KEPT_S = (10.0, 1200.0)
"""How long an answer is kept, at least and at most."""
KEPT_STEPS = 1 / 12
"""The same in steps: what adds up hours hardly changes within minutes, and costs most to read."""
_CACHED = 64


class BadQueryError(ValueError):
    """A parameter of the address is wrong; the message says which and how it should be."""


@dataclass(frozen=True, slots=True)
class Query:
    """A span of time and the length of its buckets."""

    start: datetime
    end: datetime
    bucket_s: float


def parse_range(values: Mapping[str, str], now: datetime) -> tuple[datetime, datetime]:
    """``from`` and ``to``: ISO 8601, or seconds relative to now such as ``-3600``; default: the last hour.

    Raises:
        BadQueryError: they cannot be read or are the wrong way round.
    """
    start = _moment("from", values.get("from", "-3600"), now)
    end = _moment("to", values.get("to", "0"), now)
    if start >= end:
        raise BadQueryError("'from' must be before 'to'")
    return start, end


def parse_query(values: Mapping[str, str], now: datetime) -> Query:
    """The parameters of ``/api/history``; ``bucket`` is in seconds, default: a thirtieth of the range.

    Raises:
        BadQueryError: a value cannot be read, or there would be more than ``MAX_BUCKETS``.
    """
    start, end = parse_range(values, now)
    span_s = (end - start).total_seconds()
    try:
        bucket_s = float(values["bucket"]) if "bucket" in values else max(MIN_BUCKET_S, span_s / 30)
    except ValueError:
        raise BadQueryError("'bucket' must be a number of seconds") from None
    if not MIN_BUCKET_S <= bucket_s <= 86400 * 366:
        raise BadQueryError("'bucket' must be at least 1 second and at most a year")
    if span_s / bucket_s > MAX_BUCKETS:
        raise BadQueryError(f"more than {MAX_BUCKETS} buckets: take a longer 'bucket' or a shorter range")
    return Query(start, end, bucket_s)


class History:
    """Answers of ``/api/history``, each kept for a moment, so that fifty screens ask the disk once."""

    def __init__(self, store: Store, corrector: Corrector) -> None:
        self._store = store
        self._corrector = corrector
        self._answers: dict[tuple[str, ...], tuple[float, bytes]] = {}

    def answer(self, values: Mapping[str, str]) -> Iterator[bytes]:
        """The JSON body in pieces; between two of them whoever sends it may stop.

        Raises:
            BadQueryError: a parameter is wrong; before the first piece.
        """
        key = tuple(values.get(name, "") for name in ("from", "to", "bucket"))
        asked_s = time.monotonic()
        kept = self._answers.get(key)
        if kept is not None and asked_s < kept[0]:
            return iter([kept[1]])
        return self._read(key, parse_query(values, datetime.now(timezone.utc)), asked_s)

    def _read(self, key: tuple[str, ...], query: Query, asked_s: float) -> Iterator[bytes]:
        rows: list[SumRow] = []
        for piece in self._store.sums(query.start, query.end, query.bucket_s):
            rows += piece
            yield b" "
        first = self._store.first_start()
        body = encode(
            {
                "from": utc_text(query.start),
                "to": utc_text(query.end),
                "first": None if first is None else utc_text(first),
                "bucket_s": query.bucket_s,
                "buckets": [
                    bucket_payload(bucket) for bucket in merge(rows, width_ms(query.bucket_s), self._corrector)
                ],
            }
        )
        if len(self._answers) >= _CACHED:
            self._answers.clear()
        self._answers[key] = asked_s + min(max(KEPT_S[0], KEPT_STEPS * query.bucket_s), KEPT_S[1]), body
        yield body


def _moment(name: str, text: str, now: datetime) -> datetime:
    try:
        return now + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    try:
        # fromisoformat of Python 3.10 does not know the Z; a '+' in an address arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise BadQueryError(
            f"'{name}' must be ISO 8601 like 2026-01-31T12:00:00Z, or relative seconds like -3600"
        ) from None


def chunks(lines: Iterator[str], size: int = 200) -> Iterator[bytes]:
    """Join lines of a download into pieces of a size worth sending."""
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) >= size:
            yield "".join(batch).encode()
            batch.clear()
    yield "".join(batch).encode()
