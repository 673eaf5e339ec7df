"""The agent's configuration: one YAML file, checked as a whole before anything starts.

Every key has a default, its unit in its name and a sentence in ``configs/agent.yaml``. An environment variable
``COUNTENANCE_<SECTION>__<KEY>`` overrides one key. Secrets are never in here: see :mod:`edge_agent.config.credentials`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge_agent.host.machine import mark

STATE_DIR = Path("/var/lib/countenance")


def _topic_level(value: str) -> str:
    """MQTT 5, section 4.7, narrowed to what Home Assistant allows in an id."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise ValueError("must be 1 to 64 of a-z, A-Z, 0-9, '-' and '_' (it becomes a level of MQTT topics)")
    return value


def _topic_prefix(value: str) -> str:
    if not re.fullmatch(r"[^/+#\x00$][^+#\x00]*(?<!/)", value):
        raise ValueError("must be MQTT topic levels: no '+' or '#', no '$' or '/' at the start, no '/' at the end")
    return value


def _name_in_a_network(value: str) -> str:
    """A name or an address alone; people know it from elsewhere with a scheme before it and a port behind it."""
    if _is_address(value):
        return value
    if (parts := _URL.fullmatch(value)) and parts["host"] != value:
        raise ValueError(f"must be the name or address alone; write {_as_keys(**parts.groupdict())}")
    if not value.isprintable() or not _MEANINGLESS_IN_A_NAME.isdisjoint(value):
        raise ValueError("must be a host name or address, without spaces or commas")
    try:
        value.encode("idna")  # as Python's sockets do
    except UnicodeError:
        raise ValueError("must be a host name or address: parts of 1 to 63 characters, with dots between") from None
    return value


_URL = re.compile(r"(?:(?P<scheme>\w+)://)?(?:[^/@]*@)?(?P<host>\[[^]]*\]|[^:/@]*)(?::(?P<port>\d*))?(?:/.*)?")
_MEANINGLESS_IN_A_NAME = set(" :/@[],;'\"\\")
_ENCRYPTED = ("mqtts", "ssl", "tls", "wss")


def _hours(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value) or value[:5] == value[6:]:
        raise ValueError("must be two times of the day like '22:00-07:00', in quotes")
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _as_keys(*, scheme: str | None, host: str, port: str | None) -> str:
    """What to write in place of a URL, or of a name with a port."""
    keys = [f"host: {host.strip('[]') or 'NAME'}"]
    if port:
        keys.append(f"port: {port}")
    if scheme in _ENCRYPTED:
        keys.append("tls: {enabled: true}")
    return ", ".join(keys)


def _device_id() -> str:
    """The machine's name, cut to what a topic level may hold, and its mark: many machines are named ``raspberrypi``."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:57] or "device"
    return "-".join(filter(None, (name, mark())))


TopicLevel = Annotated[str, AfterValidator(_topic_level)]
TopicPrefix = Annotated[str, Field(max_length=256), AfterValidator(_topic_prefix)]
Host = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_name_in_a_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Section(BaseModel):
    """Frozen, and unknown keys are refused: a mistyped key must not be ignored without a word."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, protected_namespaces=()
    )


class DeviceConfig(_Section):
    """Who this device is."""

    id: TopicLevel = Field(default_factory=_device_id)
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    @property
    def shown_name(self) -> str:
        """What people read; with the id in it where no name was given, so that two devices can be told apart."""
        return self.name or f"Countenance {self.id}"


Region = tuple[Fraction, Fraction, Fraction, Fraction]


def _inside(region: Region) -> Region:
    x, y, width, height = region
    if width <= 0 or height <= 0 or x + width > 1.0 + 1e-9 or y + height > 1.0 + 1e-9:
        raise ValueError("must be [x, y, width, height] in fractions, inside the picture, e.g. [0.25, 0, 0.5, 1]")
    return region


Area = Annotated[Region, AfterValidator(_inside)]


class CameraConfig(_Section):
    """Where pictures come from, and how they are turned before they are read."""

    backend: Literal["picamera2", "opencv", "gstreamer", "replay"] = "opencv"
    source: str | int = 0
    width_px: Annotated[int, Field(ge=16, le=7680)] = 640
    height_px: Annotated[int, Field(ge=16, le=4320)] = 480
    fps: Annotated[float, Field(ge=0.0, le=240.0)] | None = 15.0
    loop: bool = True
    rotate_deg: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    region: Area = (0.0, 0.0, 1.0, 1.0)
    masks: Annotated[tuple[Area, ...], Field(max_length=100)] = ()
    stall_s: Annotated[float, Field(gt=0.0, le=600.0)] = 10.0
    reopen_max_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0


class DetectorConfig(_Section):
    """How faces are found."""

    kind: Literal["built_in", "yunet", "whole_frame"] = "built_in"
    size: Annotated[int, Field(ge=64, le=1920)] = 448
    min_score: Fraction | None = None
    looks_per_s: Annotated[float, Field(ge=0.2, le=60.0)] = 5.0
    path: Path | None = None


