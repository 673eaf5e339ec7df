"""How often the classifiers are right, and how sure, about pictures as cameras make them: all of PublicTest, spoilt.

Accuracy is of all images; the calibration error (15 bins) is of the selection half, which no calibration has seen. Both
are of the int8 files, as a device publishes them.

    python -m benchmarks.robustness --data ../shared/data --write            # the table of docs/training.md
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
from edge_agent.vision.model import MODELS, load_model
from quantization.answers import published
from training.data import HEADS, PUBLIC, Faces, find_source, halves, load
from training.machine import describe_machine
from training.metrics import calibration_error, softmax
from training.perturb import PERTURBATIONS, perturbed

RESULTS = Path(__file__).parent / "results"
NOW, BEFORE = RESULTS / "robustness.json", RESULTS / "robustness_before.json"
PAGE = Path("docs/training.md")
HEAD = "ferplus"
"""Of the table; the results hold both."""


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    cv2.setNumThreads(1)
    faces = load(find_source(options.data))
    public = faces[faces.splits == PUBLIC]
    classifiers = [Classifier(load_model(path)) for path in options.model]
    result = {
        "images": len(public),
        "models": {
            c.model.info.name: {
                "sha256": c.model.info.sha256,
                "machine": f"{describe_machine()}, {c.runtime_name}",
                "rows": measure(c, public),
            }
            for c in classifiers
        },
    }
    before = json.loads(BEFORE.read_text(encoding="utf-8")) if BEFORE.is_file() else result
    print(table(result, before))
    if options.write:
        NOW.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "robustness", table(result, before))


def measure(classifier: Classifier, public: Faces) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy and calibration error by perturbation and head."""
    unseen = np.zeros(len(public), bool)
    unseen[halves(public.labels)[0]] = True
    labels = public.labels_by_head()
    rows = {}
    for name in tqdm(PERTURBATIONS, desc=classifier.model.info.name, leave=False, disable=None):
        answers = published(classifier, perturbed(public.images, name))
        rows[name] = {head: _figures(answers[head], labels[head], unseen) for head in HEADS}
    return rows


def _figures(logits: NDArray[np.float32], labels: NDArray[np.int64], unseen: NDArray[np.bool_]) -> dict[str, float]:
    known, posteriors = labels >= 0, softmax(logits)
    right = posteriors[known].argmax(1) == labels[known]
    seen = known & unseen
    return {
        "accuracy": round(float(right.mean()), 6),
        "calibration_error": round(calibration_error(labels[seen], posteriors[seen]), 6),
        "neutral": round(float((posteriors[known].argmax(1) == posteriors.shape[1] - 1).mean()), 6),
    }


def table(now: dict[str, Any], before: dict[str, Any]) -> str:
    """Markdown, right / calibration error of the FER+ head; next to a newer model, what the earlier one got."""
    columns = [
        (f"`{name}`{when}", result["models"][name])
        for name in now["models"]
        for when, result in ((" before", before), ("", now))
        if result is now or _replaced(name, now, before)
    ]
    lines = ["| pictures | " + " | ".join(title for title, _ in columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name in PERTURBATIONS:
        lines.append(f"| {name} | " + " | ".join(_cell(model["rows"][name]) for _, model in columns) + " |")
    machines = " and ".join(dict.fromkeys(model["machine"] for _, model in columns))
    files = ", ".join(f"{title} {model['sha256'][:12]}" for title, model in columns)
    lines += [
        "",
        f"Right about FER+'s majority / calibration error, of {now['images']:,} images. {machines}; {files}; "
        "`python -m benchmarks.robustness --write`.",
    ]
    return "\n".join(lines)


def _replaced(name: str, now: dict[str, Any], before: dict[str, Any]) -> bool:
    return name in before["models"] and before["models"][name]["sha256"] != now["models"][name]["sha256"]


def _cell(row: dict[str, dict[str, float]]) -> str:
    figures = row[HEAD]
    return f"{100 * figures['accuracy']:.1f} % / {100 * figures['calibration_error']:.1f} %"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    shipped = sorted(MODELS.glob("*.tflite"))
    parser.add_argument("--model", type=Path, nargs="+", default=shipped, help="(default: the shipped models)")
    parser.add_argument("--write", action="store_true", help=f"write {NOW.name} and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
