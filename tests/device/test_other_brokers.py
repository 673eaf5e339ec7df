"""NATS, RabbitMQ and aedes, real ones: every window arrives, and a topic that is not allowed is named and left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from edge_agent.cli.doctor import broker as doctor
from edge_agent.cli.doctor.check import Status
from edge_agent.config import Config
from edge_agent.health.counters import Counter
from tests.support.broker import Subscriber, wait_until
from tests.support.other_brokers import PASSWORD, aedes, amqtt, nats, rabbitmq
from tests.support.publishing import make_config, publishing

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]

ANNOUNCEMENT = "homeassistant/device/hall/config"
ABroker = Callable[[Path], AbstractContextManager[int]]
BROKERS: dict[str, ABroker] = {"amqtt": amqtt, "nats": nats, "rabbitmq": rabbitmq, "aedes": aedes}
HANGING_UP: dict[str, ABroker] = {
    "aedes": lambda folder: aedes(folder, deny="^homeassistant"),
    "rabbitmq": lambda folder: rabbitmq(folder, may_write="^countenance"),
}


def device(folder: Path, port: int, **options: Any) -> Config:
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    return make_config(folder, port, username="hall", password_file=str(secret), **options)


def reader(port: int) -> Subscriber:
    return Subscriber(port, "countenance/hall/#", protocol=mqtt.MQTTv311, username="reader", password=PASSWORD)


def seqs(subscriber: Subscriber) -> set[int]:
    return {m.json["seq"] for m in subscriber.of("/emotions") + subscriber.of("/history")}


@pytest.mark.parametrize("discovery", [True, False])
@pytest.mark.parametrize("name", BROKERS)
def test_every_window_arrives_at_any_broker(
    tmp_path: Path, name: str, discovery: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with BROKERS[name](tmp_path) as port, reader(port) as subscriber:
        config = device(tmp_path, port, discovery=discovery)
        with publishing(config) as rig:
            expected = {rig.append(number).seq for number in range(3)}
            rig.wait_connected(40)
            expected |= {rig.append(number).seq for number in range(3)}
            rig.wait_delivered()
            wait_until(lambda: seqs(subscriber) == expected, what=lambda: f"{expected}; there are {seqs(subscriber)}")
            assert rig.health.snapshot().counters[Counter.MQTT_DISCONNECTS] == 0
        assert [check.status for check in doctor.examine(config)] == [Status.OK] * 4
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", HANGING_UP)
def test_a_topic_that_makes_the_broker_hang_up_is_named_and_left_out(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with HANGING_UP[name](tmp_path) as port, reader(port) as subscriber:
        with publishing(device(tmp_path, port)) as rig:
            expected = {rig.append(number).seq for number in range(3)}
            wait_until(lambda: f"right after {ANNOUNCEMENT}" in caplog.text, 60, "the topic is named")
            rig.wait_connected(40)
            expected |= {rig.append(number).seq for number in range(3)}
            rig.wait_delivered()
            wait_until(lambda: seqs(subscriber) == expected, what=lambda: f"{expected}; there are {seqs(subscriber)}")
        assert caplog.text.count("ends the link right after") == 1
        caplog.clear()
        (tmp_path / "quiet").mkdir()
        with publishing(device(tmp_path / "quiet", port, discovery=False)) as rig:
            rig.append()
            rig.wait_delivered()
            rig.wait_connected()
            assert rig.health.snapshot().counters[Counter.MQTT_DISCONNECTS] == 0, "nothing is said there"
    assert "link" not in caplog.text


@pytest.mark.parametrize("topic", ["status", "info", "health", "emotions", "emotions/history"])
def test_whichever_topic_is_not_allowed_the_windows_arrive(
    tmp_path: Path, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the other of the two topics of windows where it is one of them."""
    named = f"right after countenance/hall/{topic} ("
    with (
        aedes(tmp_path, deny=f"hall/{topic}$") as port,
        reader(port) as subscriber,
        publishing(device(tmp_path, port)) as rig,
    ):
        wait_until(lambda: rig.append() and named in caplog.text, 60, "the topic is named")
        rig.wait_connected(40)
        expected = {rig.append(number).seq for number in range(3)}
        wait_until(lambda: expected <= seqs(subscriber), 60, lambda: f"{expected}; there are {seqs(subscriber)}")
    assert caplog.text.count(named) == 1


@pytest.mark.parametrize("name", HANGING_UP)
def test_doctor_names_a_topic_that_makes_the_broker_hang_up(tmp_path: Path, name: str) -> None:
    with HANGING_UP[name](tmp_path) as port:
        bad = [check for check in doctor.examine(device(tmp_path, port)) if check.status is not Status.OK]
        assert [check.name for check in bad] == ["broker topics"], bad
        assert ANNOUNCEMENT in bad[0].detail
        assert "the broker ends the link" in bad[0].detail
        assert "mqtt.discovery: false" in bad[0].fix
