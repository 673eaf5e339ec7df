"""What the page and programs ask, over HTTP as they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn

from fleet.api import make_app
from fleet.collecting import Tally
from fleet.database import Database
from fleet.messages import News
from fleet.models import load_estimators
from tests.support.broker import wait_until
from tests.support.fleet import START, window

HOUR = int(START.timestamp()) // 3600
ONLINE = {"state": "online", "session": "s1", "camera": "running", "trouble": "dark", "problem": True, "paused": False}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/fleet.sqlite")
    made.migrate()
    now_ms = time.time_ns() // 1_000_000
    made.add([window("hall", 1), window("door", 5, people=7)], [News("hall", "status", ONLINE)], now_ms=now_ms)
    yield made
    made.close()


@contextmanager
def served(database: Database, token: str | None = None) -> Iterator[httpx.Client]:
    """A real server on a free port."""
    app = make_app(database, load_estimators(), Tally(), token=token)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(database: Database) -> Iterator[httpx.Client]:
    with served(database) as asked:
        yield asked


def test_shares_by_hour(client: httpx.Client) -> None:
    found = client.get("/api/shares", params={"hours": 2, "until": HOUR + 2, "bucket": "hour"}).json()
    assert [(part["bucket"], part["devices"], part["people"]) for part in found] == [(HOUR, 1, 5), (HOUR + 1, 1, 7)]


def test_a_shipped_model_is_corrected_and_has_intervals(database: Database, client: httpx.Client) -> None:
    model = next(iter(load_estimators()))
    known = [replace(window("gate", seq), model=model) for seq in range(1, 30)]
    database.add(known, now_ms=1)
    (part,) = client.get("/api/shares", params={"until": HOUR + 2, "device": "gate"}).json()
    assert sum(part["percentages"].values()) == pytest.approx(100, abs=0.05)
    assert all(low <= part["percentages"][name] <= high for name, (low, high) in part["intervals"].items())


@pytest.mark.parametrize("asked", [{"hours": 0}, {"hours": 10**6}, {"bucket": "minute"}, {"until": "soon"}])
def test_wrong_questions_are_refused(client: httpx.Client, asked: dict[str, object]) -> None:
    assert client.get("/api/shares", params=asked).status_code == 422


def test_devices_and_metrics(client: httpx.Client) -> None:
    door, hall = client.get("/api/devices").json()
    assert (door["device"], door["online"]) == ("door", False), "it never said that it is online"
    assert (hall["online"], hall["camera"], hall["trouble"]) == (True, "running", "dark")
    told = client.get("/metrics").text
    assert 'countenance_fleet_device_problem{device="hall",site=""} 1' in told.splitlines()
    assert 'countenance_fleet_device_up{device="door",site=""} 0' in told.splitlines()


def test_with_a_token_everything_asks_for_it(database: Database) -> None:
    with served(database, token="a token of enough length") as guarded:
        for path in ("/", "/api/devices", "/api/shares", "/metrics"):
            assert guarded.get(path).status_code == 401
            assert guarded.get(path, headers={"Authorization": "Bearer a wrong one of some length"}).status_code == 401
            assert guarded.get(path, headers={"Authorization": "Bearer a token of enough length"}).status_code == 200
            assert guarded.get(path, auth=("anybody", "a token of enough length")).status_code == 200


def test_the_page_and_its_parts(client: httpx.Client) -> None:
    assert "Countenance fleet" in client.get("/").text
    for part in ("fleet.css", "fleet.js"):
        assert client.get(f"/page/{part}").status_code == 200
