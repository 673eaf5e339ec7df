"""What the gate leaves out, and how often the classifier is right about faces that something is wrong with.

Size, lens, light and noise: the half of FER-2013's PublicTest that chooses (among runs, and these limits; the
calibration has not seen it), spoilt. Turned and tilted: photographs from the web, parts A1 and A2, by how far the head
is turned in them, and turned by us. The head is the one that a device publishes, judged by its own labels.

    python -m benchmarks.quality --data ../shared/data --write      # the tables of docs/shares.md
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.crop_margin import Photo, read_photos
from benchmarks.shares import SEED
from benchmarks.written import write_between
from edge_agent.config import DetectorConfig, FacesConfig
from edge_agent.detectors import Detector, load_detector
from edge_agent.detectors.whole_frame import WholeFrameDetector
from edge_agent.detectors.yunet import YunetDetector
from edge_agent.types import Box, Face
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import LEAST_ODDS
from edge_agent.vision.quality import gate, turn
from edge_agent.vision.upright import upright_odds
from training.data import divide, find_source, load
from training.machine import describe_machine

Image = NDArray[np.uint8]
SIZES_PX = (48, 32, 24, 20, 16, 12)
"""Width of the shrunk face in pixels; 48 is the picture as it is."""
BLURS_PX = (0.5, 1.0, 1.5, 2.0, 3.0)
SMEARS_PX = (3, 5, 9, 15)
NOISES = (5, 10, 15, 20)
GAINS = (0.3, 0.2, 0.1, 0.04, 1.6, 2.2, 4.0)
TURNS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, np.inf)
ROLLS_DEG = (0, 15, 30, 45, 60, 90, 120, 150, 180)
FIGURES = Path("docs/figures/quality.json")
PAGE = Path("docs/shares.md")


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    classifier, limits = Classifier(load_model(options.model)), FacesConfig()
    half = divide(load(find_source(options.data))).selection
    labels = half.labels_by_head()[classifier.head_name]
    known = labels >= 0
    rows = [
        measure(name, treat, half.images[known], labels=labels[known], classifier=classifier, limits=limits)
        for name, treat in tqdm(list(treatments()), leave=False, disable=None)
    ]
    yunet = DetectorConfig(kind="yunet", path=options.data / "face_detection_yunet_2023mar.onnx")
    choosing = part_of(options.data, "A1", "A2")
    photos = [p for p in read_photos(options.data / "wild_faces_dev.zip", yunet) if p.face and p.person in choosing]
    result = {
        "measured": {
            "command": "python -m benchmarks.quality",
            "machine": describe_machine(),
            "runtime": classifier.runtime_name,
            "labels": classifier.head_name,
            "faces": int(known.sum()),
            "model": f"{classifier.model.info.name} {classifier.model.info.sha256[:12]}",
            "limits": limits.model_dump(),
        },
        "treated": rows,
        "turned": list(by_turn(photos, classifier)),
        "tilted": [
            by_roll(photos, angle, classifier, detector=load_detector(yunet), limits=limits) for angle in ROLLS_DEG
        ],
    }
    text = tables(result)
    print(text)
    if options.write:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "quality", text)


def treatments() -> Iterator[tuple[str, Callable[[Image], Any]]]:
    """(name, what is done to a 48 x 48 picture)."""
    for side in SIZES_PX:
        yield f"face of {side} px", partial(cv2.resize, dsize=(side, side), interpolation=cv2.INTER_AREA)
    for sigma in BLURS_PX:
        yield f"blurred, sigma {sigma:g} px", partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma)
    for length in SMEARS_PX:
        yield f"smeared over {length} px", partial(cv2.blur, ksize=(length, 1))
    rng = np.random.default_rng(SEED)
    for sigma in NOISES:
        yield f"noise, sigma {sigma}", lambda image, sigma=sigma: _grey(image + rng.normal(0, sigma, image.shape))
    for gain in GAINS:
        yield f"light x{gain:g}", lambda image, gain=gain: _grey(image * gain)
    yield "light x0.2, noise, sigma 5", lambda image: _grey(image * 0.2 + rng.normal(0, 5, image.shape))


def _grey(levels: NDArray[np.float64]) -> Image:
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


def part_of(data: Path, *parts: str) -> set[str]:
    """The people whose photos are in these parts."""
    with (data / "wild_faces_parts.csv").open(encoding="utf-8", newline="") as rows:
        return {re.sub(r"_\d+\.\w+$", "", row["image"]) for row in csv.DictReader(rows) if row["part"] in parts}


def measure(
    name: str,
    treat: Callable[[Image], Any],
    images: Image,
    *,
    labels: NDArray[np.int64],
    classifier: Classifier,
    limits: FacesConfig,
) -> dict[str, Any]:
    """How often the classifier is right about treated pictures (n, 48, 48), and how many the gate leaves out.

    The whole picture is taken for the face's box; YuNet's is a twentieth wider.
    """
    treated = [treat(image) for image in images]
    whole = [Face(Box(0, 0, *image.shape[::-1]), 1.0) for image in treated]
    crops = np.stack(
        [
            crop_face(i, f, WholeFrameDetector.framing, size=classifier.input_size)
            for i, f in zip(treated, whole, strict=True)
        ]
    )
    right = classifier.classify(crops).probabilities.argmax(1) == labels
    out = [gate(i, f, limits).reason is not None for i, f in zip(treated, whole, strict=True)]
    return {"face": name, "right": round(float(right.mean()), 3), "left_out": round(float(np.mean(out)), 3)}


def by_turn(photos: list[Photo], classifier: Classifier) -> Iterator[dict[str, Any]]:
    """How often the classifier is right, by how far heads are turned."""
    faces = [photo.face for photo in photos if photo.face]
    crops = np.stack(
        [
            crop_face(p.image, f, YunetDetector.framing, size=classifier.input_size)
            for p, f in zip(photos, faces, strict=True)
        ]
    )
    top = classifier.classify(crops).probabilities.argmax(1)
    right = np.array([classifier.labels[k] == photo.label for k, photo in zip(top, photos, strict=True)])
    turned = np.array([turn(face) for face in faces])
    for low, high in itertools.pairwise(TURNS):
        inside = (turned >= low) & (turned < high)
        yield {"from": low, "faces": int(inside.sum()), "right": round(float(right[inside].mean()), 3)}


def by_roll(
    photos: list[Photo], angle_deg: int, classifier: Classifier, *, detector: Detector, limits: FacesConfig
) -> dict[str, Any]:
    """How often faces of photos turned by this angle, to one side or the other, are found, pass, and are read right."""
    found, passes, as_it_is, upright = 0, [], [], []
    for number, photo in enumerate(photos):
        assert photo.face is not None
        sign = 1 if number % 2 else -1
        image, centre = _turned(photo.image, photo.face.box.centre, sign * angle_deg)
        near = photo.face.box.height / 2
        faces = [f for f in detector.detect(image) if math.dist(f.box.centre, centre) < near]
        if not faces:
            continue
        found += 1
        face = max(faces, key=lambda f: f.score)
        plain = crop_face(image, replace(face, landmarks=None), detector.framing, size=classifier.input_size)
        turned = crop_face(image, face, detector.framing, size=classifier.input_size)
        passes.append(abs(face.roll_deg or 0.0) <= limits.max_roll_deg and upright_odds(turned) >= LEAST_ODDS)
        answers = classifier.classify(np.stack([plain, turned])).probabilities.argmax(1)
        for right, k in zip((as_it_is, upright), answers, strict=True):
            right.append(classifier.labels[k] == photo.label)
    return {
        "deg": angle_deg,
        "found": round(found / len(photos), 3),
        "as_it_is": round(float(np.mean(as_it_is)), 3),
        "upright": round(float(np.mean(upright)), 3),
        "left_out": round(1 - float(np.mean(passes)), 3),
        "of_those_that_pass": round(float(np.mean(np.array(upright)[passes])), 3) if any(passes) else None,
    }


def _turned(image: Image, point: tuple[float, float], angle_deg: float) -> tuple[Image, tuple[float, float]]:
    """The picture turned within a larger one, and where the point has gone."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    side = math.ceil(math.hypot(height, width))
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    turned = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    x, y = matrix @ (*point, 1.0)
    return np.asarray(turned, np.uint8), (float(x), float(y))


