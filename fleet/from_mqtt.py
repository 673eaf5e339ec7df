"""Messages of any MQTT broker, kept for us by a lasting session with QoS 1 and acknowledged by hand."""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, unquote

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.errors import BrokerError
from fleet.collecting import BATCH, WAIT_S, Message

KEEPALIVE_S = 30
KINDS = ("emotions", "emotions/history", "status", "info", "health")


class MqttSource:
    """See :class:`fleet.collecting.Source`. One collector a broker: MQTT's own sessions share no work."""

    def __init__(self, url: SplitResult, prefix: str, client_id: str) -> None:
        self._url, self._prefix = url, prefix
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._refusal: str | None = None
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True
        )
        self._client.max_inflight_messages_set(2 * BATCH)
        if url.username:
            self._client.username_pw_set(unquote(url.username), unquote(url.password or ""))
        if url.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._connected
        self._client.on_message = self._received
        self._running = False

    def take(self) -> Sequence[Message]:
        """See the protocol."""
        self._begin()
        messages: list[Message] = []
        end_s = time.monotonic() + 1
        with contextlib.suppress(queue.Empty):
            while len(messages) < BATCH:
                messages.append(self._inbox.get(timeout=max(end_s - time.monotonic(), 0.001)))
                if len(messages) == 1:
                    end_s = time.monotonic() + WAIT_S
        if self._refusal and not messages:
            raise BrokerError(f"{self._where} refused us: {self._refusal}")
        return messages

    def done(self, messages: Sequence[Message]) -> None:
        """See the protocol."""
        for message in messages:
            assert isinstance(message.handle, mqtt.MQTTMessage)
            self._client.ack(message.handle.mid, message.handle.qos)

    def close(self) -> None:
        """See the protocol."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def _where(self) -> str:
        return f"{self._url.hostname}:{self._url.port or (8883 if self._url.scheme == 'mqtts' else 1883)}"

    def _begin(self) -> None:
        if self._running:
            return
        host, _, port = self._where.rpartition(":")
        try:
            self._client.connect(host, int(port), KEEPALIVE_S)
        except (OSError, socket.gaierror) as error:
            raise BrokerError(f"cannot reach the broker {self._where}: {error}") from error
        self._client.loop_start()
        self._running = True

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._refusal = str(reason) if reason.is_failure else None
        if not reason.is_failure:
            client.subscribe([(f"{self._prefix}/+/{kind}", 1) for kind in KINDS])

    def _received(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self._inbox.put(Message(message.topic, bytes(message.payload), message))
