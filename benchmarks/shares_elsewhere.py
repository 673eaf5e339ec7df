"""How far shares are off where the camera is not FER-2013's.

Web photos that chose nothing, with and without a site's own calibration; small groups; windows that are added up; and a
camera that sees noise or masks only.

Part B of the web photos states, part A2 is the site. QuaPy's quantifiers (``pip install quapy``, optional) are asked
about the same groups; they know the same reference faces.

    python -m benchmarks.shares_elsewhere --data ../shared/data --write         # the tables of docs/shares.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import wild
from benchmarks.shares import SEED, Answers, Array, Row, Way, ask, groups, measure, working_point
from benchmarks.written import write_between
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.pool import pooled
from edge_agent.shares.site import LabelledFaces, fit_site
from edge_agent.types import Shares
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from training import data
from training.machine import describe_machine
from training.metrics import softmax
from training.perturb import perturbed

WINDOWS = 300
ROWS = (
    Row(30, "strong"),
    Row(100, "strong"),
    Row(1000, "strong"),
    Row(100, "moderate"),
    Row(100, "none"),
    Row(1000, "none"),
)
SITE_ROWS = (0, 1, 2, 3, 4)
"""Rows over which a site's mean error is stated."""
SITE_FACES = 200
SMALL_WINDOWS = 632
UNFAMILIAR = ("clean", "noise 10", "noise 20", "mask", "sunglasses", "brightness x0.3", "JPEG 20", "blur 1.2 px")
PAGE, FIGURES = Path("docs/shares.md"), Path("docs/figures/shares_elsewhere.json")
SHIFTS = {"strong": "any", "moderate": "moderate", "none": "ordinary"}


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    classifier = Classifier(load_model(options.model), head=options.head)
    selection = data.divide(data.load(data.find_source(options.data))).selection
    result = {
        "measured": {
            "machine": describe_machine(),
            "runtime": classifier.runtime_name,
            "model": f"{classifier.model.info.name} {classifier.model.info.sha256[:12]}",
            "head": classifier.head_name,
            "windows": options.windows,
            "seed": SEED,
        }
        | elsewhere(classifier, options.data, options.windows, with_quapy=options.quapy),
        "pool": added_up(classifier.share_estimator(), ask(classifier, selection)),
        "familiar": {name: familiarity(classifier, selection, name) for name in UNFAMILIAR},
    }
    print(table(result))
    if options.write:
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "elsewhere", table(result))


def elsewhere(classifier: Classifier, folder: Path, windows: int, *, with_quapy: bool) -> dict[str, Any]:
    """Part B without and with a site of part A2, and small groups."""
    estimator, prior = classifier.share_estimator(), np.array(classifier.head.prior)
    asked, site = wild.read(folder, "B"), wild.read(folder, "A2", tuple(range(len(prior))))
    logits = _calibrated(classifier, asked)
    others: dict[str, Way] = quapy_ways(classifier) if with_quapy else {}
    others["em"] = lambda posteriors: working_point(posteriors, prior)
    plain = Answers(softmax(logits), asked.labels)
    result: dict[str, Any] = {
        "faces": len(asked.labels),
        "right": round(float((logits.argmax(1) == asked.labels).mean()), 4),
        "plain": [
            measure(row, plain, prior, estimator=estimator, windows=windows, others=others, among=wild.WELL_LABELLED)
            for row in ROWS
        ],
        "small": weak_lifts(estimator, plain, prior),
    }
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(site.labels), SITE_FACES, replace=False)
    faces = LabelledFaces(_calibrated(classifier, site)[chosen], site.labels[chosen], site.people[chosen])
    taught = fit_site(faces, estimator, "", head=classifier.head_name, seed=SEED)
    read = Answers(softmax(taught.reread(logits.astype(np.float32)).astype(np.float64)), asked.labels)
    at_site = estimator.at_site(taught.weights, taught.reference)
    result["site"] = [
        measure(row, read, prior, estimator=at_site, windows=windows, among=wild.WELL_LABELLED) for row in ROWS
    ]
    result["site_gain"] = [taught.error_before, taught.error_after]
    return result


def _calibrated(classifier: Classifier, crops: wild.Crops) -> Array:
    return classifier.head.calibrated(classifier.logits(crops.images[..., None])).astype(np.float64)


def weak_lifts(estimator: ShareEstimator, faces: Answers, prior: Array) -> dict[str, int]:
    """Windows of 3 to 30 faces as they come: emotions lifted by more than ten points, and how many on weak evidence.

    Strong evidence is that the answers are 20 times as likely under the published shares as under the plain mean.
    """
    rng = np.random.default_rng(SEED)
    lifted = weak = 0
    for _ in range(SMALL_WINDOWS):
        rows = faces.posteriors[rng.choice(len(faces), rng.integers(3, 31), replace=False)]
        shares = estimator.estimate(rows)
        best, raw = (np.array(list(s.values())) / 100 for s in (shares.percentages, shares.percentages_raw))
        more = int((best - raw > 0.1 + 1e-9).sum())
        lifted += more
        if more and np.log((rows / prior) @ best / ((rows / prior) @ raw)).sum() < np.log(20):
            weak += more
    return {"windows": SMALL_WINDOWS, "lifted": lifted, "weak": weak}


