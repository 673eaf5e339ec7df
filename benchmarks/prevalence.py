"""How far published shares are from the truth, for plain averages, the peers' way and ours.

Groups of people are made from the half of FER-2013's PublicTest that neither the calibration nor the settings were
fitted on (it chose among training runs): a mix of emotions is drawn, then faces with replacement, and each estimate is
compared with the shares that were drawn. The int8 model answers through the code that the device runs.

    python -m benchmarks.prevalence --data ../shared/data --write   # the tables of docs/shares.md
    python -m benchmarks.prevalence --data ../shared/data --tune    # what the settings were chosen by
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.machine import describe_machine
from benchmarks.written import write_between
from edge_agent.classifier import Classifier
from edge_agent.model import load_model
from edge_agent.prevalence import Reference, Settings, ShareEstimator, working_point
from quantization.calibration import fit
from training.data import SPLIT_SEED, divide, find_source, load

Array = NDArray[np.float64]
WINDOWS = 500
SEED = 2013
FIGURES = {head: Path(f"docs/figures/prevalence_{head}.json") for head in ("ferplus", "fer2013")}
PAGE = Path("docs/shares.md")


@dataclass(frozen=True)
class Row:
    """One kind of group."""

    people: int
    shift: str
    """``strong``: Dirichlet(1); ``moderate``: Dirichlet(20 x prior); ``none``: the prior itself."""
    goal: float | None = None
    """Least reduction of the plain mean's error that is wanted (negative: greatest increase)."""


ROWS = (
    Row(30, "strong", 0.25),
    Row(100, "strong", 0.45),
    Row(1000, "strong", 0.65),
    Row(100, "moderate", 0.15),
    Row(100, "none", -0.10),
)
SMALL_ROWS = (
    *(Row(n, shift) for n in (3, 5, 10) for shift in ("strong", "moderate", "none")),
    Row(30, "moderate"),
    Row(30, "none"),
    Row(1000, "moderate"),
    Row(1000, "none"),
)
"""Beyond the goals: where the correction begins, and whether it ever hurts."""


@dataclass(frozen=True)
class Faces:
    """Calibrated posteriors (n, 7) and labels (n,)."""

    posteriors: Array
    labels: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.int64]) -> Faces:
        return Faces(self.posteriors[rows], self.labels[rows])


def main() -> None:
    """Measure, print, and write where asked, head by head."""
    options = _options()
    for labels in FIGURES if options.labels is None else (options.labels,):
        measure_head(labels, options)


def measure_head(labels: str, options: argparse.Namespace) -> None:
    """All rows for one head, judged by its own labels."""
    classifier = Classifier(load_model(options.model), labels=labels)
    selection, estimator, reference = read(classifier, options.data)
    if options.tune:
        tune(reference, options.windows)
        return
    prior = np.array(classifier.head.prior)
    rows = [measure(row, selection, prior, estimator, options.windows) for row in (*ROWS, *SMALL_ROWS)]
    result: dict[str, Any] = {
        "measured": {
            "command": "python -m benchmarks.prevalence",
            "machine": describe_machine(),
            "runtime": classifier.runtime_name,
            "labels": classifier.head_name,
            "model": f"{classifier.model.info.name} {classifier.model.info.sha256[:12]}",
            "accuracy_selection": round(float((selection.posteriors.argmax(1) == selection.labels).mean()), 4),
            "windows": options.windows,
            "seed": SEED,
            "faces": dict(zip(classifier.labels, np.bincount(selection.labels).tolist(), strict=True)),
            "ms_for_200_people": round(milliseconds(estimator, selection), 2),
        },
        "rows": rows,
    }
    text = table(result)
    print(text)
    if options.write:
        FIGURES[labels].parent.mkdir(parents=True, exist_ok=True)
        FIGURES[labels].write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, f"prevalence {labels}", text)


