"""A candidate beside the present model: it reads the same pictures, and nothing it says is published or stored.

What is kept are sums over published windows: how many people, and how far the two models' shares were apart. They are
told once these were at least :data:`LEAST_PEOPLE` people, as one number.
"""

from __future__ import annotations

import statistics
import time
from collections import deque

from edge_agent.config import Config
from edge_agent.detectors import Detector
from edge_agent.shares.window import Window
from edge_agent.types import Frame, Shares, WindowReport
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.pipeline import Pipeline

LEAST_PEOPLE = 100
"""Of fewer, the agreement would say something about them."""
WARM_UP = 2
"""Windows that do not count: the candidate has to find and follow people first."""
KEPT_TIMES = 2000


class Shadow:
    """Reads what the agent reads; not thread-safe.

    Args:
        config: the device's.
        classifier: the candidate's.
        detector: the candidate's, or another one of the same kind as the present one.
    """

    def __init__(self, config: Config, classifier: Classifier, detector: Detector) -> None:
        self._window = Window(
            config.window.model_copy(update={"rolling_s": 0.0}), config.privacy, classifier.share_estimator()
        )
        self._pipeline = Pipeline(
            detector, classifier, self._window, observe=lambda _stage, _seconds: None, limits=config.faces
        )
        self._times_s: deque[float] = deque(maxlen=KEPT_TIMES)
        self._closed = 0
        self._apart = 0.0
        self.people = 0
        """In the windows that count."""

    def process(self, frame: Frame) -> None:
        """Read one picture; raises what the candidate's runtime does."""
        began_s = time.perf_counter()
        self._pipeline.process(frame)
        self._times_s.append(time.perf_counter() - began_s)

    def forget(self) -> None:
        """As the present pipeline does after a pause, or where the picture has another size."""
        self._pipeline.forget()
        self._window.restart(time.monotonic())

    def close(self, present: WindowReport, now_s: float) -> None:
        """End the window that the present model has just reported on, and compare the two if that was published."""
        own = self._window.close(now_s).shares
        self._pipeline.tell_timings(suppressed=True, published=False)
        self._closed += 1
        if present.shares is None or not present.people or self._closed <= WARM_UP:
            return
        self.people += present.people
        # Who publishes nothing where the present model does agrees in nothing.
        self._apart += present.people * (100.0 if own is None else apart(own, present.shares))

    @property
    def agreement(self) -> float | None:
        """Percent; None before enough people were read."""
        return None if self.people < LEAST_PEOPLE else round(100.0 - self._apart / self.people, 1)

    @property
    def ms(self) -> float | None:
        """Milliseconds for a picture, half of them took longer; None before the first."""
        return round(1000 * statistics.median(self._times_s), 2) if self._times_s else None


def apart(one: Shares, other: Shares) -> float:
    """Half the sum of the differences of two groups' shares: the percent that would have to be moved, 0 to 100.

    The plain averages are compared. The corrected ones would also differ by how sure each model may be.
    """
    labels = one.percentages_raw.keys() | other.percentages_raw.keys()
    return sum(abs(one.percentages_raw.get(k, 0.0) - other.percentages_raw.get(k, 0.0)) for k in labels) / 2
