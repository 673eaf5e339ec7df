"""Groups of people whose shares are known, and how far off estimates of them are.

Used by the measurement of the shares (prevalence.py) and by the choice of their settings (prevalence_tune.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.shares.estimate import Settings, ShareEstimator
from edge_agent.shares.reference import Reference
from edge_agent.vision.classifier import Classifier
from quantization.calibration import fit
from training import data

Array = NDArray[np.float64]
SEED = 2013
HALVINGS = 20


@dataclass(frozen=True)
class Row:
    """One kind of group."""

    people: int
    shift: str
    """``strong``: Dirichlet(1); ``moderate``: Dirichlet(20 x prior); ``none``: the prior itself."""
    goal: float | None = None
    """Wanted reduction of the plain mean's error, at least this fraction (negative: an increase of at most this)."""


ROWS = (
    Row(30, "strong", 0.30),
    Row(100, "strong", 0.45),
    Row(1000, "strong", 0.50),
    Row(100, "moderate", 0.10),
    Row(100, "none", -0.05),
)
SMALL_ROWS = (
    *(Row(n, shift) for n in (3, 5, 10) for shift in ("strong", "moderate", "none")),
    Row(30, "moderate"),
    Row(30, "none"),
    Row(1000, "moderate"),
    Row(1000, "none"),
)
"""Rows without a goal: they show where the correction begins, and whether it ever hurts."""


@dataclass(frozen=True)
class Answers:
    """Calibrated posteriors (n, 7) for faces, and these faces' labels (n,)."""

    posteriors: Array
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64]) -> Answers:
        return Answers(self.posteriors[rows], self.labels[rows])

    def prior(self) -> Array:
        """The shares of the labels, shape (7,)."""
        counts: Array = np.bincount(self.labels) / len(self)
        return counts


def ask(classifier: Classifier, faces: data.Faces) -> Answers:
    """The classifier's answers to the faces that its head's labels know."""
    labels = faces.labels_by_head()[classifier.head_name]
    batches = [
        classifier.classify(faces.images[start : start + 64, :, :, None]).probabilities
        for start in tqdm(range(0, len(faces), 64), desc="faces", unit="batch", leave=False, disable=None)
    ]
    return Answers(np.concatenate(batches).astype(np.float64), labels)[np.flatnonzero(labels >= 0)]


def distinct(faces: data.Faces) -> data.Faces:
    """The first of each image: FER-2013 has some of them several times, and one half must not know images of the
    other."""
    _, first = np.unique(faces.images.reshape(len(faces), -1), axis=0, return_index=True)
    return faces[np.sort(first)]


def halvings(answers: Answers, count: int = HALVINGS) -> Iterator[tuple[Answers, Answers]]:
    """``count`` pairs of halves of the faces: the known ones, and the ones that are asked about.

    Every division is used both ways. The posteriors are calibrated on the known half alone.
    """
    for seed in range(count // 2):
        first, second = (answers[rows] for rows in data.halves(answers.labels, seed))
        for known, asked in ((first, second), (second, first)):
            # The logarithm of a scaled posterior is a scaled logit up to a constant: scaling it again is a new fit.
            logits = [np.log(np.maximum(part.posteriors, 1e-7)) for part in (known, asked)]
            scaling = fit(logits[0], known.labels)
            yield (
                Answers(scaling.posteriors(logits[0]), known.labels),
                Answers(scaling.posteriors(logits[1]), asked.labels),
            )


def measure_halvings(
    row: Row, parts: list[tuple[Answers, Answers]], settings: Settings, *, windows: int
) -> dict[str, Any]:
    """Results of :func:`measure` for each of :func:`halvings`, as lists of floats; each has ``windows`` windows."""
    results: list[dict[str, Any]] = []
    for draw, (known, asked) in enumerate(parts, start=1):
        prior = known.prior()
        labels = [str(k) for k in range(len(prior))]
        estimator = ShareEstimator(labels, prior.tolist(), Reference(known.posteriors, known.labels), settings=settings)
        results.append(measure(row, asked, prior, estimator=estimator, windows=windows, draw=draw))
    return {key: [result[key] for result in results] for key in results[0] if key not in ("people", "shift", "goal")}


def working_point(posteriors: Array, prior: Array, steps: int = 100) -> Array:
    """Shares of greatest likelihood, by EM for a shift of the labels.

    Saerens, Latinne and Decaestecker (2002), "Adjusting the outputs of a classifier to new a priori probabilities".
    """
    ratios, shares = posteriors / prior, prior
    for _ in range(steps):
        # The E step without its (n, classes) array of responsibilities: their column sums are all that is needed.
        shares = shares * (1.0 / (ratios @ shares) @ ratios) / len(ratios)
    return shares


def groups(
    row: Row, faces: Answers, prior: Array, *, windows: int, draw: int = 0, among: Sequence[int] | None = None
) -> Iterator[tuple[Array, Array]]:
    """Posteriors (people, 7) and true shares (7,) of each group, the same at every call with the same ``draw``.

    ``among`` are the only emotions that people show; None for all.
    """
    rng = np.random.default_rng([SEED, row.people, len(row.shift), *([draw] if draw else [])])
    classes = len(prior)
    shown = np.arange(classes) if among is None else np.array(among)
    usual = prior[shown] / prior[shown].sum()
    by_class, counts = np.argsort(faces.labels, kind="stable"), np.bincount(faces.labels, minlength=classes)
    first = np.cumsum(counts) - counts
    for _ in range(windows):
        concentration = {"strong": np.ones(len(shown)), "moderate": 20 * usual}.get(row.shift)
        mix = usual if concentration is None else rng.dirichlet(concentration)
        labels = shown[rng.choice(len(shown), row.people, p=mix)]
        chosen = by_class[first[labels] + (rng.random(row.people) * counts[labels]).astype(int)]
        yield faces.posteriors[chosen], np.bincount(labels, minlength=classes) / row.people


Way = Callable[[Array], Array]
"""From posteriors (people, 7) to shares (7,)."""


def measure(
    row: Row,
    faces: Answers,
    prior: Array,
    *,
    estimator: ShareEstimator,
    windows: int,
    draw: int = 0,
    others: Mapping[str, Way] = MappingProxyType({}),
    among: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Mean absolute error per class in points, for each way, and how often the 90 % intervals hold.

    ``others`` are further ways that are asked about the same groups; the rest is as for :func:`groups`.
    """
    errors: dict[str, list[Array]] = {name: [] for name in ("mean", "top", *others, "ours")}
    held, widths = [], []
    for posteriors, truth in tqdm(
        groups(row, faces, prior, windows=windows, draw=draw, among=among),
        total=windows,
        desc=f"{row.people}, {row.shift}",
        leave=False,
        disable=None,
    ):
        shares = estimator.estimate(posteriors)
        estimates = {
            "mean": posteriors.mean(axis=0),
            "top": np.bincount(posteriors.argmax(axis=1), minlength=len(prior)) / len(posteriors),
            **{name: way(posteriors) for name, way in others.items()},
            "ours": np.array(list(shares.percentages.values())) / 100,
        }
        for name, estimate in estimates.items():
            errors[name].append(100 * np.abs(estimate - truth))
        low, high = np.array(list(shares.intervals.values())).T
        held.append((low - 1e-9 <= 100 * truth) & (100 * truth <= high + 1e-9))
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