def read(classifier: Classifier, data: Path) -> tuple[Faces, ShareEstimator, Faces]:
    """The selection half through the classifier, the shipped estimator, and the calibration half's shipped answers.

    What is also in the calibration half, bit for bit, is left out.
    """
    division = divide(load(find_source(data)), SPLIT_SEED)
    known_images = {image.tobytes() for image in division.calibration.images}
    # A handful of images are in PublicTest twice, once in each half.
    half = division.selection[np.array([image.tobytes() not in known_images for image in division.selection.images])]
    labels = half.labels if classifier.head_name == "fer2013" else half.majority()
    answers = [
        classifier.classify(half.images[start : start + 64, :, :, None]).probabilities
        for start in tqdm(range(0, len(half), 64), desc="selection half", leave=False)
    ]
    shipped = classifier.head.reference
    if shipped is None:
        raise SystemExit(f"{classifier.model.path}: its .json has no reference faces; export it again")
    known = shipped.decode()
    estimator = classifier.head.share_estimator(classifier.labels)
    return (
        Faces(np.concatenate(answers).astype(np.float64), labels)[np.flatnonzero(labels >= 0)],
        estimator,
        Faces(known.posteriors, known.labels),
    )


def groups(row: Row, faces: Faces, prior: Array, windows: int) -> Iterator[tuple[Array, Array]]:
    """Posteriors (people, 7) and true shares (7,) of each group, the same at every call."""
    rng = np.random.default_rng([SEED, row.people, len(row.shift)])
    classes = len(prior)
    by_class, counts = np.argsort(faces.labels, kind="stable"), np.bincount(faces.labels, minlength=classes)
    first = np.cumsum(counts) - counts
    for _ in range(windows):
        concentration = {"strong": np.ones(classes), "moderate": 20 * prior}.get(row.shift)
        mix = prior if concentration is None else rng.dirichlet(concentration)
        labels = rng.choice(classes, row.people, p=mix)
        chosen = by_class[first[labels] + (rng.random(row.people) * counts[labels]).astype(int)]
        yield faces.posteriors[chosen], np.bincount(labels, minlength=classes) / row.people


def measure(row: Row, faces: Faces, prior: Array, estimator: ShareEstimator, windows: int) -> dict[str, Any]:
    """Mean absolute error per class in points, for each way, and how often the 90 % intervals hold."""
    errors: dict[str, list[Array]] = {"mean": [], "top": [], "em": [], "ours": []}
    held, widths = [], []
    for posteriors, truth in tqdm(groups(row, faces, prior, windows), total=windows, desc=str(row), leave=False):
        shares = estimator.estimate(posteriors)
        estimates = {
            "mean": posteriors.mean(axis=0),
            "top": np.bincount(posteriors.argmax(axis=1), minlength=len(prior)) / len(posteriors),
            "em": working_point(posteriors, prior),
            "ours": np.array(list(shares.percentages.values())) / 100,
        }
        for name, estimate in estimates.items():
            errors[name].append(100 * np.abs(estimate - truth))
        low, high = np.array(list(shares.intervals.values())).T
        # Bounds have one decimal: the truth may lie half a tenth beyond the figure that is shown.
        held.append((low - 0.05 <= 100 * truth) & (100 * truth <= high + 0.05))
        widths.append(high - low)
    mean = {name: float(np.mean(values)) for name, values in errors.items()}
    return {
        "people": row.people,
        "shift": row.shift,
        "goal": row.goal,
        "error_points": {name: round(value, 2) for name, value in mean.items()},
        "reduction": round(1 - mean["ours"] / mean["mean"], 3),
        "coverage": round(float(np.mean(held)), 3),
        "coverage_by_class": np.mean(held, axis=0).round(2).tolist(),
        "interval_width_points": round(float(np.mean(widths)), 1),
    }


