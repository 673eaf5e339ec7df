"""A real page over a real store, whose agent a test plays: it sets what the pipeline would have reported."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from edge_agent.config import Config
from edge_agent.kiosk import Kiosk
from edge_agent.live import Live
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.rounding import percentages
from edge_agent.store import open_store
from edge_agent.store.trend import Corrector
from edge_agent.types import CameraState, RollingShares, Shares, WindowReport
from edge_agent.vision.sitting import Calibrator
from tests.support.broker import free_port
from tests.support.windows import LABELS

TYPICAL = {"angry": 4.0, "disgust": 1.6, "fear": 2.4, "happy": 46.0, "sad": 7.0, "surprise": 11.0, "neutral": 28.0}

NIGHT_H = (9, 15)
"""When a remembered night begins and ends, in hours before now, whatever the hour of the test."""
MODEL = "stage"
"""What read the faces of all windows, so that they can be compared."""
LATELY = 180
"""People in the rolling estimate."""
CHANGED = {**TYPICAL, "happy": 14.0, "sad": 60.0}
"""A mix that differs from :data:`TYPICAL` whatever the intervals."""

CAMERA_DETAIL = (
    "opencv camera rtsp://viewer:***@10.20.30.40:554/Streaming/Channels/101?transportmode=unicast: cannot open the "
    "stream; check address, user and password with: ffplay URL"
)
"""What a real agent writes when a camera on the network is gone."""


def shares_of(weights: dict[str, float], people: int = 23) -> Shares:
    """Shares in proportion to ``weights`` with intervals as wide as that many people give."""
    values = np.array([weights.get(label, 0.0) for label in LABELS])
    best = percentages(values / values.sum())
    half = {label: 165 * np.sqrt(p / 100 * (1 - p / 100) / people) + 1 for label, p in zip(LABELS, best, strict=True)}
    shares = dict(zip(LABELS, best, strict=True))
    intervals = {
        label: (round(max(0.0, p - half[label]), 1), round(min(100.0, p + half[label]), 1))
        for label, p in shares.items()
    }
    return Shares(shares, shares, intervals, "adjusted_means", people, shares, 0.9)


def report_of(
    shares: Shares | None, suppressed: bool = False, rolling: Shares | None = None, age_s: float = 0.0
) -> WindowReport:
    """A window of ten seconds that closed ``age_s`` ago."""
    return WindowReport(
        window_start=datetime.now(timezone.utc) - timedelta(seconds=10 + age_s),
        start_monotonic_s=time.monotonic() - 10 - age_s,
        window_s=10.0,
        frames=150,
        faces=None if suppressed else 400,
        people=None if suppressed else (shares.people if shares else 0),
        suppressed=suppressed,
        shares=shares,
        gated=None if suppressed else {},
        rolling=RollingShares(900.0, rolling),
    )


class Stage:
    """Use as a context manager; the page is served between its ends."""

    def __init__(
        self,
        folder: Path | None = None,
        port: int | None = None,
        calibrator: Calibrator | None = None,
        **sections: dict[str, Any],
    ) -> None:
        self._calibrator = calibrator
        self._stack = ExitStack()
        if folder is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        kiosk = {"enabled": True, "port": port or free_port(), **sections.pop("kiosk", {})}
        self.config = Config.model_validate(
            {
                "device": {"id": "entrance", "name": "Entrance hall"},
                "store": {"path": folder / "windows.sqlite"},
                "privacy": {"acknowledged_use": True},
                "kiosk": kiosk,
                **sections,
            }
        )
        self.live = Live()
        self.registry = CollectorRegistry()

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.store = open_store(self.config.store, "stage", MODEL)
            stack.callback(self.store.close)
            corrector = Corrector(MODEL, ShareEstimator(LABELS, [1 / 7] * 7))
            self.kiosk = Kiosk(
                self.config,
                self.live,
                self.store,
                corrector=corrector,
                registry=self.registry,
                calibrator=self._calibrator,
            )
            self.kiosk.start()
            stack.callback(self.kiosk.stop)
            self._stack.push(stack.pop_all())
        self.url = self.kiosk.address.rstrip("/")
        self.live.update(camera=CameraState.RUNNING, window_s=self.config.window.seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tell(self, report: WindowReport) -> None:
        """What the agent does at the end of a window."""
        stored = self.store.append(report)
        self.live.update(report=stored.report, seq=stored.seq)

    def play(self, state: str) -> None:
        """Bring the agent into a state of the page."""
        self.live.update(paused=state == "paused")
        camera = {"camera_off": CameraState.GONE, "starting": CameraState.STARTING}.get(state, CameraState.RUNNING)
        self.live.update(camera=camera, camera_detail=CAMERA_DETAIL if state == "camera_off" else "")
        if state == "live":
            self.tell(report_of(shares_of(TYPICAL), rolling=shares_of(TYPICAL, LATELY)))
        elif state == "changed":
            self.tell(report_of(shares_of(CHANGED), rolling=shares_of(CHANGED, LATELY)))
        elif state == "too_few":
            self.tell(report_of(None, suppressed=True))
        elif state == "nobody":
            self.tell(report_of(None))
        elif state == "rolling":
            self.tell(report_of(None, suppressed=True, rolling=shares_of(TYPICAL, 41)))
        elif state == "stale":
            self.tell(report_of(shares_of(TYPICAL), age_s=600.0))

    def remember(self, hours: float, step_s: float = 60.0, seed: int = 4) -> None:
        """Fill the store with a day as a foyer has it: moods drift; six hours of it, :data:`NIGHT_H` ago, are empty."""
        rng = np.random.default_rng(seed)
        drift = np.zeros(len(LABELS))
        base = np.array([TYPICAL[label] for label in LABELS])
        for age_s in np.arange(hours * 3600, 30, -step_s):
            drift = 0.96 * drift + rng.normal(0, 0.09, len(LABELS))
            is_night = NIGHT_H[0] < float(age_s) / 3600 % 24 < NIGHT_H[1]
            mix = None if is_night else dict(zip(LABELS, base * np.exp(drift), strict=True))
            window, lately = (shares_of(mix), shares_of(mix, LATELY)) if mix else (None, None)
            self.store.append(report_of(window, rolling=lately, age_s=float(age_s)))
        self.kiosk._site._comparison.refresh()
