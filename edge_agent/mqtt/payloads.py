"""The messages other than windows and health, in the form of docs/mqtt.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edge_agent.live import LiveState
from edge_agent.message import SCHEMA
from edge_agent.types import CameraState


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """Which network reads the faces."""

    name: str
    sha256: str
    """Of its file, in hexadecimal."""
    labels_of: str
    """The head that answers."""
    runtime: str
    """The interpreter that runs it."""
    release: str | None = None
    """The release that it came with; None: the package, or a file that the configuration names."""
    channel: str = "stable"
    """Which releases this device takes."""


@dataclass(frozen=True, slots=True)
class SiteInUse:
    """A site's own calibration."""

    id: str
    """As it is in a window's ``model``."""
    faces: int
    error_before: float
    """Cross-validated mean error of shares in points, without and with it."""
    error_after: float


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What does not change while the agent runs, field by field as ``.../info`` tells it."""

    version: str
    name: str
    labels: tuple[str, ...]
    """Emotion names in the model's order."""
    model: ModelInUse
    detector: str
    camera: str
    """The backend."""
    rolling_s: float
    """Span of the rolling estimate in seconds, 0 without one."""
    min_people: int
    site: SiteInUse | None
    """None without a calibration of the site's own, or where it was made for another model."""
    config_sha256: str
    """Of the configuration without its secrets."""
    capabilities: tuple[str, ...]
    """The commands it obeys."""


def will_payload(session: str) -> dict[str, Any]:
    """The will: ``offline``, and nothing that is not known when it is written."""
    return {"schema": SCHEMA, "state": "offline", "session": session}


def status_payload(state: str, session: str, live: LiveState, *, paused: bool) -> dict[str, Any]:
    """Birth (``online``) and farewell (``stopped``), with how the camera is."""
    return {
        "schema": SCHEMA,
        "state": state,
        "session": session,
        "paused": paused,
        "camera": live.camera,
        "trouble": live.trouble,
        "problem": live.camera in (CameraState.STALLED, CameraState.GONE) or live.trouble is not None,
    }


def read_status(payload: bytes) -> tuple[str, str]:
    """State and session of a status that anybody may have published; empty where it is none."""
    try:
        status = json.loads(payload)
    except (ValueError, RecursionError):
        return "", ""
    state, session = (status.get("state"), status.get("session")) if isinstance(status, dict) else (None, None)
    return (state, session[:64]) if isinstance(state, str) and isinstance(session, str) else ("", "")


def info_payload(device_id: str, session: str, info: DeviceInfo, *, window_s: float) -> dict[str, Any]:
    """What hardly changes while the agent runs; ``window_s`` is how long windows last now, in seconds."""
    return {"schema": SCHEMA, "device": device_id, "session": session, **asdict(info), "window_s": window_s}


def response_payload(
    command: str, transaction: Any, error: str | None = None, *, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The answer to a command; ``transaction`` is echoed as it came."""
    return {
        "schema": SCHEMA,
        "command": command,
        "transaction": transaction,
        "status": "ok" if error is None else "error",
        "error": error,
        "data": dict(data or {}),
    }
