"""Which window goes next, also where the store gets back to its file while some are under way."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from edge_agent.config import Config
from edge_agent.health.counters import Health
from edge_agent.mqtt.outbox import ALL_IN_FLIGHT, Outbox
from edge_agent.mqtt.topics import topics_of
from edge_agent.store import Store, open_store
from tests.support.clocks import SteppedClock
from tests.support.publishing import make_config
from tests.support.stores import away, keys, opened
from tests.support.windows import make_report


class Wire:
    """What was handed to the connection; a message's place in ``sent`` is its number."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, int]] = []

    def publish(self, topic: str, payload: bytes) -> int:
        window = json.loads(payload)
        self.sent.append((topic.rsplit("/", 1)[-1], window["session"], window["seq"]))
        return len(self.sent) - 1


def an_outbox(config: Config, store: Store, session: str) -> tuple[Outbox, Wire]:
    wire = Wire()
    return Outbox(
        store, session, "hall", topics=topics_of(config), publish=wire.publish, health=Health(), rate_hz=50
    ), wire


def with_windows(config: Config, count: int) -> list[tuple[str, int]]:
    """An earlier session that left these in the file."""
    with opened(config.store) as store:
        return keys(store.append(make_report(number % 5)) for number in range(count))


def test_a_late_file_is_sent_and_what_is_under_way_is_not_sent_twice(tmp_path: Path) -> None:
    """Over one connection."""
    config, clock = make_config(tmp_path / "data", 1883), SteppedClock()
    in_file = with_windows(config, 5)
    with away(tmp_path / "data"):
        store = open_store(config.store, "s2", clock=clock)
        outbox, wire = an_outbox(config, store, "s2")
        live = [store.append(make_report(n)).seq for n in range(3)]
        outbox.send(time.monotonic())
    outbox.acknowledge([(0, "")])
    clock.forward_s = 20
    live.append(store.append(make_report(4)).seq)
    assert not store.in_memory
    outbox.acknowledge([(1, "")])
    for _ in range(3):
        outbox.send(time.monotonic() + 1)
        outbox.acknowledge([(3, "")])  # the newest: history goes on below the oldest live one that is under way
    assert [each for each in wire.sent if each[0] == "emotions"] == [("emotions", "s2", seq) for seq in live]
    assert [each for each in wire.sent if each[0] == "history"] == [("history", *key) for key in in_file]
    outbox.acknowledge([(mid, "") for mid in range(len(wire.sent))])
    assert store.pending() == []
    assert store.stats().pending == 0
    store.close()


@pytest.mark.parametrize("count", [3, 300])
def test_a_late_file_holds_up_no_live_window_and_none_of_it_goes_live(tmp_path: Path, count: int) -> None:
    config, clock = make_config(tmp_path / "data", 1883), SteppedClock()
    old = with_windows(config, count)
    with away(tmp_path / "data"):
        store = open_store(config.store, "s2", clock=clock)
        outbox, wire = an_outbox(config, store, "s2")
    clock.forward_s = 20
    store.append(make_report(1))
    assert not store.in_memory
    outbox.send(time.monotonic() + 1)
    assert wire.sent == [("emotions", "s2", 1), *(("history", *key) for key in old[:19])][: len(wire.sent)]
    assert len(wire.sent) > 3
    store.close()


def test_after_a_kill_no_window_that_arrived_live_is_told_behind_what_history_told(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", 1883)
    with opened(config.store) as store:
        outbox, wire = an_outbox(config, store, "s1")
        for number in range(2):
            store.append(make_report(number))
        outbox.send(time.monotonic())
        outbox.acknowledge([(0, ""), (1, "")])
        store.append(make_report(3, age_s=60))  # no longer live
        outbox.send(time.monotonic())
        assert wire.sent == [("emotions", "s1", 1), ("emotions", "s1", 2), ("history", "s1", 3)]
        shutil.copytree(tmp_path / "data", tmp_path / "killed" / "data")
    config = make_config(tmp_path / "killed" / "data", 1883)
    with opened(config.store, "s2") as store:
        assert keys(store.pending()) == [("s1", 3)]


def test_a_broker_that_never_acknowledges_gets_no_more_than_it_may_owe(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", 1883)
    with_windows(config, 1000)
    with opened(config.store, "s2") as store:
        outbox, wire = an_outbox(config, store, "s2")
        for number in range(200):
            store.append(make_report(number % 5))
            outbox.send(time.monotonic())
        assert len(wire.sent) == ALL_IN_FLIGHT
