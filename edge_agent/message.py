"""The one JSON form of everything that leaves the device: MQTT, the page and exports use it alike.

docs/mqtt.md explains the fields; ``edge_agent/schemas/`` holds a JSON Schema for each kind of message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from edge_agent.types import RollingShares, Shares, StoredWindow

SCHEMA = 1
"""Number of the contract; fields are only added within a number."""


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
    config_sha256: str
    """Of the configuration without its secrets."""
    capabilities: tuple[str, ...]
    """The commands it obeys."""


def encode(payload: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON, fields in their documented order; ASCII, since a lone surrogate has no UTF-8.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    return json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()


def utc_text(moment: datetime) -> str:
    """``2026-11-22T09:34:38.123Z``: UTC, milliseconds."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def window_payload(stored: StoredWindow, device_id: str, historical: bool = False) -> dict[str, Any]:
    """One window as docs/mqtt.md describes it.

    Args:
        stored: what the store returned.
        device_id: ``device.id`` of the configuration.
        historical: True when it is told later than it was measured.
    """
    report = stored.report
    return {
        "schema": SCHEMA,
        "device": device_id,
        "session": stored.session,
        "seq": stored.seq,
        "window_start": utc_text(report.window_start),
        "window_s": report.window_s,
        "clock_synced": stored.clock_synced,
        "historical": historical,
        "frames": report.frames,
        "faces": report.faces,
        "people": report.people,
        "suppressed": report.suppressed,
        "gated": None if report.gated is None else dict(report.gated),
        **_shares(report.shares),
        "rolling": None if report.rolling is None else _rolling(report.rolling),
        "model": stored.model,
    }


def _shares(shares: Shares | None) -> dict[str, Any]:
    if shares is None:
        return {"percentages": None, "percentages_raw": None, "intervals": None, "method": None}
    return {
        "percentages": dict(shares.percentages),
        "percentages_raw": dict(shares.percentages_raw),
        "intervals": {label: list(bounds) for label, bounds in shares.intervals.items()},
        "method": shares.method,
    }


def _rolling(rolling: RollingShares) -> dict[str, Any]:
    people = None if rolling.shares is None else rolling.shares.people
    return {"span_s": rolling.span_s, "people": people, **_shares(rolling.shares)}


def status_payload(state: str, session: str, paused: bool | None = None) -> dict[str, Any]:
    """Birth (``online``), farewell (``stopped``) and will (``offline``).

    ``paused`` is left out of the will, which is written before anyone could know.
    """
    payload: dict[str, Any] = {"schema": SCHEMA, "state": state, "session": session}
    return payload if paused is None else {**payload, "paused": paused}


def info_payload(device_id: str, session: str, info: DeviceInfo, window_s: float) -> dict[str, Any]:
    """What hardly changes while the agent runs; ``window_s`` is how long windows last now, in seconds."""
    return {"schema": SCHEMA, "device": device_id, "session": session, **asdict(info), "window_s": window_s}


def response_payload(
    command: str, transaction: Any, error: str | None = None, data: Mapping[str, Any] | None = None
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
