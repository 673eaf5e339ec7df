"""Keeps a connection to the broker and tells it everything: status, info, windows, health, answers, discovery.

One thread owns all of it. It makes a :class:`Connection`, holds a :class:`Conversation` over it to its end, and makes
the next one after a pause that grows; paho's thread only fills queues and wakes it. Nothing here blocks the pipeline.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from typing import Any

import paho.mqtt.client as mqtt

from edge_agent.config import Config
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.health.counters import Counter, Health
from edge_agent.host.clock import Clock
from edge_agent.live import Live
from edge_agent.message import encode
from edge_agent.mqtt.commands import Commands
from edge_agent.mqtt.connection import CLOSED_EARLY, Connection
from edge_agent.mqtt.conversation import Context, Conversation
from edge_agent.mqtt.lessons import SILENT, Lessons
from edge_agent.mqtt.notebook import Notebook
from edge_agent.mqtt.notices import Notices
from edge_agent.mqtt.payloads import DeviceInfo, will_payload
from edge_agent.mqtt.topics import topics_of
from edge_agent.store import Store

log = logging.getLogger(__name__)

CONNACK_S = 20.0
"""A broker that does not answer CONNECT for longer is given up."""
STEADY_S = 30.0
"""After a connection of this many seconds the pauses begin short again."""
TICK_S = 1.0
"""Longest sleep: after it the network thread is looked at, and a stalled link noticed."""
SESSIONS = 20
"""Runs of the agent that doctor can tell from those of another device."""
INBOX = 100
"""Messages from the broker that wait at most; more are dropped and counted."""


class Publisher:
    """Start it once, wake it after every ``store.append``, stop it last but one (the store is closed after it).

    Args:
        config: the configuration.
        store: where windows come from; the publisher settles them there.
        session: names this run of the agent.
        info: what ``.../info`` tells (docs/mqtt.md).
        commands: what answers requests.
        health: where it counts, and what ``.../health`` tells.
        live: how long windows last now.
        clock: tests step it.
    """

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        session: str,
        info: DeviceInfo,
        commands: Commands,
        health: Health,
        live: Live,
        clock: Clock | None = None,
    ) -> None:
        self._config, self._store, self._session, self._health = config, store, session, health
        self._context = Context(
            config, store, session, info, commands, health, clock or Clock(), topics_of(config), live,
            Lessons(config.mqtt.version), Notices(), Notebook(config),
        )  # fmt: skip
        self._inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue(maxsize=INBOX)
        self._wake = threading.Event()
        self._stop_by_s: float | None = None
        self._connection: Connection | None = None
        self._context.notebook.set("sessions", [*_sessions(self._context.notebook), session][-SESSIONS:])
        self._lessons, self._problems = self._context.lessons, Notices()
        self._failures, self._at_once = 0, False
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect, in a thread; the broker may be down."""
        self._thread.start()

    def wake(self) -> None:
        """There is a new window in the store, or the agent was paused."""
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is live, say ``stopped`` and disconnect, within ``timeout_s``; later calls change nothing."""
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + timeout_s
            self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s + 1.0)

    @property
    def connected(self) -> bool:
        """Whether the broker has our birth and our subscriptions, and the link is up as far as is known."""
        connection = self._connection
        return connection is not None and connection.ready and not connection.ended

    @property
    def problem(self) -> str:
        """Why it is not connected, in one line."""
        return "" if self.connected else self._problem

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._stop_by_s is None:
            try:
                self._one_connection()
            except (BrokerError, ConfigError) as error:
                self._report(str(error))
            except Exception:
                log.exception("defect in the publisher; it connects again")
            if self._stop_by_s is None and not self._at_once:
                self._pause()

    def _one_connection(self) -> None:
        self._at_once = False
        will = self._context.topics.status, encode(will_payload(self._session))
        connection = Connection(
            self._config, self._lessons.terms, will, changed=self._wake.set, on_message=self._receive
        )
        try:
            connection.open()
            self._await_connack(connection)
            if connection.ready and not connection.ended:
                self._converse(connection)
        finally:
            self._connection = None
            connection.close(farewell=self._stop_by_s is not None)
        if self._stop_by_s is None:
            self._learn_from(connection)

    def _await_connack(self, connection: Connection) -> None:
        deadline_s = time.monotonic() + CONNACK_S
        while not (connection.ready or connection.ended or self._stop_by_s is not None):
            self._wake.wait(0.2)
            self._wake.clear()
            if time.monotonic() > deadline_s:
                connection.fail(f"{SILENT} within {CONNACK_S:g} s")
            elif not connection.alive:
                connection.fail(CLOSED_EARLY)

    def _converse(self, connection: Connection) -> None:
        since_s = time.monotonic()
        where = f"{self._config.mqtt.host}:{self._config.mqtt.port}"
        log.info("MQTT: connected to %s with %s", where, connection.terms)
        self._health.count(Counter.MQTT_CONNECTS)
        conversation = Conversation(self._context, connection, self._inbox)
        while not connection.ended and not self._is_done(conversation):
            self._wake.clear()
            now_s = time.monotonic()
            delay_s = conversation.turn(now_s, history=self._stop_by_s is None)
            if conversation.greeted:
                self._connection = connection
            if not connection.alive and not connection.ended:
                self._health.count(Counter.MQTT_THREAD_DEATHS)
                connection.fail("the network thread died")
            if now_s - since_s > STEADY_S:
                self._failures, connection.one_at_a_time = 0, False
                self._problems.forget()
            self._wake.wait(min(delay_s, TICK_S))
            self._store.flush()
        if self._stop_by_s is not None and not connection.ended:
            conversation.say_goodbye(self._stop_by_s, self._wake)
        conversation.end()

    def _is_done(self, conversation: Conversation) -> bool:
        """When stopping: what is live is sent, or a second is left for the farewell; the backlog waits."""
        return self._stop_by_s is not None and (conversation.live_is_done or time.monotonic() > self._stop_by_s - 1.0)

    def _learn_from(self, connection: Connection) -> None:
        """Tell how the connection ended, and what that means for the next."""
        self._health.count(Counter.MQTT_DISCONNECTS if connection.ready else Counter.MQTT_REFUSALS)
        self._at_once = self._lessons.learn(connection)
        self._context.notebook.set("left_out", [str(each) for each in self._lessons.left_out])
        if self._at_once:
            log.info("MQTT: %s; trying %s", connection.problem, self._lessons.terms)
        else:
            self._report(f"{self._config.mqtt.host}:{self._config.mqtt.port}: {connection.problem}")

    def _pause(self) -> None:
        """Wait before the next attempt: 1 s, doubled to ``mqtt.reconnect_max_s``, and up to half of it less."""
        longest_s = min(2.0**self._failures, self._config.mqtt.reconnect_max_s)
        if not self._lessons.investigates:
            self._failures = min(self._failures + 1, 16)
        end_s = time.monotonic() + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 (spreads devices, hides nothing)
        while self._stop_by_s is None and (left_s := end_s - time.monotonic()) > 0:
            self._wake.wait(left_s)
            self._wake.clear()
            self._store.flush()

    def _report(self, problem: str) -> None:
        self._problem = problem
        self._problems.tell(problem, f"{problem}; windows are kept and sent later")

    def _receive(self, message: mqtt.MQTTMessage) -> None:
        """Called by paho's thread."""
        try:
            self._inbox.put_nowait(message)
        except queue.Full:
            self._context.dropped += 1
            self._health.count(Counter.MQTT_MESSAGES_DROPPED)
        self._wake.set()


def _sessions(notebook: Notebook) -> list[Any]:
    sessions = notebook.get("sessions")
    return sessions if isinstance(sessions, list) else []
