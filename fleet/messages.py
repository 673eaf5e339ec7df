"""The devices' messages (docs/mqtt.md) as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SCHEMA = 1
LABELS = 7
"""A window has columns for so many emotions; models with fewer leave the last ones at zero."""
LARGEST = 64 * 1024
"""Bytes of a message; a window has about 2 KB."""
_INT64 = 2**63 - 1


class MessageError(ValueError):
    """A message is not as docs/mqtt.md has it; the text says how."""


@dataclass(frozen=True, slots=True)
class Window:
    """One closed window."""

    device: str
    session: str
    seq: int
    start_ms: int
    """Since 1970, UTC."""
    window_s: float
    synced: bool
    """Whether ``start_ms`` can be believed."""
    suppressed: bool
    people: int | None
    model: str
    labels: tuple[str, ...]
    """Names of the readings' columns; empty without readings."""
    readings: tuple[int, ...]
    """Tenths of a percent: the plain averages of each emotion, then the even ones; empty without percentages."""
    published: tuple[int, ...]
    """Tenths of a percent: what the device showed."""
    familiar: float | None
    quality: float | None
    gated: Mapping[str, int]
    """Face detections left out, by reason."""


@dataclass(frozen=True, slots=True)
class News:
    """What a device says of itself: a ``status``, an ``info`` or a ``health`` message."""

    device: str
    kind: str
    fields: Mapping[str, Any]


def read_message(topic: str, payload: bytes, prefix: str) -> Window | News | None:
    """What a message says; None for topics that are not collected. Raises MessageError."""
    head, _, rest = topic.partition("/")
    device, _, kind = rest.partition("/")
    if head != prefix or kind not in ("emotions", "emotions/history", "status", "info", "health"):
        return None
    if not payload and kind in ("status", "info"):
        return None  # somebody cleared a retained message
    fields = _fields(payload)
    if kind.startswith("emotions"):
        return _window(device, fields)
    return News(device, kind, fields)


def _fields(payload: bytes) -> dict[str, Any]:
    if len(payload) > LARGEST:
        raise MessageError(f"{len(payload)} bytes are more than {LARGEST}")
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MessageError("no JSON object")
    if fields.get("schema") != SCHEMA:
        raise MessageError(f"schema {fields.get('schema')!r} instead of {SCHEMA}: this collector is older or newer")
    return fields


def _window(device: str, fields: dict[str, Any]) -> Window:
    try:
        if fields["device"] != device:
            raise MessageError(f"comes as a window of {fields['device']!r}: a device speaks only for itself")
        percentages = fields["percentages"]
        labels = tuple(percentages) if percentages else ()
        if len(labels) > LABELS:
            raise MessageError(f"{len(labels)} emotions are more than {LABELS}")
        readings = [fields[name][label] for name in ("percentages_raw", "percentages_even") for label in labels]
        return Window(
            device=device,
            session=_text(fields["session"]),
            seq=_count(fields["seq"]),
            start_ms=round(datetime.fromisoformat(fields["window_start"].replace("Z", "+00:00")).timestamp() * 1000),
            window_s=float(fields["window_s"]),
            synced=bool(fields["clock_synced"]),
            suppressed=bool(fields["suppressed"]),
            people=None if fields["people"] is None else _count(fields["people"]),
            model=_text(fields["model"]),
            labels=labels,
            readings=tuple(_tenths(value) for value in readings),
            published=tuple(_tenths(percentages[label]) for label in labels),
            familiar=_share(fields.get("familiar")),
            quality=_share(fields.get("quality")),
            gated={_text(reason): _count(number) for reason, number in (fields.get("gated") or {}).items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"no window as docs/mqtt.md has it: {type(error).__name__} {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or "\0" in value:
        raise MessageError(f"{value!r:.60} is no short text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT64:
        raise MessageError(f"{value!r:.60} is no number of things")
    return value


def _tenths(value: float) -> int:
    tenths = round(float(value) * 10)
    if not 0 <= tenths <= 1000:
        raise MessageError(f"{value!r:.60} is no percentage")
    return tenths


def _share(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise MessageError(f"{value!r:.60} is not between 0 and 1")
    return float(value)
