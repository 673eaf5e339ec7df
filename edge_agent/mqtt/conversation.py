"""The messages of one connection, from the first to the last.

First come the subscriptions, ``online`` and the windows that wait. What only describes the device follows once the
broker has taken a window: info, and the announcement to Home Assistant, which is the longest message of all and the one
that a broker is least likely to allow.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt

from edge_agent.config import Config
from edge_agent.health.counters import Counter, Health
from edge_agent.health.summary import health_payload
from edge_agent.host.clock import Clock
from edge_agent.live import Live
from edge_agent.message import encode
from edge_agent.mqtt.commands import Commands
from edge_agent.mqtt.connection import Connection, packet_bytes
from edge_agent.mqtt.discovery import announced_before, components_of, discovery_payload
from edge_agent.mqtt.lessons import Lessons
from edge_agent.mqtt.notebook import Notebook
from edge_agent.mqtt.notices import Notices
from edge_agent.mqtt.outbox import Outbox
from edge_agent.mqtt.payloads import DeviceInfo, info_payload, read_status, status_payload
from edge_agent.mqtt.topics import Topics
from edge_agent.store import Store

CORRECTION_S = 10.0
"""Least seconds between two corrections of our status, so that two devices with one name do not answer each other
without end."""
ANNOUNCE_JITTER_S = 5.0
"""Home Assistant's restart must not make a thousand devices answer in the same instant."""
COMMANDS_AT_ONCE = 10
"""Between two looks at the outbox, and without an answer: a flood of commands does not hold up windows."""
FLOOD_HZ = 200
"""More commands a second than we take, beyond those that we do."""
DEAF_S = 30.0
ANNOUNCED = "announced"
"""The note of what Home Assistant was told, and where."""


@dataclass(slots=True)
class Context:
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
    lessons: Lessons
    notices: Notices
    notebook: Notebook
    greeted: bool = False
    """Whether the broker has had our ``online``, and nobody has replaced it since."""
    replaced_by: str = ""
    """Whose status did so last."""
    dropped: int = 0
    """Messages from the broker that found no room; counted by paho's thread."""


