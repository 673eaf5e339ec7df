"""Keeps a connection to the broker and tells it everything: status, info, windows, health, answers, discovery.

One thread owns all of it. It makes a :class:`Connection`, serves it until it ends, and makes the next one after a
pause that grows; paho's thread only fills queues and wakes it. Nothing here ever blocks the pipeline.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent.clock import Clock
from edge_agent.commands import Commands, Controls
from edge_agent.config import Config
from edge_agent.connection import CLOSED_EARLY, UNSUPPORTED_VERSION, Connection
from edge_agent.discovery import discovery_payload
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.health import Health
from edge_agent.message import encode, info_payload, status_payload
from edge_agent.outbox import Outbox
from edge_agent.report import health_payload
from edge_agent.store import Store
from edge_agent.topics import topics_of

log = logging.getLogger(__name__)

CONNACK_S = 20.0
"""A broker that does not answer CONNECT for longer is given up."""
STEADY_S = 30.0
"""A connection that stood this long ends the growing of the pauses."""
CORRECTION_S = 10.0
"""At least this long between two corrections of our status: two devices of one name must not shout at each other."""
ANNOUNCE_JITTER_S = 5.0
"""Home Assistant's restart must not make a thousand devices answer in the same instant."""
TICK_S = 1.0
"""Longest sleep: after it the network thread is looked at, and a stalled link noticed."""
REMIND_S = 3600.0
"""An unchanged problem is logged again after so long."""


