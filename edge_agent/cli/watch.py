"""Shows any device's percentages live in a terminal: an MQTT subscriber like every other."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.cli.bars import Screen, bars
from edge_agent.config import MqttConfig, TopicLevel
from edge_agent.errors import BrokerError
from edge_agent.mqtt.connection import authenticate

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0

Count = Annotated[int, Field(ge=0)]
Label = Annotated[str, Field(pattern=r"^[^\p{C}]{1,40}$")]  # without control characters, which would move the cursor
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class _Window(BaseModel):
    """The fields of a window that are drawn (docs/mqtt.md); others are ignored."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    device: TopicLevel
    window_start: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z$")]
    frames: Count
    people: Count | None
    suppressed: bool
    percentages: Annotated[dict[Label, Percent], Field(min_length=2, max_length=64)] | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was published."""

    topic: str
    payload: bytes

    def window(self) -> dict[str, Any] | None:
        """The window for :func:`edge_agent.cli.bars.bars`; None, with a warning, if it is not a window: anyone may
        publish."""
        try:
            return _Window.model_validate_json(self.payload).model_dump()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            reason = ": ".join([*map(str, first["loc"]), first["msg"]])
            log.warning("skipped a message that is no window", extra={"topic": self.topic, "reason": reason})
            return None


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
                window = messages.get().window()
                if window is None:
                    screen.begin_below()
                    continue
                latest[window["device"]] = bars(window)
                screen.show([line for name in sorted(latest) for line in latest[name]])
        except KeyboardInterrupt:
            return 0


@contextmanager
def subscribe(config: MqttConfig, topic: str) -> Iterator[queue.Queue[Message]]:
    """Messages of ``topic`` as they come; the connection is kept up in the background.

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
        messages.put(Message(message.topic, bytes(message.payload)))

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
