"""The windows of all devices, each once, and their sums by hour: SQLite for some hundred devices, PostgreSQL for more.

A batch of messages is one transaction: windows that are new go into ``window`` and, by the same statement, into the
sums of their device's hour. So a batch that is collected twice changes nothing, and no sum is ever worked out again.

Example: ``hall`` sends window 7 (10:59:50, 12 people) live, the collector is killed after the commit and before the
acknowledgement, and the broker sends 7 again with 8 and 9. The second batch finds 7 by its key, adds 8 and 9 to the
hour, and is acknowledged whole.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from edge_agent.errors import StoreError
from fleet.messages import LABELS, News, Window

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FIRST_MS, LAST_MS = 1_577_836_800_000, 4_102_444_800_000
"""2020 to 2100: a window outside has no believable day."""

READINGS = tuple(f"{half}{i}" for half in "re" for i in range(1, LABELS + 1))
_PUBLISHED = tuple(f"p{i}" for i in range(1, LABELS + 1))
_FACTS = (
    "device", "session", "seq", "start_ms", "window_s", "suppressed", "people", "model", "familiar",
    "quality", "gated",
)  # fmt: skip
_COLUMNS = (*_FACTS, *READINGS, *_PUBLISHED)
_SUMS = ("windows", "suppressed", "published", "people", "familiar", "quality", *READINGS)

_ALONE = "SELECT pg_advisory_xact_lock(724)"
"""One collector at a time changes tables."""
_HEARD = """
INSERT INTO device (device, window_ms) VALUES (:device, :now)
ON CONFLICT (device) DO UPDATE SET window_ms = excluded.window_ms
"""
_INCOMING = 'CREATE TEMPORARY TABLE IF NOT EXISTS incoming AS SELECT * FROM "window" WHERE 1 = 0'
_NEW = f"""
INSERT INTO "window" ({", ".join(_COLUMNS)}) SELECT {", ".join(_COLUMNS)} FROM incoming
WHERE true ON CONFLICT DO NOTHING
"""
_SAME = "{0}.device = incoming.device AND {0}.session = incoming.session AND {0}.seq = incoming.seq"
_DAYS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '\"window\"'::regclass"
_KNOWN = f'DELETE FROM incoming WHERE EXISTS (SELECT 1 FROM "window" w WHERE {_SAME.format("w")})'
_NOW_DATED = f"DELETE FROM undated WHERE EXISTS (SELECT 1 FROM incoming WHERE {_SAME.format('undated')})"
_TOTALS = f"""
INSERT INTO hour (device, hour, model, {", ".join(_SUMS)})
SELECT device, start_ms / {HOUR_MS}, model, count(*), sum(CASE WHEN suppressed THEN 1 ELSE 0 END),
    sum(CASE WHEN p1 IS NULL THEN 0 ELSE 1 END), sum(CASE WHEN p1 IS NULL THEN 0 ELSE people END),
    sum(coalesce(familiar, 0) * coalesce(people, 0)), sum(coalesce(quality, 0)),
    {", ".join(f"sum({name} * coalesce(people, 0))" for name in READINGS)}
