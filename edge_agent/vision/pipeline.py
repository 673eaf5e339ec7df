"""From one frame to the open window: detect, track, judge, crop, classify."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edge_agent.config import FacesConfig
from edge_agent.detectors import Detector
from edge_agent.shares.window import Window
from edge_agent.types import Frame, Observe, TrackedFace
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.quality import gate
from edge_agent.vision.tracking import Tracker

KEPT_TIMINGS = 4096
"""Most timings of a window that are kept; the newest stay."""


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
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        window: Window,
        observe: Observe,
        limits: FacesConfig = FacesConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self._detector = detector
        self._classifier = classifier
        self._window = window
        self._observe = observe
        self._limits = limits
        self._tracker = Tracker()
        self._timings: deque[tuple[str, float]] = deque(maxlen=KEPT_TIMINGS)

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
            kept, weights = self._judge(frame, tracked)
            size = self._classifier.input_size
            crops = [crop_face(frame.image, item.face, self._detector.framing, size) for item in kept]
        if kept:
            with self._timed("classify"):
                scores = self._classifier.classify(np.stack(crops))
            with self._timed("window"):
                self._window.add(kept, scores, np.array(weights))
        self._window.count_frame(frame.captured_monotonic_s)

    def forget(self) -> None:
        """Drop all tracks, and the timings of an open window, as a pause does."""
        self._tracker.forget()
        self._timings.clear()

    def tell_timings(self, suppressed: bool, published: bool) -> None:
        """At the end of a window: pass its timings on, or drop them if its people are withheld."""
        for stage, seconds in self._timings:
            if published or (stage == "detect" and not suppressed):
                self._observe(stage, seconds)
        self._timings.clear()

    def _judge(self, frame: Frame, tracked: list[TrackedFace]) -> tuple[list[TrackedFace], list[float]]:
        """The faces that are good enough, each with its weight; the others are counted by reason."""
        kept, weights = [], []
        for item in tracked:
            quality = gate(frame.image, item.face, self._limits)
            if quality.reason is not None:
                self._window.gate(quality.reason)
                continue
            kept.append(item)
            weights.append(quality.weight)
        return kept, weights

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self._timings.append((stage, time.perf_counter() - started_s))
