"""What a broker does not take: said in its CONNACK, refused, or answered by hanging up. Real mosquitto, real amqtt."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_agent.cli.doctor import broker as doctor
from edge_agent.cli.doctor import visit
from edge_agent.cli.doctor.check import Status
from edge_agent.mqtt import connection as connections
from edge_agent.mqtt import lessons, publisher
from tests.support.broker import Broker, Subscriber, wait_until
from tests.support.other_brokers import PASSWORD, amqtt
from tests.support.publishing import Rig, make_config, publishing

ANNOUNCEMENT = "homeassistant/device/hall/config"


@contextmanager
def strict(directory: Path, extra: str = "") -> Iterator[Broker]:
    """mosquitto with a password of spaces and umlauts for hall and reader, and these lines of configuration."""
    directory.mkdir()
    users = directory / "users"
    users.touch(mode=0o600)
    for user in ("hall", "reader"):
        subprocess.run(["mosquitto_passwd", "-b", str(users), user, PASSWORD], check=True)
    with Broker(directory, f"allow_anonymous false\npassword_file {users}\n{extra}") as broker:
        yield broker


def device(directory: Path, port: int, **mqtt: Any) -> Any:
    secret = directory / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    return make_config(directory, port, username="hall", password_file=str(secret), **mqtt)


def reader(port: int, *topics: str, **options: Any) -> Subscriber:
    return Subscriber(port, *topics, username="reader", password=PASSWORD, **options)


def seqs(subscriber: Subscriber) -> set[int]:
    return {m.json["seq"] for m in subscriber.of("/emotions") + subscriber.of("/history")}


def append_some(rig: Rig, count: int = 3) -> set[int]:
    return {rig.append(number).seq for number in range(count)}


def access_list(directory: Path, *denied: str) -> str:
    """Lets everybody do everything but write these topics."""
    acl = directory / "acl"
    topics = ("status", "info", "emotions", "emotions/history", "health", "response", "doctor")
    allowed = [name for name in [*(f"countenance/hall/{name}" for name in topics), ANNOUNCEMENT] if name not in denied]
    lines = [
        "user reader",
        "topic readwrite #",
        "user hall",
        "topic read #",
        *(f"topic write {name}" for name in allowed),
    ]
    acl.write_text("\n".join(lines) + "\n")
    acl.chmod(0o644)
    return f"acl_file {acl}"


@pytest.mark.parametrize("discovery", [True, False])
@pytest.mark.parametrize(
    "limit",
    ["max_packet_size 4096", "max_packet_size 1500", "max_packet_size 1000", "max_inflight_messages 1", "max_qos 0",
     "retain_available false"],
)  # fmt: skip
def test_every_window_arrives_whatever_the_broker_limits(
    tmp_path: Path, limit: str, discovery: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with strict(tmp_path / "broker", limit) as broker:
        config = device(tmp_path, broker.port, discovery=discovery)
        with reader(broker.port, "countenance/#", "homeassistant/#") as subscriber, publishing(config) as rig:
            early = append_some(rig)
            rig.wait_connected()
            late = append_some(rig)
            rig.wait_delivered()
            wait_until(lambda: seqs(subscriber) == early | late, what=lambda: f"all; there are {seqs(subscriber)}")
            assert subscriber.of("/status")[0].json["state"] == "online"
            announced = bool(subscriber.of("/config"))
        assert announced == (discovery and limit not in ("max_packet_size 1500", "max_packet_size 1000"))
        assert rig.health.snapshot().counters[publisher.Counter.MQTT_DISCONNECTS] == 0, (
            "nothing was sent that ends a link"
        )
    told = [text.split()[11] for record in caplog.records if "bytes at once" in (text := record.getMessage())]
    assert len(told) == len(set(told)), "each topic is named once"
    assert (ANNOUNCEMENT in told) == (discovery and limit in ("max_packet_size 1500", "max_packet_size 1000"))
    assert ("countenance/hall/emotions" in told) == (limit == "max_packet_size 1000")


def test_a_window_that_is_too_long_goes_without_its_rolling_estimate(tmp_path: Path) -> None:
    with strict(tmp_path / "broker", "max_packet_size 1000") as broker:
        config = device(tmp_path, broker.port)
        with reader(broker.port, "countenance/#") as subscriber, publishing(config) as rig:
            rig.wait_connected()
            rig.append()
            message = subscriber.wait_for("/emotions")[0].json
    assert message["rolling"] is None
    assert message["percentages"] is not None


@pytest.mark.parametrize(
    ("limit", "named"),
    [("max_packet_size 4096", ""), ("max_packet_size 1500", ANNOUNCEMENT), ("max_packet_size 1000", "/emotions")],
)
def test_mqtt_3_brokers_say_no_limit_so_it_is_found_out(
    tmp_path: Path, limit: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They hang up; what the link ended on twice is left out, a window only as long as that."""
    with strict(tmp_path / "broker", limit) as broker:
        config = device(tmp_path, broker.port, version="3.1.1")
        with reader(broker.port, "countenance/#") as subscriber, publishing(config) as rig:
            expected = append_some(rig)
            wait_until(
                lambda: not named or f"right after {ANNOUNCEMENT}" in caplog.text, 20, "the announcement is named"
            )
            rig.wait_connected()
            expected |= append_some(rig)
            rig.wait_delivered()
            rig.wait_connected()
            assert seqs(subscriber) == expected
    told = [record.getMessage() for record in caplog.records if "ends the link right after" in record.getMessage()]
    assert len(told) == len(set(told)), "each is named once"
    assert any(named in text for text in told) == bool(named)


