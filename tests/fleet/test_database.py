"""Each window once, in its hour, whatever comes twice or late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from fleet.database import DAY_MS, Database
from fleet.messages import LABELS, News
from fleet.pooling import Scope, pooled
from tests.support.fleet import MODEL, START, window
from tests.support.postgres import PASSWORD, postgres

HOUR = int(START.timestamp()) // 3600


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/fleet.sqlite")
    else:
        made = Database(request.getfixturevalue("server"))
        with made.begin() as connection:
            connection.execute(sql.text("DROP SCHEMA public CASCADE"))
            connection.execute(sql.text("CREATE SCHEMA public"))
    made.migrate()
    made.migrate()  # a second time changes nothing
    yield made
    made.close()


def count(database: Database, table: str) -> int:
    with database.begin() as connection:
        return int(connection.execute(sql.text(f'SELECT count(*) FROM "{table}"')).scalar_one())


def hours(database: Database) -> dict[tuple[str, int], tuple[int, int, int]]:
    with database.begin() as connection:
        rows = connection.execute(sql.text("SELECT * FROM hour")).all()
    return {(row.device, row.hour - HOUR): (row.windows, row.suppressed, row.people) for row in rows}


def test_what_comes_twice_is_counted_once(database: Database) -> None:
    first = [window("hall", seq) for seq in range(1, 8)]
    assert database.add(first, now_ms=1) == 7
    assert database.add([*first, window("hall", 8, people=None), window("door", 1)], now_ms=2) == 2
    assert database.add([window("hall", 3), window("hall", 3)], now_ms=3) == 0
    assert count(database, "window") == 9
    assert hours(database) == {("hall", 0): (3, 0, 15), ("hall", 1): (5, 1, 20), ("door", 0): (1, 0, 5)}


def test_sums_are_people_times_what_was_published(database: Database) -> None:
    windows = [window("hall", 1, people=4), window("hall", 2, people=9)]
    database.add(windows, now_ms=1)
    names = ", ".join(f"{half}{i}" for half in "re" for i in range(1, LABELS + 1))
    with database.begin() as connection:
        sums = tuple(connection.execute(sql.text(f"SELECT {names} FROM hour")).one())
    expected = [4 * a + 9 * b for a, b in zip(windows[0].readings, windows[1].readings, strict=True)]
    assert list(sums) == expected


def test_a_window_without_a_day_waits_for_it(database: Database) -> None:
    """Sent live before the clock was right, it comes again as history with its time."""
    assert database.add([window("hall", 1, synced=False)], now_ms=1) == 1
    assert hours(database) == {}
    assert database.add([window("hall", 1)], now_ms=2) == 0
    assert database.add([window("hall", 1, synced=False)], now_ms=3) == 0
    assert (count(database, "window"), count(database, "undated")) == (1, 0)
    assert hours(database) == {("hall", 0): (1, 0, 5)}


def test_old_windows_go_and_their_sums_stay(database: Database) -> None:
    database.add([window("hall", 1), window("hall", 20_000)], now_ms=1)
    database.forget((int(START.timestamp()) * 1000 // DAY_MS + 1) * DAY_MS)
    assert count(database, "window") == 1
    assert len(hours(database)) == 2


def test_pooling_is_by_place_and_time(database: Database) -> None:
    database.add([window("hall", 1), window("hall", 5, people=7), window("door", 1, people=11)], now_ms=1)
    with database.begin() as connection:
        connection.execute(sql.text("UPDATE device SET site = 'museum' WHERE device = 'hall'"))

        def ask(bucket: str, *places: tuple[str, str], end: int = 2) -> list[tuple[object, int, int]]:
            found = pooled(connection, {}, Scope(HOUR, HOUR + end, places), bucket=bucket)  # type: ignore[arg-type]
            return [(part.bucket, part.devices, part.people) for part in found]

        assert ask("all") == [(0, 2, 23)]
        assert ask("hour") == [(HOUR, 2, 16), (HOUR + 1, 1, 7)]
        assert ask("all", end=1) == [(0, 2, 16)]
        assert ask("site") == [("", 1, 11), ("museum", 1, 12)]
        assert ask("all", ("site", "museum")) == [(0, 1, 12)]
        assert ask("all", ("site", "'; DROP TABLE hour; --")) == []


def test_an_unknown_model_gets_no_intervals(database: Database) -> None:
    database.add([window("hall", 1)], now_ms=1)
    with database.begin() as connection:
        (part,) = pooled(connection, {}, Scope(HOUR, HOUR + 1), bucket="all")
    assert (part.models, part.intervals, part.familiar) == ((MODEL,), None, None)
    assert part.percentages == part.percentages_raw


def test_news_of_a_device(database: Database) -> None:
    status = {
        "state": "online",
        "session": "s1",
        "camera": "running",
        "trouble": None,
        "problem": False,
        "paused": True,
    }
    database.add([], [News("hall", "status", status), News("hall", "info", {"name": "Hall \0"})], now_ms=5)
    database.add([], [News("hall", "status", {"state": "offline", "session": "s1"})], now_ms=6)
    with database.begin() as connection:
        row = connection.execute(sql.text("SELECT * FROM device")).one()
    assert (row.name, row.state, row.camera, bool(row.paused), row.status_ms) == (
        "Hall ",
        "offline",
        "running",
        True,
        6,
    )
