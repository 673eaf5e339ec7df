"""Can this device publish: name, link, login and a message that is acknowledged, one step after the other."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.cli.doctor.check import Check, failed, ok
from edge_agent.config import Config, MqttConfig
from edge_agent.config.credentials import mqtt_password
from edge_agent.errors import BrokerError
from edge_agent.mqtt.connection import CLOSED_EARLY, UNSUPPORTED_VERSION, Connection
from edge_agent.mqtt.topics import topics_of

STEP_S = 10.0
INSTALLED_PASSWORD = Path("/etc/countenance/mqtt_password")
"""Where systemd/install.sh keeps the password that systemd passes to the service as a credential."""


def examine(config: Config) -> Iterable[Check]:
    """Resolve, connect, authenticate, publish; the first step that fails is the last that is reported."""
    if not config.mqtt.enabled:
        yield ok("broker", "not used (mqtt.enabled is false)")
        return
    for step in (_resolve, _connect):
        check = step(config.mqtt)
        yield check
        if check.fix:
            return
    yield from _talk(_with_password_of_the_service(config))


def _with_password_of_the_service(config: Config) -> Config:
    """As root, the doctor may read what the service gets as a credential. Otherwise the login would fail only here."""
    if mqtt_password(config.mqtt.password_file) is not None or not os.access(INSTALLED_PASSWORD, os.R_OK):
        return config
    mqtt = config.mqtt.model_copy(update={"password_file": INSTALLED_PASSWORD})
    return config.model_copy(update={"mqtt": mqtt})


def _resolve(mqtt: MqttConfig) -> Check:
    try:
        found = socket.getaddrinfo(mqtt.host, mqtt.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return failed("broker name", f"{mqtt.host}: {error.strerror}", "check mqtt.host, network and DNS")
    return ok("broker name", f"{mqtt.host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}")


def _connect(mqtt: MqttConfig) -> Check:
    where = f"{mqtt.host}:{mqtt.port}"
    started_s = time.perf_counter()
    try:
        socket.create_connection((mqtt.host, mqtt.port), STEP_S).close()
    except OSError as error:
        return failed(
            "broker link",
            f"{where}: {error.strerror or error}",
            "is the broker running, mqtt.port right, no firewall between?",
        )
    return ok("broker link", f"{where} answers in {(time.perf_counter() - started_s) * 1000:.0f} ms")


def _talk(config: Config) -> Iterator[Check]:
    """Log in with MQTT 5, or with 3.1.1 if the broker knows nothing newer, and publish."""
    session = _Session(config, MQTTProtocolVersion.MQTTv5)
    try:
        if not session.log_in() and (UNSUPPORTED_VERSION in session.problem or session.problem == CLOSED_EARLY):
            session.close()
            session = _Session(config, MQTTProtocolVersion.MQTTv311)
            session.log_in()
        yield session.login_check()
        if session.logged_in:
            yield session.publish_check()
    finally:
        session.close()


class _Session:
    """A visit with another client id, so that the broker does not disconnect a running agent."""

    def __init__(self, config: Config, protocol: MQTTProtocolVersion) -> None:
        self._topic = f"{topics_of(config).base}/doctor"
        self._login = f"{'MQTT 5' if protocol == MQTTProtocolVersion.MQTTv5 else 'MQTT 3.1.1'} as " + (
            f"user {config.mqtt.username}" if config.mqtt.username else "an anonymous user"
        )
        self._changed = threading.Event()
        visitor = config.device.model_copy(update={"id": f"{config.device.id[:57]}-doctor"})
        # The will is an empty retained message, which leaves nothing behind.
        self._connection = Connection(
            config.model_copy(update={"device": visitor}),
            protocol,
            will=(self._topic, b""),
            changed=self._changed.set,
            on_message=lambda _message: None,
        )
        self.problem = ""

    @property
    def logged_in(self) -> bool:
        """Whether the broker accepted us."""
        return self._connection.ready

    def log_in(self) -> bool:
        """Connect and wait for the broker's answer; ``problem`` says why it failed."""
        try:
            self._connection.open()
        except BrokerError as error:
            self.problem = str(error)
            return False
        self._wait(lambda: self._connection.ready or self._connection.ended)
        self.problem = self._connection.problem or ("" if self.logged_in else f"no answer within {STEP_S:.0f} s")
        return self.logged_in

    def login_check(self) -> Check:
        """How logging in went."""
        if self.logged_in:
            return ok("broker login", self._login)
        problem, _, hint = self.problem.partition("; ")
        return failed(
            "broker login", f"{self._login}: {problem}", hint or "check mqtt.tls, mqtt.username and the broker's log"
        )

    def publish_check(self) -> Check:
        """Publish a line that is not retained, and wait for its PUBACK."""
        connection, started_s = self._connection, time.perf_counter()
        number = connection.publish(self._topic, json.dumps({"doctor": "hello"}).encode(), qos=1)
        answers: dict[int, str] = {}

        def answered() -> bool:
            answers.update(connection.take_acknowledged())
            return number in answers or connection.ended

        self._wait(answered)
        took = f"acknowledged in {(time.perf_counter() - started_s) * 1000:.0f} ms"
        if answers.get(number) == "":
            return ok("broker publish", f"{self._topic} {took}")
        reason = answers.get(number) or connection.problem or f"not acknowledged within {STEP_S:.0f} s"
        fix = "let this user write this topic and the device's others, as configs/mosquitto/acl does"
        return failed("broker publish", f"{self._topic}: {reason}", fix)

    def close(self) -> None:
        """End the visit."""
        self._connection.close(farewell=True)

    def _wait(self, condition: Callable[[], bool]) -> None:
        end_s = time.monotonic() + STEP_S
        while not condition() and time.monotonic() < end_s:
            self._changed.wait(0.1)
            self._changed.clear()