FROM {{source}} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (device, hour, model) DO UPDATE SET {", ".join(f"{name} = hour.{name} + excluded.{name}" for name in _SUMS)}
"""


class Database:
    """One engine; any number of threads may use it.

    Raises:
        StoreError: it cannot be reached or written.
    """

    def __init__(self, url: str) -> None:
        self._sqlite = url.startswith("sqlite")
        self._engine = sql.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_pre_ping=True)
        # SQLite has one writer; a second would wait for it in C and be refused after a while.
        self._writing = threading.Lock()
        self._days: set[int] = set()
        if self._sqlite:
            sql.event.listen(self._engine, "connect", _tune)

    def migrate(self) -> None:
        """Bring the tables to this version."""
        config = AlembicConfig()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.begin() as connection:
            if not self._sqlite:  # several collectors may start at once
                connection.execute(sql.text(_ALONE))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, committed at the end."""
        try:
            with self._writing if self._sqlite else _nothing(), self._engine.begin() as connection:
                yield connection
        except OperationalError as error:
            raise StoreError(f"the database cannot be used: {_short(error)}") from error
        except DBAPIError as error:
            raise StoreError(f"the database refused: {_short(error)}") from error

    def add(self, windows: Sequence[Window], news: Iterable[News] = (), *, now_ms: int) -> int:
        """Keep what is new, in one transaction; returns how many windows were."""
        unique = list({(window.device, window.session, window.seq): window for window in windows}.values())
        self._make_days(unique)
        with self.begin() as connection:
            self._tell(connection, news, now_ms)
            return self._insert(connection, unique, now_ms) if unique else 0

    def _insert(self, connection: Connection, windows: Sequence[Window], now_ms: int) -> int:
        labels = {window.model: ",".join(window.labels) for window in windows if window.labels}
        if labels:
            connection.execute(
                sql.text("INSERT INTO model VALUES (:model, :labels) ON CONFLICT (model) DO NOTHING"),
                [{"model": model, "labels": text} for model, text in sorted(labels.items())],
            )
        connection.execute(
            sql.text(_HEARD),
            [{"device": name, "now": now_ms} for name in sorted({window.device for window in windows})],
        )
        connection.exec_driver_sql(_INCOMING)
        number = 0
        if undated := [window for window in windows if not window.synced]:
            self._fill(connection, undated)
            connection.exec_driver_sql(_KNOWN)
            number += connection.exec_driver_sql(_NEW.replace('"window"', "undated")).rowcount
        if dated := [window for window in windows if window.synced]:
            self._fill(connection, dated)
            # A window that was sent before the device's clock was right may come again with its right time.
            number -= connection.exec_driver_sql(_NOW_DATED).rowcount
            number += self._count_in(connection)
        return number

    def _fill(self, connection: Connection, windows: Iterable[Window]) -> None:
        connection.exec_driver_sql("DELETE FROM incoming")
        rows = [_row(window) for window in windows]
        if self._sqlite:
            marks = ", ".join("?" * len(_COLUMNS))
            connection.exec_driver_sql(f"INSERT INTO incoming ({', '.join(_COLUMNS)}) VALUES ({marks})", rows)
            return
        columns = ", ".join(_COLUMNS)
        cursor: Any = connection.connection.cursor()
        with closing(cursor), cursor.copy(f"COPY incoming ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def _count_in(self, connection: Connection) -> int:
        if self._sqlite:
            connection.exec_driver_sql(_KNOWN)
            number = connection.exec_driver_sql(_NEW).rowcount
            connection.exec_driver_sql(_TOTALS.format(source="incoming"))
            return number
        totals = _TOTALS.format(source="fresh")
        counted = f"WITH fresh AS ({_NEW} RETURNING *), added AS ({totals}) SELECT count(*) FROM fresh"
        return int(connection.exec_driver_sql(counted).scalar_one())

    def _make_days(self, windows: Iterable[Window]) -> None:
        """PostgreSQL's tables for new days, in a transaction of their own: making one locks all the windows."""
        days = {window.start_ms // DAY_MS for window in windows if FIRST_MS <= window.start_ms < LAST_MS} - self._days
        if self._sqlite or not days:
            return
        with self.begin() as connection:
            connection.execute(sql.text(_ALONE))
            for day in days:
                connection.exec_driver_sql(
                    f'CREATE TABLE IF NOT EXISTS {_day_table(day)} PARTITION OF "window"'
                    f" FOR VALUES FROM ({day * DAY_MS}) TO ({(day + 1) * DAY_MS})"
                )
        self._days |= days

    def _tell(self, connection: Connection, news: Iterable[News], now_ms: int) -> None:
        for item in sorted(news, key=lambda item: item.device):
            values = {"device": item.device, **_told(item, now_ms)}
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            sets = ", ".join(f"{name} = excluded.{name}" for name in values if name != "device")
            connection.execute(
                sql.text(f"INSERT INTO device ({names}) VALUES ({marks}) ON CONFLICT (device) DO UPDATE SET {sets}"),
                values,
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def forget(self, before_ms: int) -> None:
        """Remove the windows of the days before; the sums of their hours stay."""
        with self.begin() as connection:
            if self._sqlite:
                connection.execute(sql.text('DELETE FROM "window" WHERE start_ms < :day'), {"day": before_ms})
                return
            for name in connection.execute(sql.text(_DAYS)).scalars().all():
                if name < _day_table(before_ms // DAY_MS):  # "window_rest" comes after all digits
                    connection.exec_driver_sql(f"DROP TABLE {name}")


def _day_table(day: int) -> str:
    return f"window_{date(1970, 1, 1) + timedelta(days=day):%Y%m%d}"


def _row(window: Window) -> tuple[Any, ...]:
    spare = LABELS - len(window.labels)
    half = len(window.readings) // 2
    readings = (
        (*window.readings[:half], *[0] * spare, *window.readings[half:], *[0] * spare) if half else (0,) * (2 * LABELS)
    )
    published = (*window.published, *[0] * spare) if window.published else (None,) * LABELS
    return (
        window.device, window.session, window.seq, window.start_ms, window.window_s, window.suppressed,
        window.people, window.model, window.familiar, window.quality,
        json.dumps(dict(window.gated)) if window.gated else None, *readings, *published,
    )  # fmt: skip


def _told(item: News, now_ms: int) -> dict[str, Any]:
    text, fields = json.dumps(item.fields), item.fields
    if item.kind == "health":
        return {"health": text, "health_ms": now_ms}
    if item.kind == "info":
        return {"info": text, "name": _string(fields.get("name"))}
    told: dict[str, Any] = {"state": _string(fields.get("state")), "session": _string(fields.get("session"))}
    told["status_ms"] = now_ms
    if fields.get("state") != "offline":  # the last will has no more
        told |= {name: _string(fields.get(name)) for name in ("camera", "trouble")}
        told |= {name: fields.get(name) is True for name in ("problem", "paused")}
    return told


def _string(value: object) -> str | None:
    return value[:200].replace("\0", "") if isinstance(value, str) else None


def _tune(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _short(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())[:300]
