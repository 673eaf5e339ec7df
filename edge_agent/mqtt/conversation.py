"""What is said over one connection, from the greeting to the farewell."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from dataclasses import dataclass

import paho.mqtt.client as mqtt

from edge_agent.config import Config
from edge_agent.health.counters import Counter, Health
from edge_agent.health.summary import health_payload
from edge_agent.host.clock import Clock
from edge_agent.live import Live
from edge_agent.message import encode
from edge_agent.mqtt.commands import Commands
from edge_agent.mqtt.connection import Connection
from edge_agent.mqtt.discovery import discovery_payload
from edge_agent.mqtt.outbox import Outbox
from edge_agent.mqtt.payloads import DeviceInfo, info_payload, status_payload
from edge_agent.mqtt.topics import Topics
from edge_agent.store import Store

log = logging.getLogger(__name__)

CORRECTION_S = 10.0
"""At least this long between two corrections of our status: two devices of one name must not shout at each other."""
ANNOUNCE_JITTER_S = 5.0
"""Home Assistant's restart must not make a thousand devices answer in the same instant."""
COMMANDS_AT_ONCE = 10
"""Between two looks at the outbox: a flood of commands does not hold up windows."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """What every conversation needs, and what outlives it."""

    config: Config
    store: Store
    session: str
    info: DeviceInfo
    commands: Commands
    health: Health
    clock: Clock
    topics: Topics
    live: Live


class Conversation:
    """Belongs to the publisher's thread, which calls :meth:`turn` again and again."""

    def __init__(self, speaker: Speaker, connection: Connection, inbox: queue.Queue[mqtt.MQTTMessage]) -> None:
        self._speaker, self._connection, self._inbox = speaker, connection, inbox
        self._topics = speaker.topics
        config = speaker.config
        self._outbox = Outbox(
            speaker.store, speaker.session, config.device.id, speaker.topics, connection.publish, speaker.health,
            config.mqtt.history_per_s,
        )  # fmt: skip
        self._told: dict[int, str] = {}
        self._due: dict[str, float] = {}
        self._status_sent_s, self._status_paused, self._told_window_s = 0.0, False, 0.0
        self._greet()

    @property
    def greeted(self) -> bool:
        """Whether the broker has all that we said of ourselves so far."""
        return not self._told

    def turn(self, now_s: float, history: bool) -> float:
        """Do everything that there is to do now, with or without the backlog; seconds until there may be more."""
        self._take_acknowledged()
        self._hear()
        self._do_what_is_due(now_s)
        delay_s = self._outbox.send(now_s, history)
        if self._outbox.stalled(now_s):
            self._connection.fail("the broker does not acknowledge")
        return delay_s if self._inbox.empty() else 0.0

    @property
    def live_is_done(self) -> bool:
        """Whether the broker has every live window."""
        return self._outbox.live_is_done

    def say_goodbye(self, by_s: float, wake: threading.Event) -> None:
        """Say ``stopped`` and wait until the broker has it, at most until the monotonic time ``by_s``."""
        farewell = self._send_status("stopped")
        while farewell in self._told and not self._connection.ended and time.monotonic() < by_s:
            wake.wait(0.05)
            wake.clear()
            self._take_acknowledged()

    def end(self) -> None:
        """Take the last PUBACKs."""
        self._take_acknowledged()

    def _greet(self) -> None:
        """Subscriptions first and ``online`` last: whoever sees it can rely on all the rest."""
        speaker = self._speaker
        filters = [self._topics.status]
        if speaker.config.mqtt.discovery:
            filters.append(self._topics.home_assistant_status)
        self._connection.subscribe(filters)
        self._connection.subscribe([self._topics.commands], as_published=True)
        self._send_info()
        self._announce()
        self._send_status("online")

    def _tell(self, topic: str, payload: bytes, retain: bool = False) -> int:
        """Publish what is no window; a refusal is told, too."""
        mid = self._connection.publish(topic, payload, retain=retain)
        self._told[mid] = topic
        return mid

    def _take_acknowledged(self) -> None:
        pubacks = self._connection.take_acknowledged()
        self._outbox.acknowledge(pubacks)
        for mid, refusal in pubacks:
            topic = self._told.pop(mid, None)
            if topic is not None and refusal:
                log.error("the broker refused %s: %s; its access list must allow it", topic, refusal)

    def _send_status(self, state: str) -> int:
        store = self._speaker.store
        self._status_sent_s, self._status_paused = time.monotonic(), store.paused
        payload = status_payload(state, self._speaker.session, self._status_paused)
        return self._tell(self._topics.status, encode(payload), retain=True)

    def _send_info(self) -> None:
        """With the length of windows as it is now."""
        speaker = self._speaker
        self._told_window_s = speaker.live.state.window_s
        info = info_payload(speaker.config.device.id, speaker.session, speaker.info, self._told_window_s)
        self._tell(self._topics.info, encode(info), retain=True)

    def _announce(self) -> None:
        """Home Assistant's retained configuration; an empty one where discovery is off removes the device there."""
        speaker = self._speaker
        payload = b""
        if speaker.config.mqtt.discovery:
            payload = encode(discovery_payload(speaker.config, speaker.info, speaker.live.state.window_s))
        self._tell(self._topics.discovery, payload, retain=True)

    def _do_what_is_due(self, now_s: float) -> None:
        if now_s >= self._due.get("health", 0.0):
            self._due["health"] = now_s + self._speaker.config.mqtt.health_s
            self._send_health()
        if now_s >= self._due.get("announce", now_s + 1):
            del self._due["announce"]
            self._announce()
        if self._told_window_s != self._speaker.live.state.window_s:
            self._send_info()
            self._announce()
        if now_s >= self._due.get("status", now_s + 1) or self._status_paused != self._speaker.store.paused:
            self._due.pop("status", None)
            self._send_status("online")

    def _send_health(self) -> None:
        speaker = self._speaker
        payload = health_payload(speaker.config, speaker.session, speaker.health, speaker.store, speaker.clock)
        self._connection.publish(self._topics.health, encode(payload), qos=0)

    def _hear(self) -> None:
        for _ in range(COMMANDS_AT_ONCE):
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            if message.topic == self._topics.status:
                self._check_status(message)
            elif message.topic == self._topics.home_assistant_status:
                if message.payload == b"online" and not message.retain:
                    self._due["announce"] = time.monotonic() + random.uniform(0.0, ANNOUNCE_JITTER_S)  # noqa: S311
            else:
                self._obey(message)

    def _check_status(self, message: mqtt.MQTTMessage) -> None:
        """A will of an older session may arrive after our birth: say again that we are here."""
        if message.retain:
            return  # what stood there before we came
        ours = [encode(status_payload("online", self._speaker.session, paused)) for paused in (True, False)]
        if message.payload not in ours:
            self._due.setdefault("status", max(time.monotonic(), self._status_sent_s + CORRECTION_S))

    def _obey(self, message: mqtt.MQTTMessage) -> None:
        if message.retain and not message.payload:
            return  # somebody deletes a retained command, and asks for nothing
        name = message.topic.rsplit("/", 1)[-1]
        response = self._speaker.commands.answer(name, bytes(message.payload), message.retain)
        self._tell(self._topics.response, encode(response))
        self._speaker.health.count(Counter.COMMANDS)
