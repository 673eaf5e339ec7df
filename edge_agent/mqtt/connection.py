"""One paho client for one connection to the broker, from CONNECT to its end; a new one is made for the next.

The client is thrown away, so nothing of a broken link stays: no unbounded queue in memory, no message sent twice
besides the store's own retry, no network thread that an exception ended unnoticed.
"""

from __future__ import annotations

import functools
import itertools
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.config import Config, MqttConfig, TlsConfig
from edge_agent.config.credentials import mqtt_password
from edge_agent.errors import BrokerError

log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""For the TCP connection and the TLS handshake."""
JOIN_S = 1.0
"""For paho's thread to end, once its link is cut."""
ACK_S = 20.0
"""An answer that takes longer means that the link or the broker is broken."""
ON_THE_WIRE = 10
"""Messages without an answer on the wire, and so what a broken link makes us send twice at most. A broker that takes
fewer says so (Receive Maximum); the usual ones take more (mosquitto: 20, AWS: 100)."""
LARGEST_PACKET = 268_435_455
"""Bytes of a packet that MQTT can say."""
LONGEST_HEARD = 16_384
"""Bytes of a packet that we take: a command has 1,024 at most. Announced to the broker, who may not heed it."""

F = TypeVar("F", bound=Callable[..., Any])

UNSUPPORTED_VERSION = "Unsupported protocol version"
CLOSED_EARLY = "the broker closed the connection before it answered"
NAMES = {mqtt.MQTTv5: "MQTT 5", mqtt.MQTTv311: "MQTT 3.1.1"}
NO_FAULT_OF_A_MESSAGE = (
    "Keep alive timeout",
    "Session taken over",
    "Server shutting down",
    "Server busy",
    "Use another server",
    "Server moved",
    "Administrative action",
    "Maximum connect time",
)
"""Reasons for an end of the link that no message of ours has brought about."""


