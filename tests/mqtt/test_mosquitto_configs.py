"""The broker configurations that are shipped, run by a real mosquitto."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from edge_agent.cli.doctor.broker import examine
from edge_agent.config import Config
from tests.support.broker import Broker, Subscriber, wait_until
from tests.support.certificates import Authority
from tests.support.programs import require
from tests.support.publishing import make_config, publishing

SHIPPED = Path(__file__).parents[2] / "configs" / "mosquitto"
USERS = ("hall", "yard", "dashboard", "operator", "homeassistant")


# /etc/mosquitto/mosquitto.conf of Debian 12; Debian 13's lacks pid_file. Most of its settings must not be set twice.
DEBIAN = """\
pid_file /run/mosquitto/mosquitto.pid
persistence true
persistence_location /var/lib/mosquitto/
log_dest file /var/log/mosquitto/mosquitto.log
include_dir /etc/mosquitto/conf.d
"""
FOLDERS = ("/etc/mosquitto", "/var/lib/mosquitto", "/var/log/mosquitto", "/run/mosquitto")


class ShippedBroker(Broker):
    """Starts mosquitto with one of our files where its header says; only paths, port and address are changed."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory)
        self.name = name

    def configuration(self) -> str:
        text = (SHIPPED / self.name).read_text()
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1").replace("1883", str(self.port))
        included = self.directory / "conf.d" / "countenance.conf"
        included.parent.mkdir(exist_ok=True)
        included.write_text(self._moved(text))
        return self._moved(DEBIAN)

    def _moved(self, text: str) -> str:
        for folder in FOLDERS:
            text = text.replace(folder, str(self.directory))
        return text


@pytest.fixture
def secure(tmp_path: Path) -> tuple[ShippedBroker, Authority]:
    require("mosquitto_passwd", "mosquitto")
    directory = tmp_path / "broker"
    authority = Authority(directory / "certs")
    authority.issue("server")
    passwords = directory / "countenance.passwd"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, f"{user}-secret"], check=True)
    (directory / "countenance.acl").write_text((SHIPPED / "acl").read_text())
    (directory / "countenance.acl").chmod(0o600)
    return ShippedBroker(directory, "secure.conf"), authority


def connect(broker: Broker, authority: Authority, user: str, *topics: str) -> Subscriber:
    subscriber = Subscriber(broker.port, *topics, username=user, password=f"{user}-secret")
    subscriber.client.tls_set(str(authority.ca_file))
    return subscriber


def hall_config(directory: Path, broker: Broker, authority: Authority, **mqtt: object) -> Config:
    """What the device `hall` needs to be let in by the secure configuration."""
    secret = directory / "password"
    secret.write_text("hall-secret")
    tls = {"enabled": True, "ca_file": str(authority.ca_file)}
    return make_config(directory, broker.port, username="hall", password_file=str(secret), tls=tls, **mqtt)


def test_the_local_configuration_works_as_it_is(tmp_path: Path) -> None:
    with ShippedBroker(tmp_path / "b", "local.conf") as broker, publishing(make_config(tmp_path, broker.port)) as rig:
        rig.append()
        rig.wait_delivered()


def test_with_the_secure_configuration_a_device_says_everything_it_has_to(
    secure: tuple[ShippedBroker, Authority], tmp_path: Path
) -> None:
    broker, authority = secure
    config = hall_config(tmp_path, broker, authority, health_s=1)
    with (
        broker,
        connect(broker, authority, "homeassistant", "countenance/#", "homeassistant/#") as home,
        publishing(config) as rig,
    ):
        rig.append(age_s=60)
        rig.wait_connected()
        rig.append()
        home.client.publish("countenance/hall/command/pause", b"{}", qos=1)
        for topic in ("/emotions", "/emotions/history", "/info", "/health", "/response", "/status", "/config"):
            home.wait_for(topic)
        wait_until(lambda: home.of("/status")[-1].json["paused"])


def test_with_the_secure_configuration_the_doctor_finds_nothing(
    secure: tuple[ShippedBroker, Authority], tmp_path: Path
) -> None:
    broker, authority = secure
    with broker:
        checks = list(examine(hall_config(tmp_path, broker, authority)))
    assert [check.name for check in checks if check.fix] == []
    assert checks[-1].name == "broker publish"