def tables(result: dict[str, Any]) -> str:
    """The three tables as Markdown."""
    facts, limits = result["measured"], result["measured"]["limits"]
    lines = ["| picture | top label right | left out |", "|---|---|---|"]
    lines += [
        f"| {row['face']} | {100 * row['right']:.1f} % | {100 * row['left_out']:.1f} % |" for row in result["treated"]
    ]
    lines += ["", "| head turned by (`faces.max_turn`) | web photos | top label right |", "|---|---|---|"]
    ends = [f" to {row['from']:.1f}" for row in result["turned"][1:]] + [" and more"]
    lines += [
        f"| {row['from']:.1f}{end} | {row['faces']} | {100 * row['right']:.0f} % |"
        for row, end in zip(result["turned"], ends, strict=True)
    ]
    lines += [
        "",
        "| photo turned by | face found | right, read as it is | right, turned upright | left out "
        "| right, of those that pass |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['deg']} degrees | {100 * row['found']:.0f} % | {100 * row['as_it_is']:.0f} % | "
        f"{100 * row['upright']:.0f} % | {100 * row['left_out']:.0f} % | "
        f"{'-' if row['of_those_that_pass'] is None else format(100 * row['of_those_that_pass'], '.0f') + ' %'} |"
        for row in result["tilted"]
    ]
    gates = ", ".join(f"`{name}: {value:g}`" for name, value in limits.items())
    lines += [
        "",
        f"{facts['faces']:,} faces of PublicTest's selection half, and the photos of parts A1 and A2. "
        f"Measured on {facts['machine']}, {facts['runtime']}, model {facts['model']}, head {facts['labels']}. "
        f"The gate had {gates}.",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the tables in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
