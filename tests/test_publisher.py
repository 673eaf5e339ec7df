"""The publisher against a real mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.config import Config
from edge_agent.health import Health
from edge_agent.publisher import Publisher
from edge_agent.store import Store, open_store
from tests.broker import Broker, Subscriber, wait_until
from tests.windows import LABELS, make_report


class RecordingControls:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def reload(self) -> None:
        self.calls.append("reload")

    def identify(self) -> None:
        self.calls.append("identify")

    def set_window(self, seconds: float) -> None:
        self.calls.append(seconds)


def make_config(directory: Path, port: int, **mqtt: object) -> Config:
    return Config.model_validate(
        {
            "device": {"id": "hall"},
            "store": {"path": str(directory / "windows.sqlite")},
            "mqtt": {"port": port, "keepalive_s": 5, "reconnect_max_s": 1, **mqtt},
        }
    )


@contextmanager
def publishing(config: Config, session: str = "s1") -> Iterator[tuple[Store, Publisher]]:
    store = open_store(config.store, session, model="m1")
    publisher = Publisher(config, store, session, {"version": "test"}, RecordingControls(), Health(), LABELS)
    publisher.start()
    try:
        yield store, publisher
    finally:
        publisher.stop()
        store.close()


def test_a_fresh_window_arrives_live(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as (
            store,
            publisher,
        ),
    ):
        subscriber.wait_for("/status")
        stored = store.append(make_report(1))
        publisher.wake()
        message = subscriber.wait_for("/emotions")[0]
        assert (message.json["seq"], message.json["historical"], message.qos) == (stored.seq, False, 1)
        wait_until(lambda: store.stats().pending == 0, what="PUBACK")
    assert subscriber.of("/status")[-1].json["state"] == "stopped"


def test_windows_measured_without_a_broker_follow_as_history_in_order(tmp_path: Path, broker: Broker) -> None:
    broker.stop()
    with publishing(make_config(tmp_path, broker.port)) as (store, publisher):
        for number in range(30):
            store.append(make_report(number))
            publisher.wake()
        broker.start()
        with Subscriber(broker.port, "countenance/hall/#") as subscriber:
            wait_until(lambda: store.stats().pending == 0, 20, "30 PUBACKs")
            store.append(make_report(99))
            publisher.wake()
            subscriber.wait_for("/emotions")
    seen = [m.json["seq"] for m in subscriber.of("/emotions/history")]
    assert seen == sorted(seen)
    assert all(m.json["historical"] for m in subscriber.of("/emotions/history"))
    assert [m.json["seq"] for m in subscriber.of("/emotions")] == [31]


def test_a_kill_of_the_link_leaves_the_will(broker: Broker, tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt")
    with publishing(make_config(tmp_path, broker.port)) as (_, publisher):
        wait_until(lambda: publisher.connected)
        with Subscriber(broker.port, "countenance/hall/status") as subscriber:
            subscriber.wait_for("/status")
            publisher._connection._client.socket().shutdown(2)  # type: ignore[union-attr]
            states = [m.json["state"] for m in subscriber.wait_for("/status", 3)]
    assert states[:3] == ["online", "offline", "online"]
