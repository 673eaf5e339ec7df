"""``edge-agent bench``: how long each stage takes on this device, and the frame rate to expect.

The stages are the agent's own, in its own loop. The camera is left out: it runs in a separate process.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import Config, FacesConfig
from edge_agent.detectors import Detector, DetectorKind, load_detector
from edge_agent.shares.window import Window
from edge_agent.types import Box, Face, Frame
from edge_agent.vision.classifier import Classifier, load_classifier
from edge_agent.vision.pipeline import Pipeline

THREADS = (1, 2, 4)
STAGES = ("detect", "track", "crop", "classify", "window")
FRAMES = 100
WARM_UP_FRAMES = 10
CPU_MODEL_FILES = (Path("/proc/device-tree/model"), Path("/proc/cpuinfo"))


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one number of threads."""

    threads: int
    stages_ms: dict[str, tuple[float, float]]
    """Stage to median and 95th percentile of one frame, milliseconds."""
    frame_ms: tuple[float, float]
    """All stages together."""

    @property
    def frames_per_s(self) -> float:
        """Frame rate that the median frame allows; a slower camera sets the pace."""
        return 1000.0 / self.frame_ms[0]


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured, where and on what."""

    machine: dict[str, Any]
    setting: dict[str, Any]
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that docs/device.md documents."""
        return {
            "machine": self.machine,
            "setting": self.setting,
            "rows": [
                {
                    "threads": row.threads,
                    "frames_per_s": round(row.frames_per_s, 1),
                    "frame_ms": _pair(row.frame_ms),
                    "stages_ms": {name: _pair(times) for name, times in row.stages_ms.items()},
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        """A table in Markdown; milliseconds are the median and, in brackets, the 95th percentile."""
        machine, setting = self.machine, self.setting
        heads = ("threads", *(f"{name} ms" for name in STAGES), "frame ms", "frames/s")
        lines = [
            f"{machine['model']}, {machine['cores']} cores, {machine['date']}; countenance {machine['countenance']}",
            f"{setting['detector']} at {setting['detector_size']}, {setting['model']} in {setting['runtime']}, picture "
            f"{setting['picture']}, {setting['faces']} face(s), {setting['frames']} frames",
            "",
            f"| {' | '.join(heads)} |",
            f"|{'---:|' * len(heads)}",
        ]
        for row in self.rows:
            times = [f"{p50:.2f} ({p95:.2f})" for p50, p95 in (*row.stages_ms.values(), row.frame_ms)]
            lines.append(f"| {row.threads} | {' | '.join(times)} | {row.frames_per_s:.1f} |")
        return "\n".join(lines)


def run(config: Config, threads: Sequence[int] = THREADS, faces: int = 1, *, frames: int = FRAMES) -> Bench:
    """Measure the pipeline of this configuration with each number of threads.

    The detector reads a textured picture of the camera's size, with ``faces`` faces in it. Then its result is replaced
    by these, so the later stages have the same work on every device.

    Raises:
        DetectorError, ModelError, MissingPackageError: as loading them does.
    """
    rows, picture = [], _texture(config.camera.height_px, config.camera.width_px)
    placed = _place(faces, *picture.shape[:2])
    for count in threads:
        model = config.model.model_copy(update={"threads": count})
        detector, classifier = _Placed(load_detector(config.detector, model), placed), load_classifier(model)
        shown = _with_faces(picture, detector.faces, classifier.model.self_test_crops()[0])
        rows.append(_measure(config, detector, classifier, picture=shown, threads=count, frames=frames))
    setting = {
        "detector": detector.kind,
        "detector_size": config.detector.size,
        "model": classifier.model.info.name,
        "runtime": classifier.runtime_name,
        "picture": f"{config.camera.width_px}x{config.camera.height_px}",
        "faces": faces,
        "frames": frames,
    }
    return Bench(_machine(), setting, tuple(rows))


class _Placed:
    """The real detector: its time counts, its faces are replaced."""

    def __init__(self, detector: Detector, faces: list[Face]) -> None:
        self.kind: DetectorKind = detector.kind
        self.framing = detector.framing
        self.gives_landmarks = True
        self.faces = faces
        self._detector = detector

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self._detector.detect(image)
        return self.faces


def _measure(
    config: Config, detector: Detector, classifier: Classifier, *, picture: NDArray[np.uint8], threads: int, frames: int
) -> Row:
    times: dict[str, list[float]] = defaultdict(list)
    estimator = classifier.head.share_estimator(classifier.labels)
    window = Window(config.window, config.privacy, estimator)
    limits = FacesConfig(min_sharpness=0.0, still_s=0.0)  # the test face is enlarged, and a photograph
    pipeline = Pipeline(
        detector, classifier, window, observe=lambda stage, s: times[stage].append(s * 1000), limits=limits
    )
    totals = []
    for _ in range(WARM_UP_FRAMES + frames):
        started_s = time.perf_counter()
        pipeline.process(Frame(picture, time.monotonic()))
        pipeline.tell_timings(suppressed=False, published=True)
        totals.append((time.perf_counter() - started_s) * 1000)
    stages = {name: _quantiles(times[name][WARM_UP_FRAMES:]) for name in STAGES}
    return Row(threads, stages, _quantiles(totals[WARM_UP_FRAMES:]))


def _texture(height: int, width: int) -> NDArray[np.uint8]:
    """A picture with the statistics of natural pictures (amplitude falls with frequency), shape (height, width, 3)."""
    noise = np.random.default_rng(0).standard_normal((height, width, 3))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    spectrum = np.fft.fft2(noise, axes=(0, 1)) / np.maximum(frequency, 1 / max(height, width))[..., None]
    pixels = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return np.asarray(np.clip(127 + 50 * (pixels - pixels.mean()) / pixels.std(), 0, 255), np.uint8)


def _with_faces(picture: NDArray[np.uint8], faces: list[Face], crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with the model's own test face in these places, since what is no face is left out."""
    import cv2

    shown = picture.copy()
    for face in faces:
        x, y, side = round(face.box.x), round(face.box.y), round(face.box.width)
        place = shown[max(0, y) : y + side, max(0, x) : x + side]
        place[:] = cv2.resize(crop, place.shape[1::-1])[:, :, None]
    return shown


def _place(faces: int, height: int, width: int) -> list[Face]:
    """Faces next to each other, each a quarter of the picture's height, as a camera over a screen sees them."""
    side, placed = height / 4, []
    for number in range(faces):
        x, y = (number + 0.5) * width / faces - side / 2, height / 2 - side / 2
        points = tuple((x + u * side, y + v * side) for u, v in _LANDMARKS)
        placed.append(Face(Box(x, y, side, side), 0.9, points))
    return placed


_LANDMARKS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.78), (0.65, 0.78))
"""Eyes, nose and mouth of a frontal face, in fractions of its box."""


def _quantiles(times_ms: list[float]) -> tuple[float, float]:
    if not times_ms:  # without a face nothing is classified
        return 0.0, 0.0
    p50, p95 = np.percentile(times_ms, (50, 95))
    return float(p50), float(p95)


def _pair(times: tuple[float, float]) -> dict[str, float]:
    return {"p50": round(times[0], 3), "p95": round(times[1], 3)}


def _machine() -> dict[str, Any]:
    import cv2

    return {
        "model": _machine_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "countenance": __version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _machine_model() -> str:
    """The board's name if the firmware has it, else the processor's."""
    for path in CPU_MODEL_FILES:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace").rstrip("\0\n")
        if path.name == "model":
            return text
        names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
