"""From a real broker to committed rows: whatever is killed between, each window is there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
import sqlalchemy as sql
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.errors import BrokerError
from fleet.collecting import Collector, Source
from fleet.database import Database
from fleet.from_mqtt import MqttSource
from fleet.from_nats import NatsSource
from tests.support.broker import Broker, free_port, wait_until
from tests.support.fleet import payload
from tests.support.other_brokers import nats_plain

STATUS = (
    b'{"schema":1,"state":"online","session":"s1","camera":"running","trouble":null,"problem":false,"paused":false}'
)


class Device:
    """Sends messages with QoS 1 over a connection of its own."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, kind: str, *payloads: bytes) -> None:
        for sent in [self._client.publish(f"countenance/{self.name}/{kind}", each, qos=1) for each in payloads]:
            sent.wait_for_publish(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/fleet.sqlite")
    made.migrate()
    yield made
    made.close()


def keys(database: Database) -> list[tuple[str, int]]:
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(sql.text('SELECT device, seq FROM "window" ORDER BY 1, 2'))]


def states(database: Database) -> list[tuple[str, str]]:
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(sql.text("SELECT state, camera FROM device"))]


def collect(source: Source, database: Database, until: int) -> Collector:
    collector = Collector(source, database, "countenance")
    wait_until(lambda: collector.step() or len(keys(database)) >= until, 20, lambda: f"{keys(database)}")
    return collector


def check(first: Source, second: Source, device: Device, database: Database) -> None:
    """``first`` is killed between commit and acknowledgement; ``second`` is the next collector."""
    device.send("status", STATUS)
    device.send("emotions", *[payload(device.name, seq) for seq in range(1, 6)])
    taken = wait_until(lambda: [m for m in first.take() if m.topic.endswith("emotions")], 20)
    Collector(Taken(taken), database, "countenance").step()
    first.close()
    device.send("emotions/history", payload(device.name, 6), b"{}", payload(device.name, 2))
    collector = collect(second, database, 6)
    assert keys(database) == [(device.name, seq) for seq in range(1, 7)]
    wait_until(lambda: collector.step() or sum(collector.tally.refused.values()), 20)
    wait_until(lambda: collector.step() or states(database) == [("online", "running")], 20)
    second.close()


class Taken:
    """A source that has these messages and cannot acknowledge."""

    def __init__(self, messages: list) -> None:
        self._messages = messages

    def take(self) -> list:
        return self._messages

    def done(self, messages: object) -> None:
        """The process died before."""

    def close(self) -> None:
        """Nothing is open."""


def test_mosquitto_keeps_what_was_not_acknowledged(tmp_path: Path, database: Database) -> None:
    broker = Broker(tmp_path / "broker").start()
    try:
        url = urlsplit(f"mqtt://127.0.0.1:{broker.port}")
        first, second = (MqttSource(url, "countenance", "fleet") for _ in range(2))
        assert first.take() == []  # subscribed, before the device speaks
        wait_until(lambda: "SUBACK" in broker.log())
        device = Device(broker.port, "hall")
        check(first, second, device, database)
        device.close()
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with nats_plain(tmp_path_factory.mktemp("nats")) as ports:
        yield ports


def test_nats_keeps_what_was_not_acknowledged(cluster: tuple[int, int], database: Database) -> None:
    client, port = cluster
    device = Device(port, "hall")
    wait_until(lambda: device._client.is_connected())
    first, second = (NatsSource([f"nats://127.0.0.1:{client}"], "countenance", ack_wait_s=2) for _ in range(2))
    assert list(first.take()) == []
    check(first, second, device, database)
    device.close()


def test_a_broker_that_is_away_is_named() -> None:
    port = free_port()
    for source in (
        MqttSource(urlsplit(f"mqtt://127.0.0.1:{port}"), "countenance", "fleet"),
        NatsSource([f"nats://127.0.0.1:{port}"], "countenance"),
    ):
        with pytest.raises(BrokerError, match=str(port)):
            source.take()
        source.close()
