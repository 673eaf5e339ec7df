"""What the page says: one look at the agent, as the few figures that are shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from edge_agent.kiosk.comparison import Compared
from edge_agent.live import LiveState
from edge_agent.types import CameraState, Shares, WindowReport

IDENTIFY_S = 15.0
"""Seconds for which the page shows the device's name after the command ``identify``."""

LOW_QUALITY = 0.3
"""Below this quality most faces of a window were doubtful."""

_PLEASANT_FIRST = ("happy", "surprise", "neutral", "sad", "fear", "disgust", "contempt", "angry")


class State(str, Enum):
    """The states of the page; an earlier one hides a later one. The page itself adds ``agent_down``."""

    PAUSED = "paused"
    CAMERA_OFF = "camera_off"
    STARTING = "starting"
    TOO_FEW = "too_few"
    NOBODY = "nobody"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Shown:
    """The shares that the bars show."""

    shares: Shares
    span_s: float
    """Seconds that they cover: those of the window, or of the rolling estimate if the window has no shares."""
    rolling: bool


def state_of(live: LiveState) -> State:
    """Tell the states of the page apart."""
    if live.paused:
        return State.PAUSED
    if live.camera not in (CameraState.STARTING, CameraState.RUNNING):
        return State.CAMERA_OFF
    if live.report is None or live.camera is CameraState.STARTING or not live.report.frames:
        return State.STARTING
    if live.report.suppressed:
        return State.TOO_FEW
    return State.NOBODY if live.report.shares is None else State.LIVE


def shown(report: WindowReport | None, state: State) -> Shown | None:
    """The window's shares, else the rolling estimate, so that a small shop sees something, too."""
    if report is None or state in (State.PAUSED, State.CAMERA_OFF, State.STARTING):
        return None
    if report.shares is not None:
        return Shown(report.shares, report.window_s, rolling=False)
    if report.rolling is not None and report.rolling.shares is not None:
        return Shown(report.rolling.shares, report.rolling.span_s, rolling=True)
    return None


def doubt_of(live: LiveState, state: State) -> str | None:
    """Why the figures are no usual ones: ``alone`` while somebody tries the device, what most faces suffer from, or
    ``low`` quality; None if they are."""
    if state not in (State.LIVE, State.NOBODY):
        return None
    if live.is_trial:
        return "alone"
    if live.trouble is not None:
        return "tilted" if live.trouble.is_tilt else live.trouble.value
    quality = None if live.report is None or live.report.shares is None else live.report.shares.quality
    return "low" if quality is not None and quality < LOW_QUALITY else None


def display_order(labels: Sequence[str]) -> tuple[str, ...]:
    """From pleasant to unpleasant, unknown ones last: the order of the bars and of the trend has a meaning."""
    known = {label: rank for rank, label in enumerate(_PLEASANT_FIRST)}
    return tuple(sorted(labels, key=lambda label: known.get(label, len(known))))


def figures(
    live: LiveState,
    labels: Sequence[str],
    build: str,
    *,
    compared: Compared | None = None,
    quiet_until: str | None = None,
    now_monotonic_s: float | None = None,
) -> dict[str, Any]:
    """The JSON of ``/api/current`` and of the page's events; ``openapi.json`` describes every field."""
    now = time.monotonic() if now_monotonic_s is None else now_monotonic_s
    state = state_of(live)
    report, age_s = live.report, live.report_age_s(now)
    visible = shown(report, state)
    answer: dict[str, Any] = {
        "state": state.value,
        "seq": live.seq,
        "window_end": None,
        "age_s": None if age_s is None else round(age_s, 1),
        "stale_after_s": live.stale_after_s,
        "people": visible.shares.people if visible else (0 if state is State.NOBODY else None),
        "span_s": visible.span_s if visible else None,
        "rolling": visible.rolling if visible else False,
        "method": visible.shares.method if visible else None,
        "familiar": visible.shares.familiar if visible else None,
        "doubt": doubt_of(live, state),
        "emotions": [_emotion(label, visible.shares if visible else None) for label in labels],
        "compared": _compared(compared) if visible and compared else None,
        "quiet_until": quiet_until,
        "identify_s": _identify_s(live, now),
        "build": build,
    }
    if report is not None:
        answer["window_end"] = _iso(report)
    return answer


def strongest(emotions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The emotion with the largest share; None without figures."""
    known = [emotion for emotion in emotions if emotion["percent"] is not None]
    return max(known, key=lambda emotion: float(emotion["percent"]), default=None)


def _emotion(label: str, shares: Shares | None) -> dict[str, Any]:
    if shares is None:
        return {"label": label, "percent": None, "low": None, "high": None}
    low, high = shares.intervals.get(label, (None, None))
    return {"label": label, "percent": shares.percentages[label], "low": low, "high": high}


def _compared(compared: Compared) -> dict[str, Any]:
    found = compared.difference
    difference = None
    if found is not None:
        now, before = _emotion(found.label, found.now), _emotion(found.label, found.before)
        difference = {"past": found.past.value, "label": found.label, "now": now, "before": before}
    pasts = [past.value for past in compared.pasts]
    return {"span_s": compared.span_s, "pasts": pasts, "difference": difference}


def _identify_s(live: LiveState, now_monotonic_s: float) -> float:
    """Seconds for which the device's name is still to be shown; 0.0: not at all."""
    if live.identified_monotonic_s is None:
        return 0.0
    return round(max(0.0, live.identified_monotonic_s + IDENTIFY_S - now_monotonic_s), 1)


def _iso(report: WindowReport) -> str:
    end = report.window_start + timedelta(seconds=report.window_s)
    return end.isoformat(timespec="milliseconds").replace("+00:00", "Z")