class FacesConfig(_Section):
    """Which of the found faces are good enough to be read."""

    min_size_px: Annotated[int, Field(ge=1, le=4096)] = 20
    min_sharpness: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    max_turn: Annotated[float, Field(ge=0.0, le=10.0)] = 0.5
    max_roll_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 40.0
    min_contrast: Annotated[float, Field(ge=0.0, le=255.0)] = 24.0
    max_clipped: Fraction = 0.75
    max_noise: Annotated[float, Field(ge=0.0, le=10.0)] = 0.045
    still_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 10.0


class ModelConfig(_Section):
    """Which network reads the faces."""

    path: Path | None = None
    runtime: Literal["auto", "litert", "tflite"] = "auto"
    labels: Literal["default", "fer2013", "ferplus"] = "default"
    threads: Annotated[int, Field(ge=1, le=64)] = 1


class UpdatesConfig(_Section):
    """Signed updates of models."""

    source: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    channel: Literal["stable", "canary"] = "stable"
    automatic: bool = True
    folder: Path = Path("/var/lib/countenance-models")
    root_file: Path = Path("/etc/countenance/models-root.json")


WINDOW_S = (1.0, 3600.0)
"""Shortest and longest window in seconds."""


class WindowConfig(_Section):
    """Time over which people's emotions are aggregated."""

    seconds: Annotated[float, Field(ge=WINDOW_S[0], le=WINDOW_S[1])] = 10.0
    rolling_s: Annotated[float, Field(ge=0.0, le=86400.0)] = 900.0


class PrivacyConfig(_Section):
    """What protects the people in front of the camera."""

    min_people: Annotated[int, Field(ge=1, le=1000)] = 3
    acknowledged_use: bool = False


class TlsConfig(_Section):
    """TLS towards the broker; certificates are always verified."""

    enabled: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> TlsConfig:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _on_where_it_is_described(self) -> TlsConfig:
        """Who names a certificate expects TLS; without it, user name and password would be sent in clear text."""
        named = [key for key in ("ca_file", "cert_file", "key_file") if getattr(self, key) is not None]
        if named and not self.enabled:
            raise ValueError(f"{' and '.join(named)} without TLS: add 'enabled: true', or take that out")
        return self


class MqttConfig(_Section):
    """The broker and how to connect to it. The password is a secret: see docs/mqtt.md."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 1883
    username: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    password_file: Path | None = None
    tls: TlsConfig = TlsConfig()
    version: Literal["auto", "5", "3.1.1"] = "auto"
    topic_prefix: TopicPrefix = "countenance"
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    discovery: bool = True
    discovery_prefix: TopicPrefix = "homeassistant"
    health_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 30.0
    reconnect_max_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 30.0
    history_per_s: Annotated[float, Field(ge=0.1, le=1000.0)] = 10.0


class StoreConfig(_Section):
    """The file of windows: the page's history and MQTT's outbox in one."""

    path: Path = STATE_DIR / "windows.sqlite"
    max_age_days: Annotated[float, Field(gt=0.0, le=3650.0)] = 30.0
    max_rows: Annotated[int, Field(ge=100, le=100_000_000)] = 259_200
    max_mb: Annotated[float, Field(ge=1.0, le=1_000_000.0)] = 200.0


class KioskConfig(_Section):
    """The offline page."""

    enabled: bool = False
    host: Host = "127.0.0.1"
    port: Port = 8765
    title: Annotated[str, Field(min_length=1, max_length=80)] = "How do we feel?"
    logo: Path | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$")] = "en"
    distance_m: Literal[1, 3, 5] = 3
    theme: Path | None = None
    quiet_hours: Annotated[str, AfterValidator(_hours)] | None = None
    emotions: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    predict: Literal["loopback", "always", "never"] = "loopback"
    allowed_hosts: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    cameras: Annotated[tuple[Port, ...], Field(max_length=16)] = ()


class MetricsConfig(_Section):
    """A separate Prometheus end point, for devices without the kiosk."""

    enabled: bool = False
    host: Host = "127.0.0.1"
    port: Port = 9465


class LogConfig(_Section):
    """What is written to the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "journal"] = "auto"


class Config(_Section):
    """Everything; each section is frozen."""

    device: DeviceConfig = DeviceConfig()
    camera: CameraConfig = CameraConfig()
    detector: DetectorConfig = DetectorConfig()
    faces: FacesConfig = FacesConfig()
    model: ModelConfig = ModelConfig()
    updates: UpdatesConfig = UpdatesConfig()
    window: WindowConfig = WindowConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    mqtt: MqttConfig = MqttConfig()
    store: StoreConfig = StoreConfig()
    kiosk: KioskConfig = KioskConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