def milliseconds(estimator: ShareEstimator, faces: Faces) -> float:
    """The best of many estimates for 200 people, in milliseconds."""

    def once(posteriors: Array) -> float:
        began = time.perf_counter()
        estimator.estimate(posteriors)
        return time.perf_counter() - began

    return 1000 * min(once(faces.posteriors[:200]) for _ in range(200))


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown, with what they were measured on."""
    facts = result["measured"]
    lines = [
        "| people per window | mix of emotions | top labels counted (the peers' way) | plain mean | EM alone "
        "| **published** | error against the plain mean | goal | 90 % interval holds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    shifts = {"strong": "any: Dirichlet(1)", "moderate": "moderate: Dirichlet(20 x prior)", "none": "as in calibration"}
    for row in result["rows"]:
        e, goal = row["error_points"], row["goal"]
        lines.append(
            f"| {row['people']:,} | {shifts[row['shift']]} | {e['top']:.2f} | {e['mean']:.2f} | {e['em']:.2f} | "
            f"**{e['ours']:.2f}** | {-100 * row['reduction']:+.0f} % | "
            f"{'' if goal is None else f'{-100 * goal:+.0f} %'} | {100 * row['coverage']:.0f} % |"
        )
    judged = [row for row in result["rows"] if row["goal"] is not None]
    disgust = list(facts["faces"]).index("disgust")
    held = 100 * np.mean([row["coverage_by_class"] for row in judged], axis=0)
    lines += [
        "",
        f"Over the {len(judged)} rows that have a goal, 90 % intervals hold {held.mean():.0f} % of the time: "
        f"{held[disgust]:.0f} % for disgust, {np.delete(held, disgust).mean():.0f} % for the other six. "
        f"Mean absolute error per class, in points. {facts['machine']}, {facts['runtime']}, model {facts['model']}, "
        f"head {facts['labels']} ({100 * facts['accuracy_selection']:.1f} % right on this half), {facts['windows']} "
        f"windows a row, seed {facts['seed']}, {sum(facts['faces'].values()):,} faces; "
        f"200 people take {facts['ms_for_200_people']} ms. Disgust has "
        f"{facts['faces']['disgust']} images in this half and fear {facts['faces']['fear']}: with so few, their "
        "part of every figure is shaky.",
    ]
    return "\n".join(lines)


# -- choosing the settings, on the calibration half alone -------------------------------------------------------------


def tune(reference: Faces, windows: int) -> None:
    """Print what each setting would give; the calibration half is split in two again, both ways, five times."""
    grid: dict[str, list[object]] = {
        "odds": [(3, 1, 2), (1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 1)],
        "prior_people": [3.0, 30.0],
        "label_trust": [0.0, 0.5, 1.0],
        "reference_doubt": [1.0, 2.0],
        "moderate_shift": [10.0, 40.0],
        "interval_sds": [1.645, 1.9],
        "correct_from_people": [1],
    }
    folds = list(itertools.chain.from_iterable(_folds(reference, seed) for seed in range(5)))
    base = replace(Settings(), correct_from_people=1)
    print("reduction of the plain mean's error in % | coverage in %, for rows:")
    print("  ".join(f"{row.people}/{row.shift}" for row in (*ROWS, *SMALL_ROWS)))
    seen = set()
    for name, values in grid.items():
        for value in values:
            settings = replace(base, **{name: value})  # type: ignore[arg-type]
            if settings not in seen:
                seen.add(settings)
                _print_settings(f"{name}={value}", settings, folds, windows // len(folds))


def _folds(faces: Faces, seed: int) -> Iterator[tuple[Faces, Faces]]:
    """(known, asked) both ways; posteriors are calibrated anew on ``known``, as if the other part did not exist."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(faces.labels == k)) for k in np.unique(faces.labels)])
    first, second = faces[order[::2]], faces[order[1::2]]
    for known, asked in ((first, second), (second, first)):
        # The logarithm of a scaled posterior is a scaled logit up to a constant, so scaling it again is a new fit.
        logits = np.log(np.maximum(known.posteriors, 1e-7))
        scaling = fit(logits, known.labels)
        yield (
            Faces(scaling.posteriors(logits), known.labels),
            Faces(scaling.posteriors(np.log(np.maximum(asked.posteriors, 1e-7))), asked.labels),
        )


def _print_settings(name: str, settings: Settings, folds: list[tuple[Faces, Faces]], windows: int) -> None:
    cells = []
    for row in (*ROWS, *SMALL_ROWS):
        results = []
        for known, asked in folds:
            prior = np.bincount(known.labels) / len(known.labels)
            labels = [str(k) for k in range(len(prior))]
            estimator = ShareEstimator(labels, prior.tolist(), Reference(known.posteriors, known.labels), settings)
            results.append(measure(row, asked, prior, estimator, windows))
        mean: Callable[[str], float] = lambda key: 100 * float(np.mean([r[key] for r in results]))  # noqa: B023, E731
        cells.append(f"{mean('reduction'):5.1f}|{mean('coverage'):4.1f}")
    print(f"{name:24}", "  ".join(cells), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with fer2013.csv.gz")
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--labels", choices=tuple(FIGURES), help="only this head, judged by its own labels")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--write", action="store_true", help=f"write a .json in docs/figures and the table in {PAGE}")
    parser.add_argument("--tune", action="store_true", help="show what the settings are chosen by")
    return parser.parse_args()


if __name__ == "__main__":
    main()
