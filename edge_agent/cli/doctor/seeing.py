"""Do the model and the detector work on this machine?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from edge_agent.cli.doctor.check import Check, ok
from edge_agent.config import Config

REPEATS = 10


def examine_model(config: Config) -> Iterable[Check]:
    """Load the model, compare its answers to the stored ones, and time it."""
    from edge_agent.vision.classifier import load_classifier

    classifier = load_classifier(config.model)
    model = classifier.model
    classifier.self_test()
    crops = model.self_test_crops()[:1]
    milliseconds = _milliseconds(lambda: classifier.classify(crops))
    detail = f"{model.info.name} in {classifier.runtime_name} passed its self-test, {milliseconds:.1f} ms a face"
    yield ok("model", f"{detail} with {config.model.threads} thread(s)")


def examine_detector(config: Config) -> Iterable[Check]:
    """Load the face detector and time it on an empty picture of the camera's size."""
    from edge_agent.detectors import load_detector

    detector = load_detector(config.detector, config.model)
    picture = np.full((config.camera.height_px, config.camera.width_px, 3), 127, np.uint8)
    milliseconds = _milliseconds(lambda: detector.detect(picture))
    detail = f"{detector.kind}, {milliseconds:.1f} ms a picture of {config.camera.width_px}x{config.camera.height_px}"
    unknown = (
        "" if detector.gives_landmarks else "; it gives no landmarks, so how far faces are turned or lean is unknown"
    )
    yield ok("detector", f"{detail}{unknown}")


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of a few calls after a first one that warms up."""
    call()
    durations = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        call()
        durations.append(time.perf_counter() - started_s)
    return float(np.median(durations)) * 1000