def _guarded(callback: F) -> F:
    """An exception in a callback would end paho's thread for good: report it, and give the connection up instead."""

    @functools.wraps(callback)
    def guard(self: Connection, *arguments: Any) -> None:
        try:
            callback(self, *arguments)
        except Exception:
            log.exception("defect in %s; the connection is made again", callback.__name__)
            self.fail(f"defect in {callback.__name__}")

    return guard  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Terms:
    """How to come to the broker, from what earlier connections taught (:mod:`edge_agent.mqtt.lessons`)."""

    protocol: MQTTProtocolVersion
    will_qos: int = 1
    will_retain: bool = True
    one_at_a_time: bool = False
    """Nothing is sent before the last message was answered, so that the one that ends the link is known."""

    def __str__(self) -> str:
        """For the log."""
        parts = [NAMES[self.protocol]]
        if self.will_qos == 0:
            parts.append("QoS 0")
        if not self.will_retain:
            parts.append("nothing retained")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker takes, as its CONNACK says (MQTT 5, section 3.2.2.3); with 3.1.1 it does not say."""

    packet_bytes: int = LARGEST_PACKET
    unanswered: int = ON_THE_WIRE
    qos: int = 1
    retain: bool = True
    wildcards: bool = True

    @classmethod
    def of(cls, properties: Properties | None) -> Limits:
        """Read them; what is not said is not limited."""
        return cls(
            packet_bytes=getattr(properties, "MaximumPacketSize", LARGEST_PACKET),
            unanswered=min(ON_THE_WIRE, getattr(properties, "ReceiveMaximum", ON_THE_WIRE)),
            qos=getattr(properties, "MaximumQoS", 1),
            retain=bool(getattr(properties, "RetainAvailable", 1)),
            wildcards=bool(getattr(properties, "WildcardSubscriptionAvailable", 1)),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """A message or a subscription that waits for its answer."""

    number: int
    about: str
    """The topic, or "subscription to FILTER"."""
    size: int
    """Of the packet, in bytes."""
    sent_s: float


class _Client(mqtt.Client):
    """Of a packet that is longer than any for us only the beginning is kept, whatever the broker sends."""

    def _sock_recv(self, bufsize: int) -> bytes:
        """paho asks for all that is missing of a packet, counts what it gets in ``to_process`` and keeps it."""
        data = super()._sock_recv(min(bufsize, LONGEST_HEARD))
        if len(self._in_packet["packet"]) >= LONGEST_HEARD and len(data) > 1:
            self._in_packet["to_process"] -= len(data) - 1
            return data[:1]
        return data


class Connection:
    """States: connecting, then ``ready``, then ``ended`` with a ``problem``, in this order, each at most once.

    ``changed`` is called from paho's thread after each step and must return at once. All methods belong to one thread.
    """

    def __init__(
        self,
        config: Config,
        terms: Terms,
        will: tuple[str, bytes],
        *,
        changed: Callable[[], None],
        on_message: Callable[[mqtt.MQTTMessage], None],
    ) -> None:
        self.terms = terms
        self.one_at_a_time = terms.one_at_a_time
        self.limits = Limits()
        self.ready = False
        self.ended = False
        self.problem = ""
        self.hung_up = False
        """Whether the broker ended the link although nothing else was wrong: perhaps for what we sent."""
        self.answered: set[str] = set()
        """What was answered at least once, as in :class:`Sent`."""
        self._numbers = itertools.count(1)
        self._waiting: deque[tuple[int, str, int, Callable[[], int]]] = deque()
        self._in_flight: dict[int, Sent] = {}
        self._answers: deque[tuple[int, str]] = deque()
        """(paho's number, refusal or "") that came from paho's thread."""
        self._changed = changed
        self._message = on_message
        self._host, self._port = config.mqtt.host, config.mqtt.port
        self._keepalive_s = config.mqtt.keepalive_s
        self._client = self._make_client(config, will)
        self._thread: threading.Thread | None = None

    def _make_client(self, config: Config, will: tuple[str, bytes]) -> mqtt.Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"countenance-{config.device.id}",
            protocol=self.terms.protocol,
            reconnect_on_failure=False,
            **({} if self.speaks_5 else {"clean_session": True}),  # type: ignore[arg-type]
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(ON_THE_WIRE)
        client.will_set(will[0], will[1], qos=self.terms.will_qos, retain=self.terms.will_retain)
        authenticate(client, config.mqtt)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        return client

    @property
    def speaks_5(self) -> bool:
        """Whether the present attempt is MQTT 5, whose broker says what it takes."""
        return self.terms.protocol == mqtt.MQTTv5

    def open(self) -> None:
        """Connect and start paho's thread; blocks for at most about :data:`CONNECT_S` and a name look-up.

        Raises:
            BrokerError: nobody answers, or the certificate does not verify.
        """
        where = f"{self._host}:{self._port}"
        properties = None
        if self.speaks_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = LONGEST_HEARD
            properties.ReceiveMaximum = ON_THE_WIRE
        try:
            self._client.connect(self._host, self._port, keepalive=self._keepalive_s, properties=properties)
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(f"{where}: the certificate does not verify ({error.verify_message}): refused") from error
        except ssl.SSLError as error:
            raise BrokerError(f"{where}: TLS failed: {error.reason or error}") from error
        except OSError as error:
            raise BrokerError(f"{where}: {error.strerror or error}") from error
        self._client.loop_start()
        self._thread = self._client._thread

    @property
    def alive(self) -> bool:
        """Whether paho's thread runs; one that died without a word is noticed here."""
        return self._thread is not None and self._thread.is_alive()

    def subscribe(self, topic_filter: str, *, as_published: bool = False) -> int:
        """Ask for messages, QoS 1; with ``as_published`` live ones have the retain flag of their sender, too.

        (Retain As Published, MQTT 5, section 3.8.3.1; with 3.1.1 only what the broker had kept has it.)

        Returns:
            The number under which :meth:`take_answers` tells the broker's answer.
        """
        qos = min(1, self.limits.qos)

        def send() -> int:
            if self.speaks_5:
                options = SubscribeOptions(qos=qos, retainAsPublished=as_published)
                return self._client.subscribe([(topic_filter, options)])[1] or 0
            return self._client.subscribe([(topic_filter, qos)])[1] or 0

        return self._send(f"subscription to {topic_filter}", len(topic_filter), send)

    def unsubscribe(self, topic_filter: str) -> int:
        """Want no more of what :meth:`subscribe` asked for."""
        return self._send(
            f"end of {topic_filter}", len(topic_filter), lambda: self._client.unsubscribe(topic_filter)[1] or 0
        )

    def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> int:
        """Hand a message over and return its number; only :meth:`take_answers` says that it arrived."""
        retain = retain and self.limits.retain

        def send() -> int:
            if self.limits.qos > 0:
                return self._client.publish(topic, payload, 1, retain).mid
            # A broker that acknowledges no message answers the next request once it has read what came before.
            self._client.publish(topic, payload, 0, retain)
            return self._client.unsubscribe(topic)[1] or 0

        if qos == 0 and not self.one_at_a_time:
            self._client.publish(topic, payload, 0, retain)
            return 0
        return self._send(topic, packet_bytes(topic, payload), send)

    def _send(self, about: str, size: int, send: Callable[[], int]) -> int:
        number = next(self._numbers)
        self._waiting.append((number, about, size, send))
        self._send_waiting()
        return number

    def _send_waiting(self) -> None:
        room = 1 if self.one_at_a_time else self.limits.unanswered
        while self._waiting and len(self._in_flight) < room and not self.ended:
            number, about, size, send = self._waiting.popleft()
            self._in_flight[send()] = Sent(number, about, size, time.monotonic())

    def take_answers(self) -> list[tuple[int, str]]:
        """(number, refusal or "") of what was answered since the last call; makes room for what waits."""
        taken = []
        while self._answers:
            mid, refusal = self._answers.popleft()
            sent = self._in_flight.pop(mid, None)
            if sent is not None:
                taken.append((sent.number, refusal))
                self.answered.add(sent.about)
        self._send_waiting()
        return taken

    @property
    def unanswered(self) -> list[Sent]:
        """What is on the wire, the oldest first."""
        return list(self._in_flight.values())

    def watch(self, now_s: float) -> None:
        """End the connection if an answer is overdue."""
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is not None and now_s - oldest.sent_s > ACK_S:
            self.fail("the broker does not acknowledge")

    def fail(self, problem: str) -> None:
        """Mark the connection as ended; :meth:`close` cleans up."""
        if not self.ended:
            self.problem = problem
            self.ended = True
            self._changed()

    def close(self, *, farewell: bool) -> None:
        """End it: with a DISCONNECT, so that no will is sent, or by cutting the link."""
        if farewell and not self.ended:
            self._client.disconnect()
            if self._thread is not None:
                self._thread.join(JOIN_S)
        # paho's loop_stop() waits for PUBACKs that never come on a dead link, so its socket goes first.
        link = self._client.socket()
        if link is not None:
            try:
                link.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
            except OSError:
                log.debug("the link was gone already")
        if self._thread is not None:
            self._thread.join(JOIN_S)
        if link is not None:
            link.close()
        # Without these cycles paho's own sockets go at once, and not whenever the garbage is collected.
        self._waiting.clear()
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = None
        client.on_subscribe = client.on_unsubscribe = None
        self.ended = True

    @_guarded
    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self.fail(_refusal(reason))
            return
        self.limits = Limits.of(properties)
        self.ready = True
        self._changed()

    @_guarded
    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        name = reason.getName()
        if flags.is_disconnect_packet_from_server:
            problem = _refusal(reason)
        elif not self.ready:
            problem = CLOSED_EARLY
        else:
            problem = "the link was lost" if name == "Unspecified error" else f"the link was lost: {name}"
        if not self.ended:
            self.hung_up = self.ready and name not in NO_FAULT_OF_A_MESSAGE
        self.fail(problem)

    @_guarded
    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        self._take_answer(mid, [reason])

    @_guarded
    def _on_subscribe(
        self, _client: Any, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties
    ) -> None:
        self._take_answer(mid, reasons)

    @_guarded
    def _on_unsubscribe(
        self, _client: Any, _data: Any, mid: int, _reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._take_answer(mid, [])

    def _take_answer(self, mid: int, reasons: list[ReasonCode]) -> None:
        self._answers.append((mid, next((str(reason) for reason in reasons if reason.is_failure), "")))
        self._changed()

    @_guarded
    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._message(message)


def _refusal(reason: ReasonCode) -> str:
    name = reason.getName()
    hints = {
        "Bad user name or password": "; check mqtt.username and the password",
        "Not authorized": "; check mqtt.username, the password and the broker's access list",
        "Session taken over": "; does another device use the same device.id?",
    }
    return f"the broker says: {name}{hints.get(name, '')}"


def packet_bytes(topic: str, payload: bytes) -> int:
    """Size of the PUBLISH packet: at most 5 bytes of fixed header, topic with its length, number and properties."""
    return 5 + 2 + len(topic.encode()) + 2 + 1 + len(payload)


def authenticate(client: mqtt.Client, config: MqttConfig) -> None:
    """Give a client user, password and TLS as configured, before it connects.

    Raises:
        BrokerError: a certificate cannot be read.
        ConfigError: the password cannot be read.
    """
    if config.username is not None:
        secret = mqtt_password(config.password_file)
        client.username_pw_set(config.username, secret.get_secret_value() if secret else None)
    if config.tls.enabled:
        client.tls_set_context(_tls_context(config.tls))


def _tls_context(tls: TlsConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
        # From Python 3.13 on the default refuses certificates without key identifiers, as many private CAs make them.
        # The chain, the dates and the name are still verified, and a system upgrade disconnects no device.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # ssl.SSLError is one
        names = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise BrokerError(f"mqtt.tls: cannot use {names}: {error.strerror or error}") from error
    context.sslsocket_class = _TidySocket
    return context


class _TidySocket(ssl.SSLSocket):
    """paho forgets to close the socket of a handshake that failed."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 (Python's)
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
