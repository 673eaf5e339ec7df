"""One paho client for one connection to the broker, from CONNECT to its end; a new one is made for the next.

Throwing the client away keeps nothing of a broken link alive: no queue in memory that nobody bounds, no message sent
twice beside the store's own retry, no network thread that an exception has ended unseen.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
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
ON_THE_WIRE = 10
"""Messages without a PUBACK on the wire, and so what a broken link makes us send twice at most; paho keeps the order of
those that wait behind them. It does not heed a broker's Receive Maximum (MQTT 5, section 3.2.2.3.3), so this is well
below the usual ones (mosquitto: 20, AWS: 100)."""

F = TypeVar("F", bound=Callable[..., Any])

UNSUPPORTED_VERSION = "Unsupported protocol version"
CLOSED_EARLY = "the broker closed the connection before it answered"


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


class Connection:
    """States: connecting, then ``ready``, then ``ended`` with a ``problem``, in this order, each at most once.

    ``changed`` is called from paho's thread after each step and must return at once.
    """

    def __init__(
        self,
        config: Config,
        protocol: MQTTProtocolVersion,
        will: tuple[str, bytes],
        changed: Callable[[], None],
        on_message: Callable[[mqtt.MQTTMessage], None],
    ) -> None:
        self.protocol = protocol
        self.ready = False
        self.ended = False
        self.problem = ""
        self._acknowledged: list[tuple[int, str]] = []
        """(mid, refusal or "") of PUBACKs that :meth:`take_acknowledged` has not handed out."""
        self._changed = changed
        self._message = on_message
        self._lock = threading.Lock()
        self._host, self._port = config.mqtt.host, config.mqtt.port
        self._keepalive_s = config.mqtt.keepalive_s
        self._client = self._make_client(config, will)
        self._thread: threading.Thread | None = None

    def _make_client(self, config: Config, will: tuple[str, bytes]) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"countenance-{config.device.id}",
            protocol=self.protocol,
            reconnect_on_failure=False,
            **({} if self.protocol == mqtt.MQTTv5 else {"clean_session": True}),  # type: ignore[arg-type]
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(ON_THE_WIRE)
        client.will_set(will[0], will[1], qos=1, retain=True)
        authenticate(client, config.mqtt)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def open(self) -> None:
        """Connect and start paho's thread; blocks for at most about :data:`CONNECT_S` and a name look-up.

        Raises:
            BrokerError: nobody answers, or the certificate does not verify.
        """
        where = f"{self._host}:{self._port}"
        try:
            self._client.connect(self._host, self._port, keepalive=self._keepalive_s)
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

    def subscribe(self, filters: list[str], as_published: bool = False) -> None:
        """Ask for messages, QoS 1; with ``as_published`` live ones have the retain flag of their sender, too.

        (Retain As Published, MQTT 5, section 3.8.3.1; with 3.1.1 only what the broker had kept has it.)
        """
        if self.protocol == mqtt.MQTTv5:
            options = SubscribeOptions(qos=1, retainAsPublished=as_published)
            self._client.subscribe([(each, options) for each in filters])
        else:
            self._client.subscribe([(each, 1) for each in filters])

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        """Hand a message to paho and return its number; only :meth:`take_acknowledged` says that it arrived."""
        return self._client.publish(topic, payload, qos, retain).mid

    def take_acknowledged(self) -> list[tuple[int, str]]:
        """The PUBACKs that came since the last call."""
        with self._lock:
            taken, self._acknowledged = self._acknowledged, []
        return taken

    def fail(self, problem: str) -> None:
        """Mark the connection as ended; :meth:`close` cleans up."""
        if not self.ended:
            self.problem = problem
            self.ended = True
            self._changed()

    def close(self, farewell: bool) -> None:
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
        # Without this cycle paho's own sockets go at once, and not whenever the garbage is collected.
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = client.on_subscribe = None
        self.ended = True

    @_guarded
    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self.fail(_refusal(reason))
            return
        self.ready = True
        self._changed()

    @_guarded
    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self.fail(_refusal(reason))
        elif not self.ready:
            self.fail(CLOSED_EARLY)
        else:
            name = reason.getName()
            self.fail("the link was lost" if name == "Unspecified error" else f"the link was lost: {name}")

    @_guarded
    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        with self._lock:
            self._acknowledged.append((mid, str(reason) if reason.is_failure else ""))
        self._changed()

    @_guarded
    def _on_subscribe(
        self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                log.warning("the broker refused a subscription (%s): commands will not be heard", reason)

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
        # From Python 3.13 on the default refuses what many a CA of one's own leaves out (key identifiers). The chain,
        # the dates and the name are verified all the same, and an upgrade of the system cuts no device off.
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

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
