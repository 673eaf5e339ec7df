"""How wide to cut faces: the framing that makes the model right most often on photos from the web.

People (not photos) are split in two halves by a seed; one chooses framing and head, the other states the result. A
face that is not found counts as wrong. Disgust and fear are left out: there are too few labels, and too many of them
are wrong.

    python -m benchmarks.crop_margin --photos wild_faces_dev.zip --yunet face_detection_yunet_2023mar.onnx
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.config import DetectorConfig
from edge_agent.detectors import load_detector
from edge_agent.types import Face, Framing
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import default_model_path, load_model
from training.machine import describe_machine

SEED = 2013
SCALES = np.arange(0.75, 1.41, 0.05).round(2).tolist()
SHIFTS = np.arange(-0.10, 0.151, 0.05).round(2).tolist()
EMOTIONS = {"anger": "angry", "happiness": "happy", "sadness": "sad", "surprise": "surprise", "neutral": "neutral"}


@dataclass
class Photo:
    """One labelled photo and the face that was found in it."""

    person: str
    label: str
    image: NDArray[np.uint8]
    face: Face | None


def main() -> None:
    """Sweep, choose, state."""
    options = _options()
    config = DetectorConfig(kind=options.detector, size=options.size, path=options.yunet)
    photos = list(read_photos(options.photos, config))
    classifier = Classifier(load_model(options.model))
    tuned, stated = split(photos)
    known = load_detector(config).framing
    print(f"{options.detector}, size {options.size}: {len(tuned)} photos to tune on, {len(stated)} to state")
    grid = {framing: score(classifier, tuned, framing) for framing in _grid()}
    result = {
        "model": options.model.stem,
        "detector": options.detector,
        "detector_size": options.size,
        "model_sha256": classifier.model.info.sha256,
        "machine": f"{describe_machine()}, {classifier.runtime_name}",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "photos": {"tuned": len(tuned), "stated": len(stated)},
        "not_found": {"tuned": _missed(tuned), "stated": _missed(stated)},
        "heads": {},
    }
    at_known = score(classifier, tuned, known), score(classifier, stated, known)
    for head in classifier.model.info.heads:
        best = smoothed_best({framing: scores[head] for framing, scores in grid.items()})
        result["heads"][head] = {
            "best": {"scale": best.scale, "shift_y": best.shift_y},
            "tuned_at_best": round(grid[best][head], 6),
            "stated_at_best": round(score(classifier, stated, best)[head], 6),
            "in_use": {"scale": known.scale, "shift_y": known.shift_y},
            "tuned_in_use": round(at_known[0][head], 6),
            "stated_in_use": round(at_known[1][head], 6),
        }
        print(_table(head, grid))
    print(json.dumps(result, indent=1))
    if options.write:
        options.write.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def read_photos(archive: Path, config: DetectorConfig, names: set[str] | None = None) -> Iterable[Photo]:
    """The photos of the five well-labelled emotions (of these names), with the largest face of each."""
    detector = load_detector(config)
    with zipfile.ZipFile(archive) as files:
        rows = list(csv.DictReader(io.TextIOWrapper(files.open("labels.csv"), encoding="utf-8")))
        wanted = [r for r in rows if r["emotion"] in EMOTIONS and (names is None or r["image"] in names)]
        for row in tqdm(wanted, desc="detect", leave=False, disable=None):
            pixels = np.frombuffer(files.read(f"images/{row['image']}"), np.uint8)
            image = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
            faces = detector.detect(image)
            face = max(faces, key=lambda f: f.box.width * f.box.height, default=None)
            yield Photo(re.sub(r"_\d+\.\w+$", "", row["image"]), EMOTIONS[row["emotion"]], image, face)


def split(photos: list[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Two halves of the people."""
    people = sorted({photo.person for photo in photos})
    chosen = set(np.random.default_rng(SEED).permutation(people)[: len(people) // 2])
    return [p for p in photos if p.person in chosen], [p for p in photos if p.person not in chosen]


def score(classifier: Classifier, photos: list[Photo], framing: Framing) -> dict[str, float]:
    """Balanced accuracy over the five emotions, by head; top labels among all seven."""
    crops = [crop_face(p.image, p.face, framing, size=classifier.input_size) for p in photos if p.face]
    found = np.array([p.face is not None for p in photos])
    labels = np.array([classifier.labels.index(p.label) for p in photos])
    answers = classifier.all_logits(np.stack(crops))
    result = {}
    for name, head in classifier.model.info.heads.items():
        top = np.full(len(photos), -1)
        top[found] = head.calibrated(answers[name]).argmax(axis=1)
        result[name] = float(np.mean([(top[labels == label] == label).mean() for label in np.unique(labels)]))
    return result


def smoothed_best(scores: dict[Framing, float]) -> Framing:
    """The framing whose neighbourhood in the grid is best: one lucky cell is noise, and edges lack neighbours."""

    def around(framing: Framing) -> float:
        near = [
            value
            for other, value in scores.items()
            if abs(other.scale - framing.scale) < 0.06 and abs(other.shift_y - framing.shift_y) < 0.06
        ]
        return float(np.mean(near))

    inner = [f for f in scores if f.scale not in (SCALES[0], SCALES[-1]) and f.shift_y not in (SHIFTS[0], SHIFTS[-1])]
    return max(inner, key=around)


def _grid() -> list[Framing]:
    return [Framing(scale, shift) for scale, shift in product(SCALES, SHIFTS)]


def _missed(photos: list[Photo]) -> int:
    return sum(p.face is None for p in photos)


def _table(head: str, grid: dict[Framing, dict[str, float]]) -> str:
    lines = [f"\n{head}, tuning half: rows scale, columns shift_y", "      " + "".join(f"{s:7.2f}" for s in SHIFTS)]
    for scale in SCALES:
        lines.append(f"{scale:6.2f}" + "".join(f"{grid[Framing(scale, s)][head]:7.3f}" for s in SHIFTS))
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="the archive with images/ and labels.csv")
    parser.add_argument("--detector", choices=("built_in", "yunet", "whole_frame"), default="built_in")
    parser.add_argument("--yunet", type=Path, help="the detector's file (default: the fetched one)")
    parser.add_argument("--size", type=int, default=DetectorConfig().size, help="longer side that the detector sees")
    parser.add_argument("--model", type=Path, default=default_model_path())
    parser.add_argument("--write", type=Path, help="also write the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
