"""The publisher against a real mosquitto: what it says, in which order, and what it does when asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from edge_agent.health.counters import Counter
from edge_agent.mqtt import conversation
from edge_agent.mqtt.topics import topics_of
from tests.support.broker import Broker, Subscriber, free_port, wait_until
from tests.support.publishing import make_config, publishing
from tests.support.schemas import undocumented, validate


def test_a_fresh_window_arrives_live(broker: Broker, tmp_path: Path) -> None:
    config = make_config(tmp_path, broker.port)
    with Subscriber(broker.port, "countenance/hall/#") as subscriber, publishing(config) as rig:
        subscriber.wait_for("/status")
        stored = rig.append()
        message = subscriber.wait_for("/emotions")[0]
        rig.wait_delivered()
        assert (message.json["seq"], message.json["historical"], message.qos) == (stored.seq, False, 1)
    assert not subscriber.of("/history")


def test_windows_are_never_retained(broker: Broker, tmp_path: Path) -> None:
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.wait_connected()
        rig.append()
        rig.wait_delivered()
    with Subscriber(broker.port, "countenance/hall/#") as late:
        for topic in ("/info", "/status"):  # in whatever order the broker keeps them
            late.wait_for(topic)
        assert {message.topic.rpartition("/")[2] for message in late.messages} == {"info", "status"}


def test_online_and_windows_come_before_what_describes_the_device(broker: Broker, tmp_path: Path) -> None:
    """A broker may hang up on the announcement: it must have cost no window by then."""
    with Subscriber(broker.port, "countenance/hall/#", "homeassistant/#") as subscriber:
        with publishing(make_config(tmp_path, broker.port), "abc") as rig:
            rig.append()
            rig.wait_connected()
            subscriber.wait_for("/config")
            order = [m.topic.rpartition("/")[2] for m in subscriber.messages if not m.topic.endswith("/health")]
        states = [message.json for message in subscriber.wait_for("/status", 2)]
    assert order[0] == "status"
    assert order[1] in ("emotions", "history")
    assert order[2:4] == ["info", "config"]
    assert [(each["state"], each["session"]) for each in states] == [("online", "abc"), ("stopped", "abc")]


def test_every_message_is_valid_and_documented(broker: Broker, tmp_path: Path) -> None:
    config = make_config(tmp_path, broker.port, health_s=1)
    with Subscriber(broker.port, "countenance/hall/#") as subscriber, publishing(config) as rig:
        rig.wait_connected()
        rig.health.observe("detect", 0.012)
        rig.health.count(Counter.FRAMES_DROPPED)
        for people in (5, 0, None):
            rig.append(people=people)
        subscriber.client.publish("countenance/hall/command/identify", b"{}")
        for topic, count in {"/emotions": 3, "/info": 1, "/health": 2, "/status": 1, "/response": 1}.items():
            for message in subscriber.wait_for(topic, count):
                validate(topic[1:], message.json)
                assert not undocumented(topic[1:], message.json)


def test_a_lost_link_leaves_the_will_and_is_corrected_by_the_next_birth(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/status") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        subscriber.wait_for("/status")
        connection = rig.publisher._connection
        assert connection is not None
        link = connection._client.socket()
        assert link is not None
        link.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        states = [message.json["state"] for message in subscriber.wait_for("/status", 3)]
    assert states[:3] == ["online", "offline", "online"]


def test_a_stale_offline_of_an_older_session_is_corrected(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "CORRECTION_S", 0.5)
    with (
        Subscriber(broker.port, "countenance/hall/status") as subscriber,
        publishing(make_config(tmp_path, broker.port), "new") as rig,
    ):
        rig.wait_connected()
        subscriber.wait_for("/status")
        stale = json.dumps({"schema": 1, "state": "offline", "session": "old"})
        subscriber.client.publish("countenance/hall/status", stale, qos=1, retain=True)
        states = [message.json for message in subscriber.wait_for("/status", 3)]
    assert [(each["state"], each["session"]) for each in states[1:3]] == [("offline", "old"), ("online", "new")]


# -- commands --------------------------------------------------------------------------------------------------------


def ask(subscriber: Subscriber, name: str, payload: object, retain: bool = False) -> dict[str, object]:
    before = len(subscriber.of("/response"))
    text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
    subscriber.client.publish(f"countenance/hall/command/{name}", text, qos=1, retain=retain)
    return subscriber.wait_for("/response", before + 1)[-1].json


def test_commands_are_carried_out_and_answered_with_their_transaction(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        answer = ask(subscriber, "set_window", {"seconds": 30, "transaction": "t-1"})
        assert (answer["status"], answer["transaction"], answer["data"]) == ("ok", "t-1", {"window_s": 30.0})
        assert ask(subscriber, "reload", {})["status"] == "ok"
        rig.controls.config_is_wrong = True
        refused = ask(subscriber, "reload", {})
        assert (refused["status"], "window.seconds" in str(refused["error"])) == ("error", True)
        assert ask(subscriber, "explode", {})["status"] == "error"
    assert rig.controls.calls == [30.0, "reload", "reload"]


def test_a_pause_shows_in_the_status_and_survives_a_restart(broker: Broker, tmp_path: Path) -> None:
    config = make_config(tmp_path, broker.port)
    with Subscriber(broker.port, "countenance/hall/#") as subscriber:
        with publishing(config) as rig:
            rig.wait_connected()
            ask(subscriber, "pause", {"transaction": 5})
            wait_until(lambda: subscriber.of("/status")[-1].json["paused"], what="a status that says paused")
        with publishing(config, "s2") as rig:
            rig.wait_connected()
            wait_until(lambda: subscriber.of("/status")[-1].json["session"] == "s2")
            assert subscriber.of("/status")[-1].json["paused"] is True
            ask(subscriber, "pause", {"on": False})
            wait_until(lambda: not subscriber.of("/status")[-1].json["paused"])


def test_a_retained_command_is_refused_at_every_connect(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port, "countenance/hall/#") as subscriber:
        subscriber.client.publish("countenance/hall/command/pause", b"{}", qos=1, retain=True)
        wait_until(lambda: subscriber.of("/command/pause"))
        with publishing(make_config(tmp_path, broker.port)) as rig:
            answer = subscriber.wait_for("/response")[0].json
    assert (answer["status"], "retain" in answer["error"]) == ("error", True)
    assert rig.controls.calls == []


def test_a_retained_command_is_refused_as_it_comes_and_deleting_it_asks_for_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    """To a subscription that stands a broker forwards both without the flag, unless it is asked not to."""
    with (
        Subscriber(broker.port, "countenance/hall/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        answer = ask(subscriber, "pause", {"on": False}, retain=True)
        assert (answer["status"], "retain" in str(answer["error"])) == ("error", True)
        subscriber.client.publish("countenance/hall/command/pause", b"", qos=1, retain=True)
        assert ask(subscriber, "identify", {"transaction": "next"})["transaction"] == "next"
    assert rig.controls.calls == ["identify"]


def test_a_flood_of_commands_is_bounded_and_windows_still_arrive(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/emotions") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        for number in range(3000):
            subscriber.client.publish("countenance/hall/command/identify", b"x" * (number % 4000), qos=0)
        rig.append()
        subscriber.wait_for("/emotions")


# -- Home Assistant --------------------------------------------------------------------------------------------------


def test_discovery_is_announced_again_when_home_assistant_starts(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "ANNOUNCE_JITTER_S", 0.5)
    with (
        Subscriber(broker.port, "homeassistant/device/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        subscriber.wait_for("/config")
        subscriber.client.publish("homeassistant/status", b"offline")
        subscriber.client.publish("homeassistant/status", b"online")
        first, second = subscriber.wait_for("/config", 2)
    assert first.payload == second.payload
    with Subscriber(broker.port, "homeassistant/device/#") as late:
        assert late.wait_for("/config")[0].retain


def test_turning_discovery_off_removes_the_device_from_home_assistant(broker: Broker, tmp_path: Path) -> None:
    topic = topics_of(make_config(tmp_path, broker.port)).discovery
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.wait_connected()
    with Subscriber(broker.port, topic) as subscriber:
        assert subscriber.wait_for("/config")[0].payload
        with publishing(make_config(tmp_path, broker.port, discovery=False)):
            assert subscriber.wait_for("/config", 2)[1].payload == b""


def test_a_window_of_another_length_makes_sensors_expire_later(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/response", "homeassistant/device/#") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        ask(subscriber, "set_window", {"seconds": 60})
        expiries = [m.json["cmps"]["happy"]["exp_aft"] for m in subscriber.wait_for("/config", 2)]
    assert expiries == [30, 180]


def test_info_tells_the_length_of_windows_as_it_is_now(broker: Broker, tmp_path: Path) -> None:
    with (
        Subscriber(broker.port, "countenance/hall/response", "countenance/hall/info") as subscriber,
        publishing(make_config(tmp_path, broker.port)) as rig,
    ):
        rig.wait_connected()
        ask(subscriber, "set_window", {"seconds": 60})
        assert [m.json["window_s"] for m in subscriber.wait_for("/info", 2)] == [10.0, 60.0]
        broker.restart()
        assert subscriber.wait_for("/info", 3)[2].json["window_s"] == 60.0


# -- starting and stopping -------------------------------------------------------------------------------------------


def test_stopping_without_a_broker_is_quick_and_stopping_twice_is_nothing(tmp_path: Path) -> None:
    with publishing(make_config(tmp_path, free_port())) as rig:
        rig.append()
        rig.publisher.stop()
        assert rig.store.stats().pending == 1


def test_what_closes_at_the_stop_is_still_sent_live(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port, "countenance/hall/#") as subscriber:
        with publishing(make_config(tmp_path, broker.port)) as rig:
            rig.wait_connected()
            for number in range(5):
                rig.append(number)
            rig.publisher.stop()
            assert rig.store.stats().pending == 0
        assert [m.json["seq"] for m in subscriber.wait_for("/emotions", 5)] == [1, 2, 3, 4, 5]


def test_a_long_backlog_does_not_hold_up_the_stop(broker: Broker, tmp_path: Path) -> None:
    config = make_config(tmp_path, broker.port, history_per_s=5)
    with Subscriber(broker.port, "countenance/hall/status") as subscriber, publishing(config) as rig:
        for number in range(100):
            rig.append(number, age_s=60)
        rig.wait_connected()
        start = time.monotonic()
        rig.publisher.stop()
        assert time.monotonic() - start < 2
        assert subscriber.wait_for("/status", 2)[-1].json["state"] == "stopped"
        assert rig.store.stats().pending > 50


def test_no_thread_is_left_behind(broker: Broker, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with publishing(make_config(tmp_path, broker.port)) as rig:
        rig.wait_connected()
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before
