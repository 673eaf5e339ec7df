"""What a first start asks, and the configuration that its answers make."""

from __future__ import annotations

import json
import re
import socket
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from edge_agent.config import CameraConfig, KioskConfig, MqttConfig
from edge_agent.errors import ConfigError

Place = Literal["shop", "museum", "event", "public", "home", "workplace", "school"]
"""Where the device will hang."""
BANNED_PLACES = ("workplace", "school")
WHY_BANNED = (
    "Reading emotions at a workplace or in a school is banned in the EU (AI Act, article 5(1)(f)), "
    "so this device is not set up for one"
)
PageAnswer = Literal["display", "network", "none"]
"""Who sees the page: this machine's display alone, everyone in the network, or nobody."""
MOST_BYTES = 16_384
"""Of answers as JSON."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of text")
    return value


Line = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_one_line)]


class CameraAnswer(_Part):
    """One camera of this machine, or of the network."""

    backend: Literal["opencv", "picamera2"] = "opencv"
    source: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_one_line)] = "0"
    rotate_deg: Literal[0, 90, 180, 270] = 0

    @field_validator("source")
    @classmethod
    def _is_a_camera(cls, value: str) -> str:
        """A camera's address or node: a path elsewhere is no camera, and nobody may have it opened from a browser."""
        if not re.fullmatch(r"\d{1,3}|/dev/video\d{1,3}|/dev/v4l/by-id/[\w.:+-]+|(rtsps?|https?)://\S+", value):
            raise ValueError("must be a camera from the list, or an address such as rtsp://192.0.2.10:554/stream1")
        return value

    def config(self) -> CameraConfig:
        """The section ``camera``."""
        return CameraConfig(backend=self.backend, source=self.source, rotate_deg=self.rotate_deg)


class BrokerAnswer(_Part):
    """An MQTT broker."""

    host: Annotated[str, Field(max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    username: Annotated[str, Field(max_length=1024), AfterValidator(_one_line)] = ""
    password: Annotated[str, Field(max_length=4096, repr=False), AfterValidator(_one_line)] = ""
    tls: bool = False

    def config(self, password_file: Path | None) -> MqttConfig:
        """The section ``mqtt``; raises ConfigError where the host is none."""
        values: dict[str, Any] = {"host": self.host, "port": self.port, "tls": {"enabled": self.tls}}
        values |= {"username": self.username or None, "password_file": password_file if self.password else None}
        try:
            return MqttConfig.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_in_words(error, "mqtt.")) from None


class Answers(_Part):
    """Everything that a first start asks."""

    camera: CameraAnswer = CameraAnswer()
    name: Line = Field(default_factory=socket.gethostname)
    """What people read: the place's name, say."""
    place: Place = "shop"
    broker: BrokerAnswer | None = None
    page: PageAnswer = "display"
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$")] = "en"
    alone: bool = False
    """Try it alone for a quarter of an hour, once it runs."""

    @field_validator("place")
    @classmethod
    def _is_allowed(cls, value: Place) -> Place:
        if value in BANNED_PLACES:
            raise ValueError(WHY_BANNED)
        return value


def read_answers(text: str | bytes) -> Answers:
    """The answers in JSON.

    Raises:
        ConfigError: they are not answers; one line for each that is wrong.
    """
    try:
        return Answers.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(_in_words(error)) from None


def _in_words(error: ValidationError, prefix: str = "") -> str:
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        what = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{prefix}{'.'.join(map(str, detail['loc'])) or 'answers'}: {what}")
    return "\n".join(lines)


def as_yaml(answers: Answers, password_file: Path, store: Path | None = None) -> str:
    """The configuration that these answers make, with a comment for each setting.

    Args:
        password_file: where the broker's password is, if there is one; it is never in the configuration.
        store: where windows are kept, if not where the installed service keeps them.

    Raises:
        ConfigError: the broker's address is none.
    """
    camera, lines = answers.camera, list[str]()
    lines += [
        f"# Written by edge-agent setup on {date.today().isoformat()}. Change it as you like.",  # noqa: DTZ011
        "# Every setting with its default: docs/configuration.md. Check a change with: edge-agent config check FILE",
        "",
        "device:",
        "  # What people read, on the page and in Home Assistant.",
        f"  name: {_quoted(answers.name)}",
        "",
        "camera:",
        "  # opencv: a USB camera, or a camera's address in the network. picamera2: the CSI port of a Raspberry Pi.",
        f"  backend: {camera.backend}",
        "  # A name in /dev/v4l/by-id stays the same over reboots. An address may hold a password: keep it secret.",
        f"  source: {_quoted(camera.source)}",
        "  # Turn the picture clockwise by this many degrees.",
        f"  rotate_deg: {camera.rotate_deg}",
        "",
        "privacy:",
        f"  # Confirmed at the first start: this hangs at a place of the kind '{answers.place}', neither a workplace",
        "  # nor a school. If that changes, this must be false and the device must not be used there.",
        "  acknowledged_use: true",
        "",
        "mqtt:",
    ]
    if answers.broker is None:
        lines += ["  # No broker: the page and the store work alone.", "  enabled: false"]
    else:
        mqtt = answers.broker.config(password_file)
        lines += [f"  host: {_quoted(mqtt.host)}", f"  port: {mqtt.port}"]
        if mqtt.username is not None:
            lines += [f"  username: {_quoted(mqtt.username)}"]
        if mqtt.password_file is not None:
            lines += ["  # The file that holds the password alone.", f"  password_file: {_quoted(str(password_file))}"]
        lines += [
            "  # A certificate that does not verify is refused.",
            f"  tls: {{enabled: {_word(value=mqtt.tls.enabled)}}}",
        ]
    if store is not None:
        lines += ["", "store:", f"  path: {_quoted(str(store))}"]
    lines += ["", "kiosk:", "  # The page.", f"  enabled: {_word(value=answers.page != 'none')}"]
    if answers.page == "network":
        lines += ["  # 0.0.0.0: everyone in the network sees it. 127.0.0.1: this machine alone."]
        lines += ["  host: 0.0.0.0"]
    lines += ["  # en, de, fr, es, tr or ar.", f"  language: {_quoted(answers.language)}"]
    return "\n".join(lines) + "\n"


def page_address(kiosk: KioskConfig) -> str:
    """Where a browser finds the page, from the machines that may see it."""
    is_shared = kiosk.host in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
    host = f"{local_name()}" if is_shared else kiosk.host
    return f"http://{f'[{host}]' if ':' in host else host}:{kiosk.port}/"


def local_name() -> str:
    """The name under which others in the network find this machine, by multicast DNS."""
    return f"{socket.gethostname().split('.')[0]}.local"


def _quoted(text: str) -> str:
    """As YAML's double-quoted text, which JSON's is."""
    return json.dumps(text, ensure_ascii=False)


def _word(*, value: bool) -> str:
    return "true" if value else "false"