def test_our_own_limits_are_announced_in_connect(tmp_path: Path, broker: Broker) -> None:
    """A broker that keeps to them sends nobody's 250 MB."""
    with (
        Subscriber(broker.port, "countenance/hall/response") as asker,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        asker.client.publish("countenance/hall/command/pause", b"x" * 100_000, qos=1).wait_for_publish(10)
        asker.client.publish("countenance/hall/command/identify", b"", qos=1).wait_for_publish(10)
        asker.wait_for("/response")
        time.sleep(0.2)
        assert [message.json["command"] for message in asker.of("/response")] == ["identify"]
        assert "oversize" not in broker.log()


@pytest.mark.parametrize("retained", [False, True])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_huge_command_costs_no_memory_and_no_window(
    tmp_path: Path, broker: Broker, version: str, retained: bool
) -> None:
    """20 MB, which an MQTT 3.1.1 broker passes on: only the beginning is kept."""
    process = psutil.Process()
    with (
        Subscriber(broker.port, "countenance/hall/emotions", "countenance/hall/response") as subscriber,
        publishing(make_config(tmp_path, broker.port, version=version)) as rig,
    ):
        rig.wait_connected()
        big = tmp_path / "big"
        big.write_bytes(b"x" * 20_000_000)
        before = process.memory_info().rss
        command = [
            "mosquitto_pub",
            "-p",
            str(broker.port),
            "-t",
            "countenance/hall/command/pause",
            "-q",
            "1",
            "-f",
            str(big),
        ]
        subprocess.run([*command, *(["-r"] if retained else [])], check=True)
        peak = 0
        for number in range(10):
            rig.append(number)
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
        subscriber.wait_for("/emotions", 10)
        if version == "3.1.1":
            assert "longer than 1024 bytes" in subscriber.wait_for("/response")[0].json["error"]
        assert rig.health.snapshot().counters[publisher.Counter.MQTT_DISCONNECTS] == 0
        assert peak - before < 10e6
    assert rig.controls.calls == []


FLOOD = """
import sys, time
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.max_inflight_messages_set(200)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
start, sent = time.monotonic(), 0
while time.monotonic() - start < 3:
    client.publish("countenance/hall/command/identify", b"{}", qos=int(sys.argv[2]))
    sent += 1
    time.sleep(max(0.0, sent / 8000 - (time.monotonic() - start)))
"""


@pytest.mark.parametrize("qos", [0, 1])
def test_windows_go_first_in_a_flood_of_8000_commands_a_second(tmp_path: Path, broker: Broker, qos: int) -> None:
    process = psutil.Process()
    with (
        Subscriber(broker.port, "countenance/hall/emotions") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        before = process.memory_info().rss
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(broker.port), str(qos)])
        for number in range(20):
            rig.append(number)
            time.sleep(0.15)
        assert flood.wait(30) == 0
        subscriber.wait_for("/emotions", 20, timeout_s=5)
        rig.wait_delivered(5)
        assert process.memory_info().rss - before < 20e6