def added_up(estimator: ShareEstimator, faces: Answers) -> dict[str, float]:
    """A hundred windows of ten people together, against one window of the same thousand."""
    errors: dict[str, list[float]] = {"pooled": [], "one": [], "averaged": []}
    held = []
    for rows, truth in groups(Row(1000, "strong"), faces, faces.prior(), windows=60):
        windows = [estimator.estimate(rows[first : first + 10]) for first in range(0, 1000, 10)]
        together = pooled((("camera", window) for window in windows), estimator)
        assert together is not None
        averaged = np.mean([list(window.percentages.values()) for window in windows], axis=0)
        for name, found in (
            ("pooled", _percent(together)),
            ("one", _percent(estimator.estimate(rows))),
            ("averaged", averaged),
        ):
            errors[name].append(float(np.abs(found - 100 * truth).mean()))
        low, high = np.array(list(together.intervals.values())).T
        held.append((low - 1e-9 <= 100 * truth) & (100 * truth <= high + 1e-9))
    return {name: round(float(np.mean(e)), 2) for name, e in errors.items()} | {"holds": round(float(np.mean(held)), 3)}


def familiarity(classifier: Classifier, faces: data.Faces, name: str) -> dict[str, float]:
    """What 200 people before such a camera are called, over many groups of ordinary mix."""
    spoilt = data.Faces(perturbed(faces.images, name), faces.labels, faces.votes, faces.other_votes, faces.splits)
    answers, estimator = ask(classifier, spoilt), classifier.share_estimator()
    found = [estimator.estimate(r).familiar for r, _ in groups(Row(200, "none"), answers, answers.prior(), windows=100)]
    known = np.array([familiar for familiar in found if familiar is not None])
    return {"median": round(float(np.median(known)), 3), "below_half": round(float((known < 0.5).mean()), 3)}


def quapy_ways(classifier: Classifier) -> dict[str, Way]:
    """QuaPy's EMQ, PACC and KDEy over the reference faces' posteriors."""
    import quapy  # type: ignore[import-not-found]  # benchmark only
    from quapy.method.aggregative import EMQ, PACC, KDEyML  # type: ignore[import-not-found]
    from sklearn.base import BaseEstimator

    assert classifier.head.reference is not None
    reference = classifier.head.reference.decode()
    quapy.environ["SAMPLE_SIZE"] = 100

    class Given(BaseEstimator):  # type: ignore[misc]
        """A classifier whose features are the posteriors already."""

        classes_ = np.arange(len(classifier.labels))

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, x: Array, y: Array) -> Given:
            return self

        def predict_proba(self, x: Array) -> Array:
            return np.asarray(x)

        def predict(self, x: Array) -> Array:
            return np.asarray(x).argmax(axis=1)

    ways: dict[str, Way] = {}
    for name, kind in (("EMQ", EMQ), ("PACC", PACC), ("KDEy", KDEyML)):
        method = kind(Given(), fit_classifier=False)
        method.fit(reference.posteriors, reference.labels)
        ways[name] = lambda posteriors, method=method: np.asarray(method.aggregate(posteriors))  # type: ignore[misc]
    return ways


def _percent(shares: Shares) -> Array:
    return np.array(list(shares.percentages.values()))


def table(result: dict[str, Any]) -> str:
    """Everything as Markdown."""
    m = result["measured"]
    quantifiers = [name for name in ("EMQ", "PACC", "KDEy") if name in m["plain"][0]["error_points"]]
    lines = [
        "| people | mix | plain mean | EM alone | " + "".join(f"QuaPy {q} | " for q in quantifiers) + "**published** | "
        "against the plain mean | 90 % interval holds | **with a site's 200 faces** | holds |",
        "|---" * (9 + len(quantifiers)) + "|",
    ]
    for row, site in zip(m["plain"], m["site"], strict=True):
        e = row["error_points"]
        cells = [f"{row['people']:,}", SHIFTS[row["shift"]], *(f"{e[n]:.2f}" for n in ("mean", "em", *quantifiers))]
        cells += [f"**{e['ours']:.2f}**", f"{-100 * row['reduction']:+.0f} %", f"{100 * row['coverage']:.0f} %"]
        cells += [f"**{site['error_points']['ours']:.2f}**", f"{100 * site['coverage']:.0f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    small, pool = m["small"], result["pool"]
    over = _mean(m["site"][row]["error_points"]["ours"] for row in SITE_ROWS)
    before = _mean(m["plain"][row]["error_points"]["ours"] for row in SITE_ROWS)
    holds = 100 * _mean(m["site"][row]["coverage"] for row in SITE_ROWS)
    lines += [
        "",
        f"Over the first five rows the site's calibration brings the mean error from {before:.2f} to {over:.2f} "
        f"points, and its intervals hold {holds:.0f} % of the time. In {small['windows']} windows of 3 to 30 faces an "
        f"emotion is lifted by more than ten points {small['lifted']} times, {small['weak']} of them on weak evidence.",
        "",
        f"Added up, a hundred windows of ten people are {pool['pooled']:.2f} points off (PublicTest's selection half, "
        f"any mix). One window of a thousand is {pool['one']:.2f} off, the average of the hundred windows' percentages "
        f"{pool['averaged']:.2f}. The interval of the sum holds {100 * pool['holds']:.0f} % of the time.",
        "",
        "| pictures | `familiar` of 200 people, median | called unfamiliar (below 0.5) |",
        "|---|---|---|",
        *(
            f"| {name} | {row['median']:.2f} | {100 * row['below_half']:.0f} % |"
            for name, row in result["familiar"].items()
        ),
        "",
        f"Mean absolute errors per class, in points. {m['machine']}, {m['runtime']}, model {m['model']}, head "
        f"{m['head']} ({100 * m['right']:.1f} % right on part B, {m['faces']} faces). {m['windows']} windows a row, "
        f"seed {m['seed']}. `python -m benchmarks.shares_elsewhere --write`.",
    ]
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--head", default="ferplus")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--quapy", action="store_true", help="ask QuaPy's quantifiers, too: pip install quapy")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
