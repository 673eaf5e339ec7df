"""How the settings of the shares were chosen: each is varied, on pictures that no stated figure uses.

Asked about are the calibration half of PublicTest (one half of it known, the other asked), part A2 of the web photos
with all of the calibration half known, and both with pictures spoilt as cameras spoil them. So each kind of picture is
one that the reference has never seen. A cell is how much the published error exceeds the plain mean's and how often the
90 % intervals hold, both in percent.

    python -m benchmarks.prevalence_tune --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import wild
from benchmarks.shares import Answers, Array, Row, ask, distinct, groups
from edge_agent.shares.estimate import Settings, ShareEstimator
from edge_agent.shares.reference import Reference
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from training import data
from training.data import Faces
from training.perturb import perturbed

WINDOWS = 100
ROWS = (
    Row(10, "strong"),
    Row(30, "strong"),
    Row(100, "strong"),
    Row(1000, "strong"),
    Row(100, "moderate"),
    Row(100, "none"),
    Row(1000, "none"),
)
SPOILT = ("noise 5", "JPEG 20", "brightness x2.2", "blur 1.2 px")
"""Bad pictures that a camera may well deliver; those that are hopeless teach no setting."""
GRID: dict[str, list[object]] = {
    "mixes": [
        ((10.0, 0.0, 7.0), (1.0, 1.0, 40.0), (1.5, 1.0, 1e9)),
        ((10.0, 0.6, 4.0), (1.0, 1.0, 40.0), (1.5, 1.0, 1e9)),
        ((10.0, 0.4, 7.0), (1.0, 1.0, 40.0), (1.5, 1.0, 1e9)),
        ((10.0, 0.4, 4.0), (3.0, 1.0, 20.0), (1.0, 1.0, 1e9)),
        ((10.0, 0.4, 4.0), (1.0, 1.0, 40.0), (5.0, 1.0, 1e9)),
    ],
    "doubts": [(0.05,), (0.05, 0.2, 0.5, 1.0), (0.05, 0.1, 0.2, 0.4), (0.1, 0.3, 0.7)],
    "label_trust": [0.0, 0.5, 1.0],
    "reference_doubt": [0.75, 1.0, 1.5],
    "interval_sds": [1.645, 1.75],
    "doubtful_sds": [0.0, 1.0, 4.0],
    "evidence": [1.0, 1000.0],
}


@dataclass(frozen=True)
class Domain:
    """One kind of picture, asked about with a reference of another."""

    name: str
    known: Answers
    drawn: dict[Row, list[tuple[Array, Array]]]


def main() -> None:
    """Print a table for each variant, head by head."""
    options = _options()
    calibration = distinct(data.divide(data.load(data.find_source(options.data))).calibration)
    elsewhere = wild.read(options.data, "A2")
    for head in options.heads:
        kinds = list(
            domains(Classifier(load_model(options.model), head=head), calibration, elsewhere, windows=options.windows)
        )
        print(f"{head}: error against the plain mean | coverage, for", *(f"{r.people}/{r.shift}" for r in ROWS))
        variants = {"as shipped": Settings()} | {
            f"{name}={value}": replace(Settings(), **{name: value})  # type: ignore[arg-type]
            for name, values in GRID.items()
            for value in values
        }
        for name, settings in variants.items():
            print(name)
            for domain in kinds:
                cells = [judge(domain.drawn[row], estimator_of(domain.known, settings)) for row in ROWS]
                print(
                    f"  {domain.name:20}", "  ".join(f"{100 * c['excess']:+4.0f}|{100 * c['held']:3.0f}" for c in cells)
                )


def domains(classifier: Classifier, calibration: Faces, elsewhere: wild.Crops, *, windows: int) -> Iterator[Domain]:
    """All kinds of pictures; the posteriors are the classifier's own throughout."""
    usual = ask(classifier, calibration)
    labels = calibration.labels_by_head()[classifier.head_name]
    known, asked = data.halves(labels[labels >= 0])
    prior = usual.prior()
    for name in ("clean", *SPOILT):
        spoilt = replace(calibration, images=perturbed(calibration.images, name))
        yield _domain(f"FER-2013, {name}", usual[known], ask(classifier, spoilt)[asked], prior=prior, windows=windows)
    for name in ("clean", *SPOILT):
        answers = ask_crops(classifier, replace(elsewhere, images=perturbed(elsewhere.images, name)))
        yield _domain(f"web A2, {name}", usual, answers, prior=prior, windows=windows, among=wild.WELL_LABELLED)


def ask_crops(classifier: Classifier, crops: wild.Crops) -> Answers:
    """The classifier's answers to faces that are cut already."""
    return Answers(classifier.classify(crops.images[..., None]).probabilities.astype(np.float64), crops.labels)


def _domain(
    name: str, known: Answers, asked: Answers, *, prior: Array, windows: int, among: Sequence[int] | None = None
) -> Domain:
    return Domain(name, known, {row: list(groups(row, asked, prior, windows=windows, among=among)) for row in ROWS})


def estimator_of(known: Answers, settings: Settings) -> ShareEstimator:
    """An estimator that knows these faces and nothing else."""
    prior = known.prior()
    return ShareEstimator(
        [str(k) for k in range(len(prior))],
        prior.tolist(),
        Reference(known.posteriors, known.labels),
        settings=settings,
    )


def judge(drawn: list[tuple[Array, Array]], estimator: ShareEstimator) -> dict[str, Any]:
    """How much the error exceeds the plain mean's, and how often intervals hold."""
    errors, plain, held = [], [], []
    for posteriors, truth in drawn:
        shares = estimator.estimate(posteriors)
        errors.append(np.abs(np.array(list(shares.percentages.values())) - 100 * truth))
        plain.append(np.abs(100 * posteriors.mean(axis=0) - 100 * truth))
        low, high = np.array(list(shares.intervals.values())).T
        held.append((low - 1e-9 <= 100 * truth) & (100 * truth <= high + 1e-9))
    return {"excess": float(np.mean(errors) / np.mean(plain) - 1), "held": float(np.mean(held))}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with fer2013.csv.gz and photos"
    )
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--heads", nargs="+", default=["ferplus", "fer2013"])
    parser.add_argument("--windows", type=int, default=WINDOWS, help="groups a cell")
    return parser.parse_args()


if __name__ == "__main__":
    main()
