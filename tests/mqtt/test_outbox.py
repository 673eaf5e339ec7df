"""Which window goes next, where the store gets back to its file while some are under way."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.config import Config
from edge_agent.health.counters import Health
from edge_agent.mqtt.outbox import Outbox
from edge_agent.mqtt.topics import topics_of
from edge_agent.store import Store, open_store
from tests.support.clocks import SteppedClock
from tests.support.publishing import make_config
from tests.support.stores import away, numbers
from tests.support.windows import make_report


class Wire:
    """What was handed to the connection; a message's place in ``sent`` is its number."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, int]] = []

    def publish(self, topic: str, payload: bytes) -> int:
        window = json.loads(payload)
        self.sent.append((topic.rsplit("/", 1)[-1], window["session"], window["seq"]))
        return len(self.sent) - 1


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)], ids=["above", "below"])
def test_a_late_file_is_sent_and_what_is_under_way_is_not_sent_twice(tmp_path: Path, ahead: timedelta) -> None:
    """Over one connection; "below": the new windows begin with lower numbers than those in the file."""
    config = make_config(tmp_path / "data", 1883)
    with away(tmp_path / "data"):
        store = open_store(config.store, "s1")
    in_file = [store.append(make_report(n)).seq for n in range(5)]
    store.close()
    clock, wire = SteppedClock(), Wire()
    clock.off = ahead
    with away(tmp_path / "data"):
        store = open_store(config.store, "s2", clock=clock)
        outbox = Outbox(store, "s2", "hall", topics_of(config), wire.publish, Health(), rate_hz=50)
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
    assert [each for each in wire.sent if each[0] == "history"] == [("history", "s1", seq) for seq in in_file]
    outbox.acknowledge([(mid, "") for mid in range(len(wire.sent))])
    assert numbers(store) == []
    assert store.stats().pending == 0
    store.close()


def with_a_late_file(config: Config) -> tuple[Store, Outbox, Wire]:
    """A second session, whose clock is an hour behind, and whose file is there by now and may be looked for."""
    clock, wire = SteppedClock(), Wire()
    clock.off = timedelta(hours=-1)
    with away(config.store.path.parent):
        store = open_store(config.store, "s2", clock=clock)
        outbox = Outbox(store, "s2", "hall", topics_of(config), wire.publish, Health(), rate_hz=50)
    clock.forward_s = 20
    return store, outbox, wire


def test_a_window_of_an_earlier_session_never_goes_live_however_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, with higher numbers than ours, comes back just after the outbox looked whether it had."""
    config = make_config(tmp_path / "data", 1883)
    with away(tmp_path / "data"):
        store = open_store(config.store, "s1")
    old = [store.append(make_report(n)).seq for n in range(3)]
    store.close()
    store, outbox, wire = with_a_late_file(config)
    follow = outbox._follow_numbering

    def follow_and_append() -> None:
        follow()
        monkeypatch.undo()
        store.append(make_report(4))

    monkeypatch.setattr(outbox, "_follow_numbering", follow_and_append)
    for _ in range(2):
        outbox.send(time.monotonic() + 1)
    assert not store.in_memory
    assert sorted(wire.sent) == [("emotions", "s2", store.last_seq), *(("history", "s1", seq) for seq in old)]
    store.close()


def test_a_late_file_does_not_hold_up_the_first_live_window(tmp_path: Path) -> None:
    """None had closed before the file, with hundreds under higher numbers, was there."""
    config = make_config(tmp_path / "data", 1883)
    with away(tmp_path / "data"):
        store = open_store(config.store, "s1")
    for number in range(300):
        store.append(make_report(number % 5))
    store.close()
    store, outbox, wire = with_a_late_file(config)
    seq = store.append(make_report(1)).seq
    outbox.send(time.monotonic())
    assert wire.sent[0] == ("emotions", "s2", seq)
    store.close()
