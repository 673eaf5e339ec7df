"""From one frame to the open window: detect, track, judge, crop, classify."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import FacesConfig
from edge_agent.detectors import Detector
from edge_agent.shares.window import Window
from edge_agent.types import Frame, Observe, TrackedFace, Trouble
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.quality import Reason, gate
from edge_agent.vision.sitting import Sitting
from edge_agent.vision.stillness import Life, Stillness
from edge_agent.vision.tracking import Tracker
from edge_agent.vision.upright import upright_odds
from edge_agent.vision.view import View

KEPT_TIMINGS = 4096
"""Most timings of a window that are kept; the newest stay."""
LEAST_ODDS = -1.0
"""Mean log odds of being upright below which a track is left out. So low, because 6 % of children and of Asian faces
lie below 0, and 1 % of white ones: whether a camera hangs wrong is for all of its faces together to tell."""
KEPT_TRACKS = 500
"""Tracks whose odds are remembered at most, those seen last."""


@dataclass(frozen=True, slots=True)
class _GoodFace:
    """A face that will be read."""

    tracked: TrackedFace
    crop: NDArray[np.uint8]
    """What the classifier takes, shape (height, width, 1)."""
    weight: float
    """How much this sighting counts among the others of the same person, above 0 and up to 1."""
    odds: float
    """Log odds that its track is upright."""
    alive: bool
    """Whether its track is known to be no photograph."""


class Pipeline:
    """The stages that read pixels, in their order. After :meth:`process` returns, no pixel is kept.

    Args:
        detector: finds the faces.
        classifier: reads them.
        window: gathers what was read.
        observe: called with the name and the duration in seconds of every stage, when the window ends. The durations
        and their number tell how many faces there are. So it is not called for people who are withheld, and for a
        window without people only with the detector.
        limits: which faces are good enough.
        sitting: takes the answers of people who agreed, while somebody is asked.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        window: Window,
        *,
        observe: Observe,
        limits: FacesConfig = FacesConfig(),  # noqa: B008 (frozen)
        sitting: Sitting | None = None,
    ) -> None:
        self._detector = detector
        self._classifier = classifier
        self._window = window
        self._observe = observe
        self._limits = limits
        self._sitting = sitting
        self._tracker = Tracker()
        self._view = View()
        self._stillness = Stillness(limits.still_s)
        self._upright: dict[int, tuple[float, int]] = {}  # the sum of a track's odds, and of how many faces
        self._timings: deque[tuple[str, float]] = deque(maxlen=KEPT_TIMINGS)

    @property
    def trouble(self) -> Trouble | None:
        """What most faces suffer from, judged on enough people to be about none of them."""
        return self._view.trouble

    def bridges(self, at_monotonic_s: float) -> bool:
        """Whether people in a frame of this time can be matched with those of the last frame; False after a long
        gap."""
        return self._tracker.bridges(at_monotonic_s)

    def process(self, frame: Frame) -> None:
        """Read the faces of one frame into the window."""
        with self._timed("detect"):
            faces = self._detector.detect(frame.image)
        with self._timed("track"):
            tracked = self._tracker.update(faces, frame.captured_monotonic_s)
        with self._timed("crop"):
            kept = self._judge(frame, tracked)
        if kept:
            with self._timed("classify"):
                scores = self._classifier.classify(np.stack([face.crop for face in kept]))
            with self._timed("window"):
                self._window.add(
                    [face.tracked for face in kept],
                    scores,
                    np.array([face.weight for face in kept]),
                    alive=np.array([face.alive for face in kept]),
                )
            # Only somebody alone in view: others did not agree.
            if len(tracked) == 1 and self._sitting is not None and self._sitting.wants:
                self._sitting.take(self._classifier.head.calibrated(self._classifier.logits(kept[0].crop[None]))[0])
        self._window.count_frame(frame.captured_monotonic_s)
        self._view.judge()

    def fill(self, window: Window) -> None:
        """From now on read into this window."""
        self._window = window

    def forget(self) -> None:
        """Drop all tracks, and the timings of an open window, as a pause does."""
        self._tracker.forget()
        self._stillness.forget()
        self._timings.clear()

    def tell_timings(self, *, suppressed: bool, published: bool) -> None:
        """At the end of a window: pass its timings on, or drop them if its people are withheld."""
        for stage, seconds in self._timings:
            if published or (stage == "detect" and not suppressed):
                self._observe(stage, seconds)
        self._timings.clear()

    def _judge(self, frame: Frame, tracked: list[TrackedFace]) -> list[_GoodFace]:
        """The faces that are good enough; the others are counted by reason."""
        kept = []
        lives = self._stillness.judge(frame.image, tracked, frame.captured_monotonic_s)
        for item, life in zip(tracked, lives, strict=True):
            if life is Life.STILL:
                self._window.gate("still", item.track)
                continue
            verdict = self._look_at(frame.image, item, life)
            self._view.see(item.track, verdict if isinstance(verdict, str) else "tilted" if verdict.odds < 0 else None)
            if isinstance(verdict, _GoodFace) and self.trouble is not None and self.trouble.is_tilt:
                verdict = "tilted"  # which way is up, all faces before one camera have in common
            if isinstance(verdict, _GoodFace):
                kept.append(verdict)
            else:
                self._window.gate(verdict, item.track)
        return kept

    def _look_at(self, image: NDArray[np.uint8], item: TrackedFace, life: Life) -> _GoodFace | Reason:
        quality = gate(image, item.face, self._limits)
        if quality.reason == "tilted":
            self._window.lean(item.track, LEAST_ODDS)
        if quality.reason is not None:
            return quality.reason
        crop = crop_face(image, item.face, self._detector.framing, size=self._classifier.input_size)
        odds = self._odds(item.track, crop)
        self._window.lean(item.track, odds)
        return "tilted" if odds < LEAST_ODDS else _GoodFace(item, crop, quality.weight, odds, life is Life.ALIVE)

    def _odds(self, track: int, crop: NDArray[np.uint8]) -> float:
        """Log odds that this track is upright: the mean of what its faces have shown so far."""
        total, count = self._upright.pop(track, (0.0, 0))
        total, count = total + upright_odds(crop), count + 1
        self._upright[track] = total, count
        if len(self._upright) > KEPT_TRACKS:
            del self._upright[next(iter(self._upright))]
        if total < 0:
            self._view.lean([upright_odds(np.rot90(crop, quarter)) for quarter in range(4)])
        return total / count

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self._timings.append((stage, time.perf_counter() - started_s))
