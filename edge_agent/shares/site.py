"""A site's own calibration: how the model answers to people who agreed, before this camera and in this light.

Two things are learnt from some hundred labelled faces. An affine re-reading of the calibrated logits, pulled to leaving
them as they are: the network knows more than its cut points, which were made for other pictures. And reference answers,
each re-read without its own face. They are the only rows about single people that are ever written: seven numbers and a
label a face, shuffled, without picture, time or name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.reference import Array, Reference

Labels = NDArray[np.int64]

PULL = 30.0
"""Strength of the pull on the matrix, and ``PULL_SHIFT`` on the shift, chosen by ``benchmarks/shares_elsewhere.py`` on
part A2 of the web photos and on spoilt pictures."""
PULL_SHIFT = 5.0
FOLDS = 5
LEAST_FACES = 30
"""Fewer say too little, whatever a cross-validation of them claims."""
LEAST_PEOPLE = 5
_BLIND = 0.8
"""Of the error of a blind guess at the shares: what answers must beat that say anything."""
_ROUNDS, _GROUPS, _PEOPLE = 4, 25, 50
"""Of the cross-validation: divisions, groups drawn from each fold, people in a group."""


@dataclass(frozen=True)
class Site:
    """What was learnt at one site, for one head of one model."""

    model_sha256: str
    head: str
    weights: Array
    """Shape (labels, labels + 1): added to the logits are these times (centred logits, 1)."""
    reference: Reference
    """Answers re-read with weights that were fitted without them."""
    error_before: float
    """Cross-validated mean error of shares of 50 people without this calibration, in points a class."""
    error_after: float
    """The same with it."""

    @property
    def id(self) -> str:
        """Names it in messages: eight digits that differ from any other site's."""
        return hashlib.sha256(self.weights.tobytes() + self.reference.posteriors.tobytes()).hexdigest()[:8]

    def reread(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated logits as this site's faces say that they are to be read, shape (n, labels)."""
        return (logits + _features(logits.astype(np.float64)) @ self.weights.T).astype(np.float32)


@dataclass(frozen=True)
class LabelledFaces:
    """The faces of people who agreed."""

    logits: Array
    """Calibrated logits of the model, shape (n, labels)."""
    labels: Labels
    """Which emotion each was asked for, shape (n,)."""
    people: Labels
    """Whose face each is, any number per person, shape (n,); where nobody knows, each its own."""

    def __getitem__(self, rows: NDArray[np.bool_] | Labels) -> LabelledFaces:
        return LabelledFaces(self.logits[rows], self.labels[rows], self.people[rows])


def fit_site(faces: LabelledFaces, estimator: ShareEstimator, model_sha256: str, *, head: str, seed: int) -> Site:
    """Learn from the faces, and measure by cross-validation what that is worth; the rows come out shuffled.

    Args:
        faces: at least LEAST_FACES of them, of at least two emotions.
        estimator: of the model without a site.
        model_sha256: of the model's file.
        head: which answered.
        seed: of the shuffling and the folds.

    Raises:
        ValueError: too few faces or emotions, or answers that have nothing to do with the labels.
    """
    if len(faces.labels) < LEAST_FACES or len(np.unique(faces.labels)) < 2:
        raise ValueError(f"{len(faces.labels)} faces, but at least {LEAST_FACES} of two emotions or more are needed")
    rng = np.random.default_rng(seed)
    faces = faces[rng.permutation(len(faces.labels))]
    prior = estimator.prior
    before, after = _validated(faces, estimator, rng)
    return Site(
        model_sha256=model_sha256,
        head=head,
        weights=_fit(faces, prior).round(5),
        reference=Reference(_cross_fitted(faces, prior, rng).round(4), faces.labels),
        error_before=before,
        error_after=after,
    )


def _features(logits: Array) -> Array:
    """Logits without their mean, which says nothing, and a 1; shape (n, labels + 1)."""
    return np.concatenate([logits - logits.mean(axis=1, keepdims=True), np.ones((len(logits), 1))], axis=1)


def _posteriors(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _reread(logits: Array, weights: Array) -> Array:
    read: Array = logits + _features(logits) @ weights.T
    return read


def _fit(faces: LabelledFaces, prior: Array) -> Array:
    """Weights of least cross-entropy plus the pull, by Newton's method; shape (labels, labels + 1).

    The faces' emotions are mixed by whoever asked for them, the posteriors are to keep ``prior``: the difference is an
    offset of the logits while fitting.
    """
    classes, features = len(prior), _features(faces.logits)
    counts = np.bincount(faces.labels, minlength=classes)
    offset = np.log((counts + prior * classes) / ((counts.sum() + classes) * prior))
    wanted = np.eye(classes)[faces.labels]
    pull = np.append(np.full(classes, PULL), PULL_SHIFT)
    weights = np.zeros((classes, classes + 1))
    for _ in range(50):
        posteriors = _posteriors(faces.logits + features @ weights.T + offset)
        slope = (posteriors - wanted).T @ features + pull * weights
        spread = posteriors[:, :, None] * np.eye(classes) - posteriors[:, :, None] * posteriors[:, None, :]
        curvature = np.einsum("nij,na,nb->iajb", spread, features, features, optimize=True)
        curvature += np.einsum("ij,ab->iajb", np.eye(classes), np.diag(pull))
        step = np.linalg.solve(curvature.reshape(slope.size, slope.size), slope.ravel()).reshape(slope.shape)
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _folds(faces: LabelledFaces, rng: np.random.Generator) -> Labels:
    """A fold for each face, shape (n,); all faces of one person are in one."""
    people, member = np.unique(faces.people, return_inverse=True)
    return (rng.permutation(len(people)) % FOLDS)[member]


def _cross_fitted(faces: LabelledFaces, prior: Array, rng: np.random.Generator) -> Array:
    """Posteriors of the faces, each re-read with weights that other people's faces taught."""
    fold, posteriors = _folds(faces, rng), np.empty_like(faces.logits)
    for number in np.unique(fold):
        asked = fold == number
        posteriors[asked] = _posteriors(_reread(faces.logits[asked], _fit(faces[~asked], prior)))
    return posteriors


def _validated(faces: LabelledFaces, estimator: ShareEstimator, rng: np.random.Generator) -> tuple[float, float]:
    """Mean error of shares in points without and with a site that the asked people had no part in.

    Groups of any mix of the emotions that a fold shows are drawn from it.
    """
    errors: list[list[float]] = []
    for _ in range(_ROUNDS):
        fold = _folds(faces, rng)
        for number in np.unique(fold):
            known, asked = faces[fold != number], faces[fold == number]
            weights = _fit(known, estimator.prior)
            taught = estimator.at_site(weights, Reference(_cross_fitted(known, estimator.prior, rng), known.labels))
            plain, read = _posteriors(asked.logits), _posteriors(_reread(asked.logits, weights))
            shown = np.unique(asked.labels)
            for _ in range(_GROUPS // FOLDS):
                labels = rng.choice(shown, _PEOPLE, p=rng.dirichlet(np.ones(len(shown))))
                rows = np.array([rng.choice(np.flatnonzero(asked.labels == label)) for label in labels])
                truth = np.bincount(labels, minlength=len(estimator.prior)) / _PEOPLE
                found = [each.estimate(a[rows]).percentages for each, a in ((estimator, plain), (taught, read))]
                blind = np.bincount(shown, minlength=len(truth)) / len(shown)
                guesses = [*(np.array(list(shares.values())) / 100 for shares in found), blind]
                errors.append([100 * float(np.abs(guess - truth).mean()) for guess in guesses])
    before, after, guessed = np.mean(errors, axis=0)
    if after > _BLIND * guessed:
        raise ValueError("the answers to these faces say nothing of what they were asked for")
    return round(float(before), 2), round(float(after), 2)
