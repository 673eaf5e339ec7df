"""What the gate leaves out, and how often the classifier is right about faces that are small, blurred or turned.

Small and blurred: the selection half of FER-2013's PublicTest, shrunk, blurred and smeared. It chose among runs, and
chose these limits; the calibration has not seen it. Turned: photographs from the web, by how far the head is turned.
The model's head is the one that a device publishes, judged by its own labels.

    python -m benchmarks.quality --data ../shared/data --write      # the tables of docs/shares.md
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.crop_margin import Photo, read_photos
from benchmarks.written import write_between
from edge_agent.config import DetectorConfig, FacesConfig
from edge_agent.detectors.whole_frame import WholeFrameDetector
from edge_agent.detectors.yunet import YunetDetector
from edge_agent.types import Box, Face
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import load_model
from edge_agent.vision.quality import gate, turn
from training.data import divide, find_source, load
from training.machine import describe_machine

Image = NDArray[np.uint8]
SIZES_PX = (48, 32, 24, 20, 16, 12)
"""Width of the shrunk face in pixels; 48 is the picture as it is."""
BLURS_PX = (0.5, 1.0, 1.5, 2.0, 3.0)
SMEARS_PX = (3, 5, 9, 15)
TURNS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, np.inf)
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
        measure(name, treat, half.images[known], labels[known], classifier, limits)
        for name, treat in tqdm(list(treatments()), leave=False, disable=None)
    ]
    yunet = DetectorConfig(kind="yunet", path=options.data / "face_detection_yunet_2023mar.onnx")
    photos = [p for p in read_photos(options.data / "wild_faces_dev.zip", yunet) if p.face]
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


def measure(
    name: str,
    treat: Callable[[Image], Any],
    images: Image,
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
            crop_face(i, f, WholeFrameDetector.framing, classifier.input_size)
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
            crop_face(p.image, f, YunetDetector.framing, classifier.input_size)
            for p, f in zip(photos, faces, strict=True)
        ]
    )
    top = classifier.classify(crops).probabilities.argmax(1)
    right = np.array([classifier.labels[k] == photo.label for k, photo in zip(top, photos, strict=True)])
    turned = np.array([turn(face) for face in faces])
    for low, high in itertools.pairwise(TURNS):
        inside = (turned >= low) & (turned < high)
        yield {"from": low, "faces": int(inside.sum()), "right": round(float(right[inside].mean()), 3)}


def tables(result: dict[str, Any]) -> str:
    """Both tables as Markdown."""
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
    gates = ", ".join(f"`{name}: {value:g}`" for name, value in limits.items())
    lines += [
        "",
        f"{facts['faces']:,} faces of PublicTest's selection half, and all photos with a face. "
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
