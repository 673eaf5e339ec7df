"""A visit of doctor's to the broker."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from paho.mqtt.client import MQTTMessage

from edge_agent.cli.doctor.check import Check, failed, ok
from edge_agent.config import Config
from edge_agent.errors import BrokerError
from edge_agent.mqtt.connection import CLOSED_EARLY, NAMES, Connection
from edge_agent.mqtt.lessons import SILENT, Lessons
from edge_agent.mqtt.topics import topics_of

STEP_S = 10.0
KEPT_S = 1.0
"""For a message that the broker keeps."""


class Visit:
    """A client id of its own, so that a running agent is not thrown out; comes back where the broker hangs up."""

    def __init__(self, config: Config) -> None:
        self.config, self.topics = config, topics_of(config)
        self.connection: Connection | None = None
        self.heard: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self._lessons = Lessons(config.mqtt.version)
        self._changed = threading.Event()
        device = config.device.model_copy(update={"id": f"{config.device.id[:57]}-doctor"})
        self._as_visitor = config.model_copy(update={"device": device})

    def log_in(self) -> Check:
        """Connect, on the terms that the broker takes; :attr:`connection` is None if there are none."""
        user = self.config.mqtt.username
        told: list[str] = []
        while True:
            connection = self._come()
            protocol = NAMES[connection.terms.protocol]
            who = f"{protocol} as {f'user {user}' if user else 'an anonymous user'}"
            if connection.ready:
                self.connection = connection
                return ok("broker login", "; ".join([who, *told]))
            if not self._lessons.learn(connection):
                problem, _, hint = connection.problem.partition("; ")
                will = (
                    f"; writing {self.topics.status}, the last will, must be allowed" if CLOSED_EARLY in problem else ""
                )
                fix = hint or f"check mqtt.tls, mqtt.username, mqtt.version and the broker's log{will}"
                return failed("broker login", "; ".join([f"{who}: {problem}", *told]), fix)
            told.append(f"{protocol}: {connection.problem}")

    def _come(self) -> Connection:
        # An empty retained message as the will leaves nothing behind.
        will = f"{self.topics.base}/doctor", b""
        connection = Connection(
            self._as_visitor, self._lessons.terms, will, changed=self._changed.set, on_message=self.heard.put
        )
        try:
            connection.open()
            self._wait(lambda: connection.ready or connection.ended, connection)
        except BrokerError as error:
            connection.fail(str(error))
        if not connection.ready:
            connection.fail(f"{SILENT} within {STEP_S:.0f} s")
            connection.close(farewell=False)
        return connection

    def publish(self, topic: str, payload: bytes) -> str:
        """What the broker has against this message; empty if it takes it."""
        return self._try(lambda connection: connection.publish(topic, payload))

    def subscribe(self, topic_filter: str) -> str:
        """What the broker has against this subscription."""
        return self._try(lambda connection: connection.subscribe(topic_filter))

    def _try(self, send: Callable[[Connection], int]) -> str:
        if self.connection is None or (self.connection.ended and self.log_in().fix):
            return "no connection any more"
        connection, answers = self.connection, dict[int, str]()
        number = send(connection)

        def answered() -> bool:
            answers.update(connection.take_answers())
            return number in answers or connection.ended

        self._wait(answered, connection)
        if number in answers:
            return answers[number]
        return (
            f"the broker ends the link ({connection.problem})" if connection.ended else f"no answer in {STEP_S:.0f} s"
        )

    def wait_for_message(self, topic: str) -> MQTTMessage | None:
        """The first on this topic; what the broker keeps comes right after the subscription, or not at all."""
        end_s = time.monotonic() + KEPT_S
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                message = self.heard.get(timeout=left_s)
            except queue.Empty:
                break
            if message.topic == topic:
                return message
        return None

    def leave(self) -> None:
        """End the visit."""
        if self.connection is not None:
            self.connection.close(farewell=True)

    def _wait(self, condition: Callable[[], bool], connection: Connection) -> None:
        end_s = time.monotonic() + STEP_S
        while not condition() and time.monotonic() < end_s:
            if not connection.alive:
                connection.fail(CLOSED_EARLY)
            self._changed.wait(0.1)
            self._changed.clear()
