"""The one JSON form of everything that leaves the device: MQTT, the page and exports all use it.

docs/mqtt.md explains the fields; ``edge_agent/schemas/`` holds a JSON Schema for each kind of message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from edge_agent.types import RollingShares, Shares, StoredWindow

SCHEMA = 1
"""Number of the contract; fields are only added within a number."""


def encode(payload: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON, fields in their documented order. ASCII, because a lone surrogate cannot be UTF-8.

    Raises:
        ValueError: a number is not finite; JSON has no form for it.
    """
    return json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()


def utc_text(moment: datetime) -> str:
    """``2026-11-22T09:34:38.123Z``: UTC, milliseconds."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def window_payload(
    stored: StoredWindow, device_id: str, *, historical: bool = False, rolling: bool = True
) -> dict[str, Any]:
    """One window as docs/mqtt.md describes it.

    Args:
        stored: what the store returned.
        device_id: ``device.id`` of the configuration.
        historical: True when it is sent later than it was measured.
        rolling: False leaves the rolling estimate out, for a broker that takes no message of that length.
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
        "quality": None if report.shares is None else report.shares.quality,
        **_shares(report.shares),
        "rolling": None if report.rolling is None or not rolling else _rolling(report.rolling),
        "model": stored.model,
    }


_SHARES = ("percentages", "percentages_raw", "intervals", "method", "percentages_even", "familiar")


def _shares(shares: Shares | None) -> dict[str, Any]:
    if shares is None:
        return dict.fromkeys(_SHARES)
    return {
        "percentages": dict(shares.percentages),
        "percentages_raw": dict(shares.percentages_raw),
        "intervals": {label: list(bounds) for label, bounds in shares.intervals.items()},
        "method": shares.method,
        "percentages_even": None if shares.percentages_even is None else dict(shares.percentages_even),
        "familiar": shares.familiar,
    }


def _rolling(rolling: RollingShares) -> dict[str, Any]:
    people = None if rolling.shares is None else rolling.shares.people
    return {"span_s": rolling.span_s, "people": people, **_shares(rolling.shares)}
