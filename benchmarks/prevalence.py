"""How far published shares are from the truth: by plain averages, by the peers' method and by ours.

Groups of people are made from one half of FER-2013's PublicTest. Neither the calibration nor the settings were fitted
on it, but training runs were chosen by it. A mix of emotions is drawn, then faces with replacement. Each estimate is
compared with the shares that were drawn. The int8 model answers through the code that the device runs.

One half is one draw. Whether intervals hold depends on whether its few disgusted faces are like those that the
calibration knows. So PublicTest is also divided in ten other ways. Each half calibrates once and is asked about once,
and a second table has these figures.

    python -m benchmarks.prevalence --data ../shared/data --write   # the tables of docs/shares.md
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shares import (
    HALVINGS,
    ROWS,
    SEED,
    SMALL_ROWS,
    Answers,
    Array,
    Row,
    Way,
    ask,
    distinct,
    halvings,
    measure,
    measure_halvings,
    working_point,
)
from benchmarks.written import write_between
from edge_agent.shares.estimate import Settings, ShareEstimator
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from training.data import PUBLIC, Faces, divide, find_source, load
from training.machine import describe_machine

WINDOWS = 500
FIGURES = {head: Path(f"docs/figures/prevalence_{head}.json") for head in ("ferplus", "fer2013")}
PAGE = Path("docs/shares.md")
SHIFTS = {"strong": "any: Dirichlet(1)", "moderate": "moderate: Dirichlet(20 x prior)", "none": "as in calibration"}


def main() -> None:
    """Measure, print, and write where asked, head by head."""
    options = _options()
    faces = load(find_source(options.data))
    for labels in FIGURES if options.labels is None else (options.labels,):
        classifier = Classifier(load_model(options.model), head=labels)
        result = measure_head(classifier, faces, options.windows)
        text = f"{table(result)}\n\n{table_of_halvings(result)}"
        print(text)
        if options.write:
            FIGURES[labels].parent.mkdir(parents=True, exist_ok=True)
            FIGURES[labels].write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            write_between(PAGE, f"prevalence {labels}", text)


def measure_head(classifier: Classifier, faces: Faces, windows: int) -> dict[str, Any]:
    """All rows for one head, judged by its own labels: as it is shipped, and over many other divisions."""
    if classifier.head.reference is None:
        raise SystemExit(f"{classifier.model.path}: its .json has no reference faces; export it again")
    selection, estimator = ask(classifier, stated(faces)), classifier.head.share_estimator(classifier.labels)
    prior = np.array(classifier.head.prior)
    em: dict[str, Way] = {"em": lambda posteriors: working_point(posteriors, prior)}
    parts = list(halvings(ask(classifier, distinct(faces[faces.splits == PUBLIC]))))
    return {
        "measured": {
            "command": "python -m benchmarks.prevalence",
            "machine": describe_machine(),
            "runtime": classifier.runtime_name,
            "labels": classifier.head_name,
            "model": f"{classifier.model.info.name} {classifier.model.info.sha256[:12]}",
            "accuracy_selection": round(float((selection.posteriors.argmax(1) == selection.labels).mean()), 6),
            "windows": windows,
            "seed": SEED,
            "faces": dict(zip(classifier.labels, np.bincount(selection.labels).tolist(), strict=True)),
            "faces_in_a_half": len(parts[0][1]),
            "ms_for_200_people": round(milliseconds(estimator, selection), 2),
        },
        "rows": [
            measure(row, selection, prior, estimator=estimator, windows=windows, others=em)
            for row in (*ROWS, *SMALL_ROWS)
        ],
        "halvings": [
            over_halvings(row, measure_halvings(row, parts, Settings(), windows=windows // 5)) for row in ROWS
        ],
    }


def stated(faces: Faces) -> Faces:
    """The selection half without what is also in the calibration half, bit for bit."""
    division = divide(faces)
    known = {image.tobytes() for image in division.calibration.images}
    # A handful of images are in PublicTest twice, once in each half.
    return division.selection[np.array([image.tobytes() not in known for image in division.selection.images])]


def over_halvings(row: Row, results: dict[str, Any]) -> dict[str, Any]:
    """Means over all divisions, and how much the coverage of a single one varies (standard deviation)."""
    mean = {way: np.mean([errors[way] for errors in results["error_points"]]) for way in results["error_points"][0]}
    return {
        "people": row.people,
        "shift": row.shift,
        "goal": row.goal,
        "error_points": {way: round(float(value), 2) for way, value in mean.items()},
        "reduction": round(float(1 - mean["ours"] / mean["mean"]), 3),
        "coverage": round(float(np.mean(results["coverage"])), 3),
        "coverage_spread": round(float(np.std(results["coverage"])), 3),
        "coverage_by_class": np.mean(results["coverage_by_class"], axis=0).round(3).tolist(),
    }


def milliseconds(estimator: ShareEstimator, faces: Answers) -> float:
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
    for row in result["rows"]:
        e, goal = row["error_points"], row["goal"]
        lines.append(
            f"| {row['people']:,} | {SHIFTS[row['shift']]} | {e['top']:.2f} | {e['mean']:.2f} | {e['em']:.2f} | "
            f"**{e['ours']:.2f}** | {-100 * row['reduction']:+.0f} % | "
            f"{'' if goal is None else f'{-100 * goal:+.0f} %'} | {100 * row['coverage']:.0f} % |"
        )
    judged = [row for row in result["rows"] if row["goal"] is not None]
    disgust = list(facts["faces"]).index("disgust")
    held = 100 * np.mean([row["coverage_by_class"] for row in judged], axis=0)
    lines += [
        "",
        f"Over the {len(judged)} rows with a goal, 90 % intervals hold {held.mean():.0f} % of the time: "
        f"{held[disgust]:.0f} % for disgust, {np.delete(held, disgust).mean():.0f} % for the other six. "
        "Errors are mean absolute errors per class, in points. "
        f"Measured on {facts['machine']}, {facts['runtime']}, model {facts['model']}, head {facts['labels']}, "
        f"which is right for {100 * facts['accuracy_selection']:.1f} % of this half. "
        f"{facts['windows']} windows per row, seed {facts['seed']}, {sum(facts['faces'].values()):,} faces. "
        f"An estimate for 200 people takes {facts['ms_for_200_people']} ms. Disgust has {facts['faces']['disgust']} "
        f"images in this half and fear {facts['faces']['fear']}, so their part of every figure is uncertain.",
    ]
    return "\n".join(lines)


def table_of_halvings(result: dict[str, Any]) -> str:
    """The same for other divisions than the shipped one, as Markdown."""
    facts = result["measured"]
    disgust = list(facts["faces"]).index("disgust")
    lines = [
        f"The same over {HALVINGS // 2} other divisions of PublicTest, each used both ways. A half has "
        f"{facts['faces_in_a_half']:,} faces, and no image is in it twice. One half calibrates; "
        f"each row asks {facts['windows'] // 5} windows of the other.",
        "",
        "| people per window | mix of emotions | top labels counted | plain mean | **published** "
        "| error against the plain mean | goal | 90 % interval holds | in a single division | for disgust |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["halvings"]:
        e, held = row["error_points"], 100 * row["coverage"]
        lines.append(
            f"| {row['people']:,} | {SHIFTS[row['shift']]} | {e['top']:.2f} | {e['mean']:.2f} | **{e['ours']:.2f}** | "
            f"{-100 * row['reduction']:+.0f} % | {-100 * row['goal']:+.0f} % | {held:.1f} % | "
            f"± {100 * row['coverage_spread']:.1f} | {100 * row['coverage_by_class'][disgust]:.0f} % |"
        )
    together = 100 * np.mean([row["coverage"] for row in result["halvings"]])
    lines += [
        "",
        f"Together, intervals hold {together:.1f} %. ± is the standard deviation between divisions, in points.",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with fer2013.csv.gz")
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--labels", choices=tuple(FIGURES), help="only this head, judged by its own labels")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--write", action="store_true", help=f"write a .json in docs/figures and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
