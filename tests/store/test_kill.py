"""Promise 10: the whole agent is killed at random points, and every window that its store took is seen on MQTT."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber, wait_until
from tests.support.fault_proxy import FaultProxy

Key = tuple[str, int]


def stored(path: Path) -> set[Key]:
    """(session, seq) of every window in the file."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return set(connection.execute("SELECT session, seq FROM windows").fetchall())
    return set()


def seen(subscriber: Subscriber, topic_end: str) -> list[Key]:
    return [(m.json["session"], m.json["seq"]) for m in subscriber.of(topic_end)]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("rounds", [12, pytest.param(500, marks=pytest.mark.device)])
def test_every_window_of_a_killed_agent_is_seen(broker: Broker, tmp_path: Path, rounds: int) -> None:
    dice = random.Random(rounds)
    # Killed within a minute, no run writes down what was delivered: the last one tells all of it again, and quickly.
    mqtt = {"port": broker.port, "reconnect_max_s": 1, "history_per_s": 1000}
    config = configure(tmp_path, mqtt=mqtt, window={"seconds": 1})
    database = tmp_path / "windows.sqlite"
    taken: set[Key] = set()
    with Subscriber(broker.port, "countenance/test/#") as subscriber:
        for _ in range(rounds):
            with AgentProcess("run", "-c", config, folder=tmp_path) as agent:
                if dice.random() < 0.4:  # on a busy machine a start takes longer than a life is meant to
                    wait_until(lambda: len(stored(database)) > len(taken), 60, "a window")  # noqa: B023
                time.sleep(dice.uniform(0.1, 2.0))
                agent.process.send_signal(signal.SIGKILL)
                agent.process.wait()
            taken |= stored(database)
        earlier = {message.json["session"] for message in subscriber.of("/status")}
        with AgentProcess("run", "-c", config, folder=tmp_path) as agent:
            wait_until(lambda: online(subscriber) - earlier, 60, "the last agent is online")
            wait_until(lambda: taken <= everything(subscriber), 60, "every stored window is seen")
            assert agent.stop() == 0
        taken |= stored(database)
        wait_until(lambda: taken <= everything(subscriber), 10, "the last windows, too")
        live, history = seen(subscriber, "/emotions"), seen(subscriber, "/history")
    assert len(taken) > rounds / 3, "the rounds are long enough for windows to close"
    assert len({session for session, _ in taken}) > rounds / 4
    assert everything(subscriber) <= taken, "nothing is told that is not on the disk"
    assert_in_order(live)
    assert_in_order(history)
    assert "defect" not in agent.log


def assert_in_order(topic: list[Key]) -> None:
    """Within each session, first occurrences ascend."""
    for session in {session for session, _ in topic}:
        first = list(dict.fromkeys(seq for own, seq in topic if own == session))
        assert first == sorted(first)


class LastingBroker(Broker):
    """Keeps what it has acknowledged, also over a restart."""

    def configuration(self) -> str:
        lasting = f"persistence true\npersistence_location {self.directory}/\nmax_queued_messages 0\n"
        return f"listener {self.port} 127.0.0.1\n{lasting}{self.extra}\n"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.device)])
def test_order_holds_under_kills_cuts_and_restarts_of_the_broker(tmp_path: Path, rounds: int) -> None:
    dice = random.Random(rounds)
    got: list[mqtt.MQTTMessage] = []
    archive = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="archive", clean_session=False)
    archive.on_connect = lambda client, *_: client.subscribe("countenance/#", 1)
    archive.on_message = lambda _client, _data, message: got.append(message)
    archive.reconnect_delay_set(1, 1)

    def on(topic_end: str) -> list[Key]:
        windows = [json.loads(message.payload) for message in list(got) if message.topic.endswith(topic_end)]
        return [(window["session"], window["seq"]) for window in windows]

    with LastingBroker(tmp_path / "broker") as broker, FaultProxy(broker.port) as proxy:
        mqtt_settings = {"port": proxy.port, "reconnect_max_s": 1, "history_per_s": 5}
        config = configure(tmp_path, mqtt=mqtt_settings, window={"seconds": 1})
        archive.connect("127.0.0.1", broker.port)
        archive.loop_start()
        for _ in range(rounds):
            before = len(stored(tmp_path / "windows.sqlite"))
            with AgentProcess("run", "-c", config, folder=tmp_path) as agent:
                wait_until(lambda: len(stored(tmp_path / "windows.sqlite")) > before + 1, 60, "two windows")  # noqa: B023
                for _ in range(dice.randint(2, 4)):
                    time.sleep(dice.uniform(0.5, 2.0))
                    proxy.cut() if dice.random() < 0.5 else broker.restart()
                time.sleep(dice.uniform(0.1, 3.0))
                agent.process.kill()
                agent.process.wait()
        taken = stored(tmp_path / "windows.sqlite")
        with AgentProcess("run", "-c", config, folder=tmp_path):
            wait_until(lambda: taken <= {*on("/emotions"), *on("/history")}, 120, "every stored window is seen")
        archive.loop_stop()
    assert len(taken) > rounds
    assert_in_order(on("/emotions"))
    assert_in_order(on("/history"))


def online(subscriber: Subscriber) -> set[str]:
    return {m.json["session"] for m in subscriber.of("/status") if m.json["state"] == "online"}


def everything(subscriber: Subscriber) -> set[Key]:
    return set(seen(subscriber, "/emotions") + seen(subscriber, "/history"))
