"""What detectors and classifier make of faces of people of different age, gender and ethnicity. An audit, no training.

``bias_faces.zip`` has UTKFace crops, balanced over the labels of that set. Its terms allow research that earns no
money, so no picture of it trains anything or gets into the project. Nobody labelled the emotions. So this says whether
faces are found, left out and read with more doubt in one group than in another; it cannot say who is read wrongly.

    python -m benchmarks.bias --data ../shared/data --write && python -m quantization card
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.config import DetectorConfig, FacesConfig
from edge_agent.detectors import Detector, load_detector
from edge_agent.detectors.built_in_file import read_detector
from edge_agent.types import Face
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import LEAST_ODDS
from edge_agent.vision.quality import gate
from edge_agent.vision.upright import upright_odds
from training.machine import describe_machine
from training.metrics import softmax

FIGURES = Path("benchmarks/results/bias.json")
GROUPINGS = ("age_group", "gender", "ethnicity")
FRAME = (320, 240)
"""(width, height) in pixels of the frame that a picture is put into, its border repeated."""
PICTURE = 100
"""Side of the picture in the frame; the face in it is about 60 pixels wide."""
DRAWS = 2000
"""Bootstrap samples of pictures behind an interval of shares and doubt."""
SEED = 2013
_Z = 1.96
"""Of 95 %."""


@dataclass(frozen=True)
class Seen:
    """What a device makes of one picture."""

    groups: dict[str, str]
    """Group by grouping."""
    found: dict[str, bool]
    """By detector."""
    counted: bool
    """YuNet found it, and it was good enough to be read."""
    posterior: NDArray[np.float64]
    """Calibrated probabilities of the emotions, shape (7,); NaN where it was not read."""


def main() -> None:
    """Look at all pictures, print, and write where asked."""
    options = _options()
    classifier = Classifier(load_model(options.model))
    yunet = DetectorConfig(kind="yunet", path=options.data / "face_detection_yunet_2023mar.onnx")
    detectors = {"yunet": load_detector(yunet), "built_in": load_detector(DetectorConfig(kind="built_in"))}
    seen = look(options.data / "bias_faces.zip", detectors, classifier)
    result = {
        "model": classifier.model.info.name,
        "model_sha256": classifier.model.info.sha256,
        "head": classifier.head_name,
        "detector_sha256": read_detector().info.sha256,
        "labels": list(classifier.labels),
        "machine": f"{describe_machine()}, {classifier.runtime_name}",
        "frame": FRAME,
        "picture_px": PICTURE,
        "pictures": len(seen),
        "groups": [
            {"grouping": grouping, "group": group} | measured([s for s in seen if s.groups[grouping] == group])
            for grouping in GROUPINGS
            for group in sorted({s.groups[grouping] for s in seen})
        ],
    }
    print(json.dumps(result, indent=1))
    if options.write:
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def look(archive: Path, detectors: dict[str, Detector], classifier: Classifier) -> list[Seen]:
    """Each picture in a frame, found by each detector; what the first one finds is judged and read."""
    seen: list[Seen] = []
    reader = next(iter(detectors))
    with zipfile.ZipFile(archive) as files:
        rows = list(csv.DictReader(io.TextIOWrapper(files.open("labels.csv"), encoding="utf-8")))
        for row in tqdm(rows, desc="look", leave=False, disable=None):
            pixels = np.frombuffer(files.read(f"images/{row['image']}"), np.uint8)
            frame = framed(np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR), np.uint8))
            faces = {name: middle(detector.detect(frame)) for name, detector in detectors.items()}
            crop = _crop(frame, faces[reader], detectors[reader], classifier=classifier)
            nothing = np.full(len(classifier.labels), np.nan)
            seen.append(
                Seen(
                    groups={grouping: row[grouping] for grouping in GROUPINGS},
                    found={name: face is not None for name, face in faces.items()},
                    counted=crop is not None,
                    posterior=nothing if crop is None else _read(classifier, crop),
                )
            )
    return seen


def framed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, PICTURE pixels wide, in the middle of a frame of FRAME's size."""
    small = cv2.resize(picture, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    across, down = (FRAME[0] - PICTURE) // 2, (FRAME[1] - PICTURE) // 2
    return np.asarray(cv2.copyMakeBorder(small, down, down, across, across, cv2.BORDER_REPLICATE), np.uint8)


def middle(faces: list[Face]) -> Face | None:
    """The surest face whose middle is in the middle half of the picture; others are false alarms."""

    def off(face: Face) -> float:
        x, y = face.box.x + face.box.width / 2, face.box.y + face.box.height / 2
        return max(abs(x - FRAME[0] / 2), abs(y - FRAME[1] / 2))

    return max((face for face in faces if off(face) <= PICTURE / 4), key=lambda face: face.score, default=None)


def _crop(
    frame: NDArray[np.uint8], face: Face | None, detector: Detector, *, classifier: Classifier
) -> NDArray[np.uint8] | None:
    """What the classifier would be given; None where the device leaves the face out."""
    if face is None or gate(frame, face, FacesConfig()).reason is not None:
        return None
    crop = crop_face(frame, face, detector.framing, size=classifier.input_size)
    return crop if upright_odds(crop) >= LEAST_ODDS else None


def _read(classifier: Classifier, crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    return softmax(classifier.head.calibrated(classifier.logits(crop[None])))[0].astype(np.float64)


def measured(seen: list[Seen]) -> dict[str, Any]:
    """Figures of one group, each with the ends of its 95 % interval: (value, low, high)."""
    posteriors = np.stack([s.posterior for s in seen if s.counted])
    return {
        "pictures": len(seen),
        "found": {name: share([s.found[name] for s in seen]) for name in seen[0].found},
        "left_out": share([not s.counted for s in seen if s.found["yunet"]]),
        "read": len(posteriors),
        "doubt": mean(1 - posteriors.max(axis=1)),
        "shares": [mean(column) for column in posteriors.T],
    }


def share(hits: list[bool]) -> tuple[float, float, float]:
    """A share and its 95 % interval (Wilson 1927)."""
    n, p = len(hits), float(np.mean(hits))
    centre, spread = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return round(p, 4), round((centre - spread) / scale, 4), round((centre + spread) / scale, 4)


def mean(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """A mean and its 95 % interval, by drawing the pictures again (percentile bootstrap)."""
    rng = np.random.default_rng(SEED)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return round(float(values.mean()), 4), round(float(low), 4), round(float(high), 4)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES}, which the model card takes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