def test_a_flood_is_not_listened_to_for_a_while_and_then_commands_are_heard_again(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_agent.mqtt import conversation

    monkeypatch.setattr(conversation, "DEAF_S", 3.0)
    with (
        Subscriber(broker.port, "countenance/hall/response") as asker,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        for _ in range(20_000):
            asker.client.publish("countenance/hall/command/identify", b"", qos=0)
        wait_until(lambda: "flood of commands" in caplog.text, what="the flood is told")

        def heard() -> bool:
            asker.client.publish("countenance/hall/command/identify", b'{"transaction": "after"}', qos=1)
            time.sleep(0.3)
            return any(message.json["transaction"] == "after" for message in asker.of("/response"))

        wait_until(heard, 30, "a command is heard again")


def test_a_broker_that_never_acknowledges_costs_no_memory(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are not answered without bound, and the link is given up."""
    from tests.support.fault_proxy import FaultProxy

    monkeypatch.setattr(connections, "ACK_S", 3.0)
    process = psutil.Process()
    with FaultProxy(broker.port) as proxy, Subscriber(broker.port, "x") as asker:
        proxy.drop_pubacks = True
        with publishing(make_config(tmp_path, proxy.port)) as rig:
            wait_until(lambda: proxy.links == 1)
            before = process.memory_info().rss
            for number in range(20_000):
                asker.client.publish("countenance/hall/command/identify", b"", qos=0)
                if number % 1000 == 0:
                    rig.append(number)
            wait_until(lambda: proxy.links > 1, 20, "another connection")
            assert process.memory_info().rss - before < 20e6
            proxy.drop_pubacks = False
            proxy.cut()
            rig.wait_delivered()


# -- topics that are not allowed ---------------------------------------------------------------------------------------


def test_a_topic_that_mqtt_5_refuses_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused = "countenance/hall/response"
    with (
        strict(tmp_path / "broker", access_list(tmp_path, refused)) as broker,
        publishing(device(tmp_path, broker.port)) as rig,
        reader(broker.port, "countenance/#") as asker,
    ):
        rig.wait_connected()
        for _ in range(5):
            asker.client.publish("countenance/hall/command/identify", b"", qos=1)
        wait_until(lambda: f"refused {refused}" in caplog.text, what="the refusal is told")
        expected = append_some(rig)
        rig.wait_delivered()
        assert seqs(asker) == expected
    assert caplog.text.count(f"refused {refused}") == 1


def test_nothing_is_said_on_the_discovery_topic_unless_something_stands_there(tmp_path: Path, broker: Broker) -> None:
    """B2: a broker may hang up on whoever touches it."""
    config = make_config(tmp_path, broker.port, discovery=False)
    with Subscriber(broker.port, "homeassistant/#") as subscriber:
        with publishing(config) as rig:
            rig.wait_connected()
        assert subscriber.messages == []
        with publishing(make_config(tmp_path, broker.port)) as rig:
            rig.wait_connected()
        subscriber.wait_for("/config")
        for session in ("s2", "s3"):
            with publishing(config, session) as rig:
                rig.wait_connected()
                rig.append()
                rig.wait_delivered()
        assert [bool(message.payload) for message in subscriber.of("/config")] == [True, False], "taken back once"


def test_a_broker_that_keeps_silent_gets_mqtt_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """B3: amqtt answers no CONNECT of MQTT 5 with a will, and hangs up after 10 s."""
    monkeypatch.setattr(publisher, "CONNACK_S", 4.0)
    caplog.set_level(logging.INFO)
    with amqtt(tmp_path) as port, publishing(device(tmp_path, port)) as rig:
        rig.append()
        rig.wait_delivered()
        assert str(rig.publisher._lessons.terms) == "MQTT 3.1.1"
    assert "trying MQTT 3.1.1" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], "that is no fault"


def test_two_devices_of_one_id_are_recognised(tmp_path: Path, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (make_config(tmp_path / name, broker.port) for name in ("one", "two"))
    with publishing(one, "session-1"), publishing(two, "session-2"):
        for session in ("session-1", "session-2"):
            wait_until(lambda session=session: f"(its session is {session}" in caplog.text, 30, "both are told")
    assert "uses our device.id 'hall'" in caplog.text


def test_a_restart_after_a_kill_is_no_other_device(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The late will of the run before, and what it left at the broker, look like somebody else's."""
    from edge_agent.mqtt import conversation

    monkeypatch.setattr(conversation, "CORRECTION_S", 0.2)
    with Subscriber(broker.port, "countenance/hall/status") as other:
        other.client.publish("countenance/hall/status", b'{"schema":1,"state":"online","session":"old"}', 1, True)
        with publishing(make_config(tmp_path, broker.port)) as rig:
            rig.wait_connected()
            other.client.publish("countenance/hall/status", b'{"schema":1,"state":"offline","session":"old"}', 1, True)
            wait_until(lambda: other.of("/status")[-1].json["session"] == "s1", what="a correction")
            link = rig.publisher._connection
            assert link is not None
            link.fail("cut by the test")
            wait_until(lambda: rig.publisher._connection not in (link, None), what="another connection")
            rig.append()
            rig.wait_delivered()
    assert "another device" not in caplog.text


# -- doctor names each of these --------------------------------------------------------------------------------------


def findings(config: Any) -> str:
    return "\n".join(str(check) for check in doctor.examine(config) if check.status is not Status.OK)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "STEP_S", 3.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("version", ["auto", "3.1.1"])
@pytest.mark.parametrize(
    ("limit", "named"),
    [("max_packet_size 1000", "a window needs"), ("max_packet_size 2000", "the announcement to Home Assistant needs")],
)
def test_doctor_names_a_limit_of_size(tmp_path: Path, limit: str, named: str, version: str) -> None:
    with strict(tmp_path / "broker", limit) as broker:
        config = device(tmp_path, broker.port, version=version)
        assert named in findings(config)
        assert "max_packet_size" in findings(config)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("extra", "named"), [("max_qos 0", "QoS 0 alone"), ("retain_available false", "the broker keeps no messages")]
)
def test_doctor_names_what_the_broker_does_without(tmp_path: Path, extra: str, named: str) -> None:
    with strict(tmp_path / "broker", extra) as broker:
        assert named in findings(device(tmp_path, broker.port))


def test_doctor_names_an_announcement_that_is_not_allowed(tmp_path: Path) -> None:
    with strict(tmp_path / "broker", access_list(tmp_path, ANNOUNCEMENT)) as broker:
        assert f"writing {ANNOUNCEMENT}: Not authorized" in findings(device(tmp_path, broker.port))
        assert findings(device(tmp_path, broker.port, discovery=False)) == ""


@pytest.mark.usefixtures("impatient")
def test_doctor_comes_in_where_mqtt_5_is_not_answered(tmp_path: Path) -> None:
    with amqtt(tmp_path) as port:
        checks = list(doctor.examine(device(tmp_path, port, discovery=False)))
    assert [check.status for check in checks] == [Status.OK] * 4
    assert "MQTT 3.1.1" in checks[2].detail
    assert "MQTT 5: no answer to CONNECT" in checks[2].detail


def test_doctor_names_another_device_of_our_id_and_what_the_agent_found(tmp_path: Path, broker: Broker) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ours, theirs = (make_config(tmp_path / name, broker.port) for name in ("one", "two"))
    with publishing(ours, "session-1") as rig:
        rig.wait_connected()
        assert findings(ours) == ""
    left_out = lessons.LeftOut("countenance/hall/health", 500, 0.0)
    rig.publisher._context.notebook.set("left_out", [str(left_out)])
    with publishing(theirs, "session-2") as rig:
        rig.wait_connected()
        told = findings(ours)
    assert "another device is online as 'hall' (its session is session-2) -> give each device its own device.id" in told
    assert "the broker ends the link right after countenance/hall/health" in told
