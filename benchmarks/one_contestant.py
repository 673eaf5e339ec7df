"""One process of :mod:`benchmarks.versus_fer`: times every frame of a film. Runs in the peer's environment too."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import cv2  # noqa: E402 (after the process is tied to its core: OpenCV sizes its pool when it is loaded)

WARM_UP = 10


def main(kind: str, film: Path) -> None:
    """Print a JSON list of milliseconds, one for each frame after the warm-up."""
    cv2.setNumThreads(1)
    frames = [cv2.imread(str(path)) for path in sorted(film.iterdir())]
    read = peer() if kind == "fer" else ours(kind)
    times = []
    for number, frame in enumerate(frames[:WARM_UP] + frames):
        started = time.perf_counter()
        read(frame)
        if number >= WARM_UP:
            times.append((time.perf_counter() - started) * 1000)
    print(json.dumps(times))


def peer() -> Callable[[Any], object]:
    """``fer`` with its own Haar cascade, as its README uses it."""
    from fer.fer import FER

    detector = FER(mtcnn=False)
    return lambda frame: detector.detect_emotions(frame)


def ours(runtime: str) -> Callable[[Any], object]:
    """The agent's pipeline as configured by default."""

    from edge_agent.config import load_config
    from edge_agent.detectors import load_detector
    from edge_agent.shares.window import Window
    from edge_agent.types import Frame
    from edge_agent.vision.classifier import Classifier
    from edge_agent.vision.model import load_model
    from edge_agent.vision.pipeline import Pipeline

    config = load_config(None)
    classifier = Classifier(load_model(), "litert" if runtime == "litert" else "tflite")
    window = Window(config.window, config.privacy, classifier.head.share_estimator(classifier.labels))
    detector = load_detector(config.detector, config.model.model_copy(update={"runtime": runtime}))
    pipeline = Pipeline(detector, classifier, window, observe=lambda *_: None)

    def read(image: Any) -> object:
        pipeline.process(Frame(image, time.monotonic()))
        # The percentages are computed for every frame, although a window needs them once: the peer gives its scores
        # each time.
        return window.close(time.monotonic())

    return read


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
