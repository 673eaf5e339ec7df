"""A made-up day for the demo's store, so that its page has a past. Each of its windows is marked as an example."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import StoreConfig
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.store import open_store
from edge_agent.store.store import EXAMPLE
from edge_agent.types import RollingShares, Shares, WindowReport
from edge_agent.vision.classifier import Classifier

HOURS = 26.0
"""Long enough to have an hour ago and yesterday."""
STEP_S = (600.0, 120.0)
"""Between two windows: before the last hour, and in it."""
COMPARED_S = (3600.0, 86_400.0)
"""Ages of the windows that the page compares now with; around them there is a rolling estimate every few minutes."""
WINDOW_S = 10.0
ROLLING_S = 900.0
NIGHT = (1, 7)
"""Hours of the day in which nobody comes; not in those that are compared with now, whenever somebody shows the demo."""
SEED = 5

Faces = list[NDArray[np.float64]]
"""The model's answers to real faces with known labels, one array of shape (faces, labels) for each label."""


def write_example_day(config: StoreConfig, classifier: Classifier) -> None:
    """Fill the store with the day before now: crowds are drawn, but their faces' answers and the figures are real ones.

    Nothing of it is sent to a broker. A model without reference faces has no example.
    """
    reference = classifier.head.reference
    if reference is None:
        return
    faces = reference.decode()
    by_label = [faces.posteriors[faces.labels == label] for label in range(len(classifier.labels))]
    estimator, rng = classifier.share_estimator(), np.random.default_rng(SEED)
    drift = np.zeros(len(classifier.labels))
    store = open_store(config, EXAMPLE, classifier.id)
    try:
        for age_s in _ages():
            drift = 0.97 * drift + rng.normal(0.0, 0.1, len(drift))
            mix = estimator.prior * np.exp(drift)
            report = _window(age_s, mix / mix.sum(), rng, faces=by_label, estimator=estimator)
            store.mark_delivered([store.append(report)])
    finally:
        store.close()


def _ages() -> list[float]:
    """Seconds before now at which windows end, the oldest first."""
    old = set(np.arange(HOURS * 3600, 3600.0, -STEP_S[0])) | set(np.arange(3600.0, 30.0, -STEP_S[1]))
    near = {middle + shift for middle in COMPARED_S for shift in np.arange(-1500.0, 1501.0, 240.0)}
    return sorted((float(age_s) for age_s in old | near), reverse=True)


def _window(
    age_s: float, mix: NDArray[np.float64], rng: np.random.Generator, *, faces: Faces, estimator: ShareEstimator
) -> WindowReport:
    start = datetime.now(timezone.utc) - timedelta(seconds=age_s + WINDOW_S)
    is_night = NIGHT[0] <= start.astimezone().hour < NIGHT[1] and 2 < age_s / 3600 < 22
    is_compared = any(abs(age_s - middle) <= 1500.0 for middle in COMPARED_S)
    people = 0 if is_night else int(rng.integers(4, 15))

    def shares(count: int) -> Shares | None:
        chosen = rng.multinomial(count, mix)
        rows = [rng.choice(answers, number) for answers, number in zip(faces, chosen, strict=True)]
        return estimator.estimate(np.concatenate(rows)) if count else None

    return WindowReport(
        window_start=start.replace(microsecond=start.microsecond // 1000 * 1000),
        start_monotonic_s=time.monotonic() - age_s - WINDOW_S,
        window_s=WINDOW_S,
        frames=150,
        faces=30 * people,
        people=people,
        suppressed=False,
        shares=shares(people),
        gated={} if people else None,
        rolling=RollingShares(ROLLING_S, shares(10 * people) if is_compared else None),
    )
