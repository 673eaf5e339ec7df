"""Shows any device's percentages live in a terminal: an MQTT subscriber like every other."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.bars import Screen, bars
from edge_agent.config import MqttConfig
from edge_agent.connection import authenticate
from edge_agent.errors import BrokerError

CONNECT_TIMEOUT_S = 10.0

Message = dict[str, Any]


def watch(config: MqttConfig, device: str) -> int:
    """Show what ``device`` (``+``: every device) publishes until Ctrl-C.

    Raises:
        BrokerError: the broker is unreachable or refuses us.
    """
    screen, latest = Screen(), dict[str, list[str]]()
    with subscribe(config, f"{config.topic_prefix}/{device}/emotions") as messages:
        print(
            f"watching {config.topic_prefix}/{device}/emotions on {config.host}:{config.port}, Ctrl-C ends", flush=True
        )
        try:
            while True:
                message = messages.get()
                latest[message["device"]] = bars(message)
                screen.show([line for name in sorted(latest) for line in latest[name]])
        except KeyboardInterrupt:
            return 0


@contextmanager
def subscribe(config: MqttConfig, topic: str) -> Iterator[queue.Queue[Message]]:
    """Messages of ``topic`` as they come, decoded; the connection is kept up in the background.

    Raises:
        BrokerError: the first connection fails.
    """
    messages: queue.Queue[Message] = queue.Queue()
    answers: queue.Queue[str | None] = queue.Queue()

    def on_connect(client: mqtt.Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if not reason.is_failure:
            client.subscribe(topic, qos=1)  # here, so that a broker's restart does not lose it
        answers.put(str(reason) if reason.is_failure else None)

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            messages.put(json.loads(message.payload))
        except ValueError:
            return  # a stranger's message on our topic must not end the thread

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_connect, client.on_message = on_connect, on_message
    authenticate(client, config)
    try:
        client.connect(config.host, config.port, config.keepalive_s)
    except OSError as error:
        raise BrokerError(
            f"MQTT broker {config.host}:{config.port}: {error}; is it running, and is the port right?"
        ) from error
    client.loop_start()
    try:
        _await_answer(answers, config)
        yield messages
    finally:
        client.disconnect()
        client.loop_stop()


def _await_answer(answers: queue.Queue[str | None], config: MqttConfig) -> None:
    try:
        refusal = answers.get(timeout=CONNECT_TIMEOUT_S)
    except queue.Empty:
        refusal = f"no answer for {CONNECT_TIMEOUT_S:.0f} s"
    if refusal is not None:
        raise BrokerError(
            f"MQTT broker {config.host}:{config.port}: {refusal}; check mqtt.username and the password (docs/mqtt.md)"
        )
