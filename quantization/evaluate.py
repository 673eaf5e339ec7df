"""``evaluate``: what an int8 file is worth, and how far two files or two runtimes agree."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError, ModelError
from edge_agent.host.runtime import RuntimeChoice
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from quantization.answers import Answers, ask, published
from quantization.figures import Halves, cross_fitted_error, figures, labelled
from training.data import PUBLIC, Faces, halves
from training.metrics import softmax

Print = Callable[[str], None]


def evaluate(path: Path, faces: Faces, runtime: RuntimeChoice, *, dump: Path | None, show: Print) -> None:
    """Show the figures of a shipped model; ``dump`` takes its top labels, to be compared with another machine's.

    ``faces`` are of one split. Half of PublicTest fitted the shipped calibration, so its calibration error is that of
    the other half; next to it is that of the method on both halves (cross-fitted, as in the model card).
    """
    classifier = Classifier(load_model(path), runtime)
    answers = published(classifier, faces.images)
    public = bool((faces.splits == PUBLIC).all())
    show(f"{path}, {classifier.runtime_name}, {len(faces)} images")
    for name, labels in faces.labels_by_head().items():
        if not (labels >= 0).any():
            show(f"  {name}: no votes in the data")
            continue
        measured = _figures(answers[name], labels, halves(faces.labels) if public else None)
        show(f"  {name:8} " + "  ".join(f"{key} {value:.4f}" for key, value in measured.items()))
    if dump is not None:
        write_top_labels(dump, answers)


def compare(first: Path, second: Path, faces: Faces, *, runtime: RuntimeChoice, show: Print) -> None:
    """Show how often two .tflite files agree, before calibration; raises ModelError where they share no head."""
    answers = {path: ask(path, faces.images, runtime) for path in (first, second)}
    heads = [head for head in answers[first] if head in answers[second]]
    if not heads:
        raise ModelError(f"{first} and {second} have no head in common")
    for head in heads:
        labels, tops = faces.labels_by_head()[head], [answers[path][head].argmax(1) for path in (first, second)]
        known = labels >= 0
        right = [float((top[known] == labels[known]).mean()) for top in tops]
        differ = int((tops[0] != tops[1]).sum())
        show(f"{head:8} same top label {1 - differ / len(faces):.4f} ({differ} of {len(faces)} differ)")
        show(f"         {first} {right[0]:.4f}  {second} {right[1]:.4f}  difference {right[1] - right[0]:+.4f}")


def agreement(path: Path, faces: Faces, show: Print) -> None:
    """Show how often a device publishes the same top label with the one and the other runtime."""
    runtimes: tuple[RuntimeChoice, RuntimeChoice] = ("litert", "tflite")
    classifiers = [Classifier(load_model(path), runtime) for runtime in runtimes]
    tops = [{h: a.argmax(1) for h, a in published(c, faces.images).items()} for c in classifiers]
    for head in tops[0]:
        differ = int((tops[0][head] != tops[1][head]).sum())
        show(f"{head:8} same top label in both {1 - differ / len(faces):.4f} ({differ} of {len(faces)} differ)")


def write_top_labels(path: Path, answers: Answers) -> None:
    """A CSV of the top label of every image and head; ``compare_top_labels`` reads two of them."""
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(answers)
        writer.writerows(zip(*(logits.argmax(1) for logits in answers.values()), strict=True))


def read_top_labels(text: str) -> dict[str, list[str]]:
    """What :func:`write_top_labels` wrote: the top label of every image, by head."""
    rows = list(csv.DictReader(io.StringIO(text.strip())))
    return {head: [row[head] for row in rows] for head in rows[0]}


def count_differences(first: dict[str, list[str]], second: dict[str, list[str]]) -> dict[str, int]:
    """In how many images the top labels differ, by head."""
    return {head: sum(a != b for a, b in zip(first[head], second[head], strict=True)) for head in first}


def compare_top_labels(first: Path, second: Path, show: Print) -> None:
    """Show in how many rows two dumps differ, head by head; raises InputError where they are of different data."""
    tables = [read_top_labels(path.read_text(encoding="ascii")) for path in (first, second)]
    heads, (rows, others) = list(tables[0]), (len(next(iter(table.values()))) for table in tables)
    if rows != others or heads != list(tables[1]):
        raise InputError(f"{first} and {second} are of different data: {rows} rows against {others}")
    for head, differ in count_differences(tables[0], tables[1]).items():
        show(f"{head:8} {differ} of {rows} top labels differ")


def _figures(logits: NDArray[np.float32], labels: NDArray[np.int64], parts: Halves | None) -> dict[str, float]:
    """Figures of published logits; ``parts`` are PublicTest's halves, None if the calibration saw none of the rows."""
    posteriors = softmax(logits)
    if parts is None:
        return figures(posteriors, labels, unseen=np.flatnonzero(labels >= 0))
    crossed = {"calibration_error_cross_fitted": cross_fitted_error(logits, labels, parts)}
    return figures(posteriors, labels, unseen=labelled(parts, labels)[0]) | crossed
