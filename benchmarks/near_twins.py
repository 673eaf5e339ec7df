"""How many images of PublicTest have a near twin in Training, and how often the model is right about the others.

FER-2013 holds many pictures twice or more: cut a little differently, mirrored, lightened, with other writing on them.
Only copies that are equal bit for bit are dropped before training (``training.data.divide``). Two images are near twins
here if they correlate strongly once shrunk to 24 x 24, as they are or one mirrored.

    python -m benchmarks.near_twins --data ../shared/data --write      # a table of docs/training.md, a line of the card
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.written import write_between
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from quantization.answers import published
from training.data import PUBLIC, Faces, divide, find_source, load
from training.machine import describe_machine

SIDE = 24
CORRELATIONS = (0.97, 0.95, 0.93)
"""Correlations from which two images count as twins. Of some seventy pairs above the last, looked at, nearly all are
twins."""
FIGURES = Path("benchmarks/results/near_twins.json")
PAGE = Path("docs/training.md")
_CHUNK = 256


def main() -> None:
    """Compare, measure, print, and write where asked."""
    options = _options()
    faces = load(find_source(options.data))
    public = faces[faces.splits == PUBLIC]
    nearest = best_correlations(public.images, divide(faces).training.images)
    classifier = Classifier(load_model(options.model))
    answers = published(classifier, public.images)
    right = {head: answers[head].argmax(1) == labels for head, labels in public.labels_by_head().items()}
    result = {
        "model": classifier.model.info.name,
        "model_sha256": classifier.model.info.sha256,
        "machine": f"{describe_machine()}, {classifier.runtime_name}",
        "images": len(public),
        "tied_votes": tied_votes(public),
        "rows": [row(correlation, nearest >= correlation, public, right=right) for correlation in CORRELATIONS],
    }
    print(text := table(result))
    if options.write:
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "near twins", text)


def tied_votes(faces: Faces) -> int:
    """Number of images where two emotions or more have the most FER+ votes; ``majority`` is the first of them."""
    most = faces.votes.max(axis=1, keepdims=True)
    return int((((faces.votes == most) & (most > 0)).sum(axis=1) > 1).sum())


def best_correlations(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The highest correlation of each image (n, height, width) with any of the others or their mirror images, (n,)."""
    known, best = _normalised(others), np.empty(len(images), np.float32)
    for start in tqdm(range(0, len(images), _CHUNK), desc="compare", unit_scale=_CHUNK, leave=False, disable=None):
        part = images[start : start + _CHUNK]
        views = [(_normalised(view) @ known.T).max(axis=1) for view in (part, part[:, :, ::-1])]
        best[start : start + _CHUNK] = np.maximum(*views)
    return best


def row(
    correlation: float, twin: NDArray[np.bool_], public: Faces, *, right: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """Accuracy by head on all images, on those that have a twin, and on the others; -1 is no label."""
    heads = {}
    for head, labels in public.labels_by_head().items():
        known = labels >= 0
        parts = {"all": known, "twins": known & twin, "others": known & ~twin}
        heads[head] = {name: round(float(right[head][rows].mean()), 6) for name, rows in parts.items()}
    return {"correlation": correlation, "twins": int(twin.sum()), "heads": heads}


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| correlation from | images with a twin in Training | head | right on all | on these | **on the others** |",
        "|---|---|---|---|---|---|",
    ]
    for r in result["rows"]:
        share = f"{r['twins']} ({100 * r['twins'] / result['images']:.1f} %)"
        lines += [
            f"| {r['correlation']:.2f} | {share} | {head} | {100 * f['all']:.1f} % | {100 * f['twins']:.1f} % | "
            f"**{100 * f['others']:.1f} %** |"
            for head, f in r["heads"].items()
        ]
    model = f"{result['model']} {result['model_sha256'][:12]}"
    lines += [
        "",
        f"Of {result['images']:,} images; in {result['tied_votes']} of them the FER+ votes are tied. "
        f"Measured on {result['machine']}, model {model}. `python -m benchmarks.near_twins --write`",
    ]
    return "\n".join(lines)


def _normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, so that a product of two is their correlation; flat images give 0."""
    small = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
    rows = small.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    normalised: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return normalised


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