@pytest.mark.parametrize("name", ["local.conf", "secure.conf"])
def test_a_slow_subscriber_with_a_lasting_session_gets_every_window(
    name: str, secure: tuple[ShippedBroker, Authority], tmp_path: Path
) -> None:
    """It takes none of them before the broker has all, more than mosquitto keeps by default and than we once let it."""
    broker, authority = secure if name == "secure.conf" else (ShippedBroker(tmp_path / "b", name), None)
    count = 11_000
    go_on, seen, acknowledged, ready = threading.Event(), list[bytes](), list[int](), threading.Event()
    archive = lasting_client(authority, "archive", "dashboard")
    archive.on_connect = lambda client, *_: client.subscribe("countenance/+/emotions", 1)
    archive.on_subscribe = lambda *_: ready.set()
    archive.on_message = lambda _client, _data, message: (go_on.wait(60), seen.append(message.payload))
    device = lasting_client(authority, "device", "hall")
    device.on_connect = lambda *_: ready.set()
    device.on_publish = lambda _client, _data, mid, *_: acknowledged.append(mid)
    with broker:
        for client in (archive, device):
            ready.clear()
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            assert ready.wait(10)
        try:
            for number in range(count):
                device.publish("countenance/hall/emotions", str(number), qos=1)
            wait_until(lambda: len(acknowledged) == count, 60, "every PUBACK")
            go_on.set()
            wait_until(lambda: len(seen) >= count, 60, lambda: f"every window; {len(seen)} came")
            assert seen == [str(number).encode() for number in range(count)]
        finally:
            go_on.set()
            for client in (archive, device):
                client.disconnect()
                client.loop_stop()


def lasting_client(authority: Authority | None, name: str, user: str) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.max_inflight_messages_set(1000)
    if authority is not None:
        client.username_pw_set(user, f"{user}-secret")
        client.tls_set(str(authority.ca_file))
    return client


def test_nobody_sends_megabytes_through_our_broker(tmp_path: Path) -> None:
    with (
        ShippedBroker(tmp_path / "b", "local.conf") as broker,
        Subscriber(broker.port, "countenance/hall/command/+") as subscriber,
    ):
        big = tmp_path / "big"
        big.write_bytes(b"x" * 1_000_000)
        command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "countenance/hall/command/pause"]
        assert subprocess.run([*command, "-f", str(big)], capture_output=True, timeout=20).returncode != 0
        subprocess.run([*command, "-m", "{}"], check=True, timeout=20)
        assert [message.payload for message in subscriber.wait_for("/pause")] == [b"{}"]


def test_a_device_cannot_speak_for_another_nor_hear_its_commands(secure: tuple[ShippedBroker, Authority]) -> None:
    broker, authority = secure
    with (
        broker,
        connect(broker, authority, "operator", "countenance/#") as operator,
        connect(broker, authority, "hall", "countenance/yard/#", "countenance/hall/command/+") as hall,
    ):
        for topic in ("countenance/yard/emotions", "countenance/yard/status", "countenance/hall/command/pause"):
            hall.client.publish(topic, b"forged", qos=1)
        operator.client.publish("countenance/yard/command/pause", b"{}", qos=1)
        operator.client.publish("countenance/hall/command/pause", b"{}", qos=1)
        hall.client.publish("countenance/hall/emotions", b"mine", qos=1)
        operator.wait_for("hall/emotions")
        hall.wait_for("hall/command/pause")
        time.sleep(0.3)
        assert all(message.payload != b"forged" for message in operator.messages)
        assert {message.topic for message in hall.messages} == {"countenance/hall/command/pause"}


def test_an_operator_clears_what_a_device_that_is_gone_has_left(
    secure: tuple[ShippedBroker, Authority], tmp_path: Path
) -> None:
    broker, authority = secure
    text = (SHIPPED.parent.parent / "docs" / "mqtt.md").read_text(encoding="utf-8")
    topics = [topic.replace("entrance", "hall") for topic in re.findall(r"mosquitto_pub -r -n -q 1 -t (\S+)", text)]
    everything = ("countenance/#", "homeassistant/#")
    with broker:
        with publishing(hall_config(tmp_path, broker, authority)) as rig:
            rig.wait_connected()
        with connect(broker, authority, "homeassistant", *everything) as home:
            for topic in topics:
                home.wait_for(topic)
            assert sorted(message.topic for message in home.messages if message.retain) == sorted(topics)
        with connect(broker, authority, "operator", "countenance/#") as operator:
            for topic in topics:
                operator.client.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)
        with connect(broker, authority, "homeassistant", *everything) as home:
            time.sleep(0.5)
            assert home.messages == []


def test_a_dashboard_reads_and_commands_nobody(secure: tuple[ShippedBroker, Authority]) -> None:
    broker, authority = secure
    with (
        broker,
        connect(broker, authority, "operator", "countenance/#") as operator,
        connect(broker, authority, "dashboard", "countenance/#") as dashboard,
        connect(broker, authority, "hall", "countenance/hall/command/+") as hall,
    ):
        dashboard.client.publish("countenance/hall/command/pause", b"{}", qos=1)
        hall.client.publish("countenance/hall/emotions", b"{}", qos=1)
        dashboard.wait_for("hall/emotions")
        operator.wait_for("hall/emotions")
        time.sleep(0.3)
        assert hall.messages == []


def test_without_a_password_nobody_comes_in(secure: tuple[ShippedBroker, Authority]) -> None:
    broker, authority = secure
    refused: list[str] = []
    with broker:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.tls_set(str(authority.ca_file))
        client.on_connect = lambda *arguments: refused.append(str(arguments[3]))
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        wait_until(lambda: refused == ["Not authorized"])
        client.loop_stop()