class Publisher:
    """Start it once, wake it after every ``store.append``, stop it last but one (the store is closed after it)."""

    def __init__(
        self,
        config: Config,
        store: Store,
        session: str,
        info: Mapping[str, Any],
        controls: Controls,
        health: Health,
        labels: tuple[str, ...],
        clock: Clock | None = None,
    ) -> None:
        self._config, self._store, self._session, self._info = config, store, session, dict(info)
        self._health, self._labels, self._clock = health, labels, clock or Clock()
        self._window_s = config.window.seconds
        self._topics = topics_of(config)
        self._commands = Commands(controls)
        self._inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue(maxsize=100)
        self._wake = threading.Event()
        self._stop_by_s: float | None = None
        self._connection: Connection | None = None
        self._speaks_5, self._hang_ups = config.mqtt.version != "3.1.1", 0
        self._failures = 0
        self._problem = ("", 0.0)
        self._due: dict[str, float] = {}
        self._status_sent_s, self._status_paused = 0.0, False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect, in a thread of its own; the broker may be down."""
        self._thread.start()

    def wake(self) -> None:
        """There is a new window in the store."""
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is fresh, say ``stopped`` and disconnect, within ``timeout_s``; later calls change nothing."""
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + timeout_s
            self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s + 1.0)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the link stands, as far as anyone knows."""
        connection = self._connection
        return connection is not None and connection.ready and not connection.ended

    @property
    def problem(self) -> str:
        """Why it is not connected, in one line."""
        return "" if self.connected else self._problem[0]

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._stop_by_s is None:
            try:
                self._one_connection()
            except (BrokerError, ConfigError) as error:
                self._report(str(error))
            except Exception:
                log.exception("defect in the publisher; it connects anew")
            if self._stop_by_s is None:
                self._pause()

    def _one_connection(self) -> None:
        will = encode(status_payload("offline", self._session))
        connection = Connection(
            self._config, self._protocol, (self._topics.status, will), self._wake.set, self._receive
        )
        try:
            connection.open()
            self._await_connack(connection)
            if connection.ready and not connection.ended:
                self._connection = connection
                self._serve(connection)
        finally:
            self._connection = None
            connection.close(farewell=self._stop_by_s is not None)
        if self._stop_by_s is None:
            self._after(connection)

    def _await_connack(self, connection: Connection) -> None:
        deadline_s = time.monotonic() + CONNACK_S
        while not (connection.ready or connection.ended or self._stop_by_s is not None):
            self._wake.wait(0.2)
            self._wake.clear()
            if time.monotonic() > deadline_s:
                connection.fail(f"no answer to CONNECT within {CONNACK_S:g} s")
            elif not connection.alive:
                connection.fail(CLOSED_EARLY)

    def _after(self, connection: Connection) -> None:
        """Learn from how the connection ended."""
        self._report(f"{self._config.mqtt.host}:{self._config.mqtt.port}: {connection.problem}")
        self._health.count("mqtt_disconnects" if connection.ready else "mqtt_refusals")
        if self._config.mqtt.version == "auto":
            self._speaks_5 = self._speaks_5 and UNSUPPORTED_VERSION not in connection.problem
            self._hang_ups = self._hang_ups + 1 if connection.problem == CLOSED_EARLY else 0

    @property
    def _protocol(self) -> MQTTProtocolVersion:
        """MQTT 5, unless the broker refused it; some old ones hang up instead, so after a hang-up they go in turns."""
        return mqtt.MQTTv5 if self._speaks_5 and self._hang_ups % 2 == 0 else mqtt.MQTTv311

    def _pause(self) -> None:
        """Wait before the next attempt: 1 s, doubled to ``mqtt.reconnect_max_s``, and up to half of it less."""
        longest_s = min(2.0**self._failures, self._config.mqtt.reconnect_max_s)
        self._failures = min(self._failures + 1, 16)
        end_s = time.monotonic() + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 (spreads devices, hides nothing)
        while self._stop_by_s is None and (left_s := end_s - time.monotonic()) > 0:
            self._wake.wait(left_s)
            self._wake.clear()
            self._store.flush()

    def _report(self, problem: str) -> None:
        """Log a problem when it is new, and an old one every hour."""
        text, reported_s = self._problem
        now_s = time.monotonic()
        if problem != text or now_s - reported_s >= REMIND_S:
            log.error("MQTT: %s; windows are kept and sent later", problem)
            self._problem = (problem, now_s)

    # -- one connection -----------------------------------------------------------------------------------------

    def _serve(self, connection: Connection) -> None:
        since_s = time.monotonic()
        log.info(
            "MQTT: connected to %s:%d with %s", self._config.mqtt.host, self._config.mqtt.port, connection.protocol.name
        )
        self._health.count("mqtt_connects")
        outbox = Outbox(
            self._store, self._session, self._config.device.id, self._topics, connection.publish, self._health,
            self._config.mqtt.history_per_s,
        )  # fmt: skip
        self._greet(connection)
        while not connection.ended and not self._is_done(outbox):
            self._wake.clear()
            outbox.acknowledge(connection.take_acknowledged())
            self._answer_messages(connection)
            now_s = time.monotonic()
            self._do_what_is_due(connection, now_s)
            delay_s = outbox.send(now_s)
            self._check(connection, outbox, now_s)
            if now_s - since_s > STEADY_S:
                self._failures, self._problem = 0, ("", 0.0)
            self._wake.wait(max(0.0, min(delay_s, TICK_S)))
            self._store.flush()
        if not connection.ended:
            self._say_goodbye(connection, outbox)
        outbox.acknowledge(connection.take_acknowledged())

    def _is_done(self, outbox: Outbox) -> bool:
        if self._stop_by_s is None:
            return False
        return outbox.idle or time.monotonic() > self._stop_by_s - 1.0

    def _check(self, connection: Connection, outbox: Outbox, now_s: float) -> None:
        if not connection.alive:
            self._health.count("mqtt_thread_deaths")
            connection.fail("the network thread died")
        elif outbox.stalled(now_s):
            connection.fail("the broker does not acknowledge")

    def _greet(self, connection: Connection) -> None:
        """Subscriptions first and ``online`` last: whoever sees it can rely on all the rest."""
        filters = [self._topics.status, self._topics.commands]
        if self._config.mqtt.discovery:
            filters.append(self._topics.home_assistant_status)
        connection.subscribe(filters)
        connection.publish(
            self._topics.info, encode(info_payload(self._config.device.id, self._session, self._info)), retain=True
        )
        self._announce(connection)
        self._send_status(connection, "online")
        self._due = {"health": time.monotonic()}

    def _say_goodbye(self, connection: Connection, outbox: Outbox) -> None:
        farewell = self._send_status(connection, "stopped")
        while not connection.ended and time.monotonic() < (self._stop_by_s or 0.0):
            pubacks = connection.take_acknowledged()
            outbox.acknowledge(pubacks)
            if any(mid == farewell for mid, _ in pubacks):
                return
            self._wake.wait(0.05)
            self._wake.clear()

    def _send_status(self, connection: Connection, state: str) -> int:
        self._status_sent_s, self._status_paused = time.monotonic(), self._store.paused
        payload = encode(status_payload(state, self._session, self._status_paused))
        return connection.publish(self._topics.status, payload, retain=True)

    def _announce(self, connection: Connection) -> None:
        """Home Assistant's retained configuration; an empty one where discovery is off removes the device there."""
        payload = b""
        if self._config.mqtt.discovery:
            payload = encode(discovery_payload(self._config, self._labels, self._info, self._window_s))
        connection.publish(self._topics.discovery, payload, retain=True)

    def _do_what_is_due(self, connection: Connection, now_s: float) -> None:
        if now_s >= self._due.get("health", 0.0):
            self._due["health"] = now_s + self._config.mqtt.health_s
            health = health_payload(self._config, self._session, self._health, self._store, self._clock)
            connection.publish(self._topics.health, encode(health), qos=0)
        if now_s >= self._due.get("announce", now_s + 1):
            del self._due["announce"]
            self._announce(connection)
        if now_s >= self._due.get("status", now_s + 1) or self._status_paused != self._store.paused:
            self._due.pop("status", None)
            self._send_status(connection, "online")

    # -- what the broker sends ----------------------------------------------------------------------------------

    def _receive(self, message: mqtt.MQTTMessage) -> None:
        """Called by paho's thread."""
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            self._health.count("mqtt_messages_dropped")
        self._wake.set()

    def _answer_messages(self, connection: Connection) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._answer(connection, message)

    def _answer(self, connection: Connection, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._topics.status:
            self._correct_status(bytes(message.payload))
        elif message.topic == self._topics.home_assistant_status:
            if message.payload == b"online" and not message.retain:
                self._due["announce"] = time.monotonic() + random.uniform(0.0, ANNOUNCE_JITTER_S)  # noqa: S311
        else:
            self._obey(connection, message)

    def _obey(self, connection: Connection, message: mqtt.MQTTMessage) -> None:
        name = message.topic.rsplit("/", 1)[-1]
        response = self._commands.answer(name, bytes(message.payload), message.retain)
        connection.publish(self._topics.response, encode(response))
        self._health.count("commands")
        if "window_s" in response["data"]:
            self._window_s = response["data"]["window_s"]
            self._announce(connection)

    def _correct_status(self, payload: bytes) -> None:
        """A will of an older session may arrive after our birth: say again that we are here."""
        expected = [encode(status_payload("online", self._session, paused)) for paused in (True, False)]
        if payload not in expected:
            self._due.setdefault("status", max(time.monotonic(), self._status_sent_s + CORRECTION_S))
