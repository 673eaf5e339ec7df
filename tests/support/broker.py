"""A real mosquitto on a free loopback port, and a subscriber that remembers what it saw."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from tests.support.programs import require

READY_S = 10.0


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0, what: str | Callable[[], str] = "") -> Any:
    """Poll until ``condition()`` is true and return its value, else fail the test saying what was awaited.

    ``what`` is a function where it tells of a state: what counts is the one after the wait.
    """
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            awaited = what() if callable(what) else what
            pytest.fail(f"not within {timeout_s:g} s: {awaited or condition}")
        time.sleep(0.02)


class Broker:
    """mosquitto without persistence; ``extra`` lines go into its configuration (listener options, ACLs, TLS)."""

    def __init__(self, directory: Path, extra: str = "allow_anonymous true", port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    def configuration(self) -> str:
        return f"listener {self.port} 127.0.0.1\npersistence false\n{self.extra}\n"

    def start(self) -> Broker:
        program = require("mosquitto", "mosquitto")
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(user + self.configuration())
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-v", "-c", str(config)], stdout=log, stderr=log)
        wait_until(self._is_ready, READY_S, lambda: f"mosquitto on port {self.port}: {self.log()[-500:]}")
        return self

    def stop(self, kill: bool = False) -> None:
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Everything retained is forgotten, since there is no persistence."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Read passwords and access list again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        path = self.directory / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"mosquitto ended with {self._process.returncode}: {self.log()[-1000:]}")
        return is_open(self.port)

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(kill=True)


@dataclass(frozen=True)
class Message:
    """One message as a subscriber got it."""

    topic: str
    payload: bytes
    retain: bool
    qos: int

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Subscriber:
    """An independent client that keeps every message on ``topics``; a context manager."""

    def __init__(self, port: int, *topics: str, protocol: int = mqtt.MQTTv5, **credentials: str) -> None:
        self.messages: list[Message] = []
        self._topics = topics
        self._port = port
        self._ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
        if credentials:
            self.client.username_pw_set(**credentials)
        self.client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.messages.append(
            Message(message.topic, message.payload, message.retain, message.qos)
        )

    def __enter__(self) -> Subscriber:
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", self._port)
        self.client.loop_start()
        if not self._ready.wait(10):
            pytest.fail(f"no subscription to {self._topics} within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def of(self, topic_end: str) -> list[Message]:
        """Messages whose topic ends so, in the order of arrival."""
        return [message for message in list(self.messages) if message.topic.endswith(topic_end)]

    def wait_for(self, topic_end: str, count: int = 1, timeout_s: float = 15.0) -> list[Message]:
        """The messages whose topic ends so, once there are ``count`` of them; else the test fails."""
        wait_until(
            lambda: len(self.of(topic_end)) >= count,
            timeout_s,
            lambda: f"{count} messages on ...{topic_end}; there are {len(self.of(topic_end))}",
        )
        return self.of(topic_end)