class Conversation:
    """Belongs to the publisher's thread, which calls :meth:`turn` again and again."""

    def __init__(self, context: Context, connection: Connection, inbox: queue.Queue[mqtt.MQTTMessage]) -> None:
        self._context, self._connection, self._inbox = context, connection, inbox
        self._topics = context.topics
        config = context.config
        self._outbox = Outbox(
            context.store,
            context.session,
            config.device.id,
            topics=context.topics,
            publish=self._publish,
            health=context.health,
            rate_hz=config.mqtt.history_per_s,
        )
        self._told: dict[int, str] = {}
        self._due: dict[str, float] = {}
        self._status_sent_s, self._told_window_s = 0.0, 0.0
        self._told_status: dict[str, Any] = {}
        self._introduced = False
        self._withdrawal: int | None = None
        self._online: int | None = None
        self._had_greeted, self._dropped = context.greeted, context.dropped
        self._greet()

    @property
    def greeted(self) -> bool:
        """Whether the broker has all that we said of ourselves so far."""
        return self._introduced and not self._told

    def turn(self, now_s: float, *, history: bool) -> float:
        """Do everything that there is to do now, with or without the backlog; seconds until there may be more."""
        self._take_answers()
        delay_s = self._outbox.send(now_s, history=history)
        if not self._introduced and self._online not in self._told and self._outbox.has_begun:
            self._introduce()
        self._do_what_is_due(now_s)
        self._stop_a_flood(now_s)
        self._hear()
        self._connection.watch(now_s)
        return 0.0 if self._may_hear and not self._inbox.empty() else delay_s

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
            self._take_answers()

    def end(self) -> None:
        """Take the last PUBACKs."""
        self._take_answers()

    def _greet(self) -> None:
        """Whoever sees ``online`` can rely on commands being heard."""
        self._subscribe(self._topics.status)
        for topic_filter in self._command_filters:
            self._subscribe(topic_filter, as_published=True)
        self._online = self._send_status("online")

    @property
    def _command_filters(self) -> list[str]:
        if self._connection.limits.wildcards:
            return [self._topics.commands]
        return [self._topics.command(name) for name in self._context.commands.names]

    def _introduce(self) -> None:
        self._introduced = True
        self._send_info()
        if self._context.config.mqtt.discovery:
            self._subscribe(self._topics.home_assistant_status)
        self._announce()

    def _subscribe(self, topic_filter: str, *, as_published: bool = False) -> None:
        about = f"subscription to {topic_filter}"
        if self._context.lessons.allows(about, len(topic_filter)):
            self._told[self._connection.subscribe(topic_filter, as_published=as_published)] = about

    def _publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> int | None:
        """Number of the message; None where the broker takes none on this topic, or none of this length."""
        size, limit = packet_bytes(topic, payload), self._connection.limits.packet_bytes
        if size > limit:
            self._context.notices.tell(
                f"length of {topic}",
                f"the broker takes at most {limit:,} bytes at once, and {topic} needs {size:,}: what is too long is "
                "left out, from a window its 'rolling' first; raise the broker's limit (mosquitto: max_packet_size)",
            )
            return None
        if not self._context.lessons.allows(topic, size):
            return None
        return self._connection.publish(topic, payload, qos, retain=retain)

    def _tell(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """Publish a message that is not a window; a refusal is logged, too."""
        number = self._publish(topic, payload, retain=retain)
        if number is not None:
            self._told[number] = topic
        return number

    def _take_answers(self) -> None:
        answers = self._connection.take_answers()
        self._outbox.acknowledge(answers)
        for number, refusal in answers:
            about = self._told.pop(number, None)
            if refusal and about is not None:
                self._context.notices.tell(
                    f"refusal of {about}", f"the broker refused {about}: {refusal}; its access list must allow it"
                )
            elif number == self._online:
                self._context.greeted = True
            elif number == self._withdrawal:
                self._context.notebook.set(ANNOUNCED, None)

    def _send_status(self, state: str) -> int | None:
        self._status_sent_s, self._told_status = time.monotonic(), self._status(state)
        return self._tell(self._topics.status, encode(self._told_status), retain=True)

    def _status(self, state: str) -> dict[str, Any]:
        context = self._context
        return status_payload(state, context.session, context.live.state, paused=context.store.paused)

    def _send_info(self) -> None:
        """With the length of windows as it is now."""
        context = self._context
        self._told_window_s = context.live.state.window_s
        info = info_payload(context.config.device.id, context.session, context.info, window_s=self._told_window_s)
        self._tell(self._topics.info, encode(info), retain=True)

    def _announce(self) -> None:
        """Home Assistant's retained configuration, or the end of the one that stands there from an earlier run.

        Where nothing was announced nothing is said: a broker may hang up on whoever touches that topic.
        """
        context = self._context
        mqtt = context.config.mqtt
        where = f"{mqtt.host}:{mqtt.port} {self._topics.discovery}"
        before = announced_before(context.notebook.get(ANNOUNCED), where)
        if mqtt.discovery:
            payload = self._announcement(before, whole=True)
            # A broker with MQTT 3.1.1 does not say what is too long for it: there it is told the short form.
            if not (self._connection.speaks_5 and self._takes(self._topics.discovery, encode(payload))):
                payload = self._announcement(before, whole=False)
            context.notebook.set(ANNOUNCED, {"where": where, "components": components_of(payload)})
            self._tell(self._topics.discovery, encode(payload), retain=True)
        elif before:
            self._withdrawal = self._tell(self._topics.discovery, b"", retain=True)

    def _announcement(self, before: Mapping[str, str], *, whole: bool) -> dict[str, Any]:
        context = self._context
        return discovery_payload(context.config, context.info, context.live.state.window_s, before=before, whole=whole)

    def _takes(self, topic: str, payload: bytes) -> bool:
        size = packet_bytes(topic, payload)
        return size <= self._connection.limits.packet_bytes and self._context.lessons.allows(topic, size)

    def _do_what_is_due(self, now_s: float) -> None:
        if now_s >= self._due.get("health", 0.0):
            self._due["health"] = now_s + self._context.config.mqtt.health_s
            self._send_health()
        if now_s >= self._due.get("announce", now_s + 1):
            del self._due["announce"]
            self._announce()
        if self._introduced and self._told_window_s != self._context.live.state.window_s:
            self._send_info()
            self._announce()
        if now_s >= self._due.get("status", now_s + 1) or self._told_status != self._status("online"):
            self._due.pop("status", None)
            self._online = self._send_status("online")

    def _stop_a_flood(self, now_s: float) -> None:
        """PUBACKs of windows come behind what others send us: more than we take is not listened to for a while."""
        context = self._context
        if now_s >= self._due.get("flood", 0.0):
            self._due["flood"] = now_s + 1.0
            before, self._dropped = self._dropped, context.dropped
            if self._dropped - before > FLOOD_HZ and "commands" not in self._due:
                context.notices.tell(
                    "flood", f"a flood of commands: none is heard for {DEAF_S:g} s, so that windows go"
                )
                self._due["commands"] = now_s + DEAF_S
                for topic_filter in self._command_filters:
                    self._connection.unsubscribe(topic_filter)
        if now_s >= self._due.get("commands", now_s + 1):
            del self._due["commands"]
            for topic_filter in self._command_filters:
                self._subscribe(topic_filter, as_published=True)

    def _send_health(self) -> None:
        context = self._context
        payload = health_payload(
            context.config, context.session, context.health, store=context.store, live=context.live, clock=context.clock
        )
        self._publish(self._topics.health, encode(payload), qos=0)

    @property
    def _may_hear(self) -> bool:
        """A flood of commands waits until the broker has the answers to those before."""
        return len(self._told) < COMMANDS_AT_ONCE

    def _hear(self) -> None:
        for _ in range(COMMANDS_AT_ONCE):
            if not self._may_hear:
                return
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
        """Say again that we are here where something else stands, and find out who put it there.

        A will of our last session may arrive after our birth, once. Whoever says ``online`` after us, or replaces ours
        a second time, is another device.
        """
        context = self._context
        state, session = read_status(bytes(message.payload))
        if session == context.session and state == "online":
            return
        if not message.retain:
            self._due.setdefault("status", max(time.monotonic(), self._status_sent_s + CORRECTION_S))
        ours_stood_there = self._had_greeted if message.retain else context.greeted
        if not session or session == context.session or not ours_stood_there:
            return
        if state == "online" or session == context.replaced_by:
            device = context.config.device.id
            context.notices.tell(
                "another device",
                f"another device uses our device.id '{device}' (its session is {session}, ours {context.session}): the "
                "broker lets in one of them at a time; give each its own device.id",
            )
        context.greeted = self._had_greeted = False
        context.replaced_by = session

    def _obey(self, message: mqtt.MQTTMessage) -> None:
        if message.retain and not message.payload:
            return  # somebody deletes a retained command, and asks for nothing
        name = message.topic.rsplit("/", 1)[-1]
        response = self._context.commands.answer(name, bytes(message.payload), retained=message.retain)
        self._tell(self._topics.response, encode(response))
        self._context.health.count(Counter.COMMANDS)
