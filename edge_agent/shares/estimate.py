"""Shares of people per emotion, from the classifier's calibrated posteriors, one row a person.

Averaging posteriors is biased: a classifier that takes every fourth frightened face for a sad one reports too many sad
people however many it sees, and calibrated posteriors lean towards the mix of emotions that they were calibrated on.
Three steps put that right; docs/shares.md derives them and has the measurements.

1. A *working point*: the shares of highest posterior under a weak Dirichlet prior, by EM (Saerens, Latinne and
   Decaestecker 2002), which re-reads every face as if emotions were mixed like this.
2. How those re-read answers relate to the truth is not assumed but looked up: the same step is applied to the
   *reference faces*, the calibration half of PublicTest with known labels, whose mean answer per true emotion and whose
   scatter make a linear Gaussian model of this group's mean answer (adjusted counts, with the efficient statistic).
3. That is inverted under three hypotheses at once - emotions are mixed as in the reference, somewhat differently, or
   in any way - weighted by how well each explains what was seen. So a quiet group is hardly corrected and a strange
   one fully, without a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.shares.rounding import percentages
from edge_agent.types import Shares

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Chosen on the calibration half alone, by ``python -m benchmarks.prevalence_tune``."""

    correct_from_people: int = 5
    """Below this many people a correction does not beat the plain average."""
    prior_people: float = 10.0
    """Weight of the Dirichlet prior of step 1, in people."""
    em_steps: int = 15
    """The working point need not be the optimum; more steps change no figure."""
    moderate_shift: float = 20.0
    """Concentration of the middle hypothesis, Dirichlet(moderate_shift x prior)."""
    odds: tuple[float, float, float] = (3.0, 1.0, 2.0)
    """Weights of the hypotheses before anything was seen: any mix, moderate shift, none."""
    label_trust: float = 0.25
    """How much of a reference face's class is its label, 0 to 1; the rest is its posterior, as EM would have it."""
    reference_doubt: float = 1.5
    """Factor on the sampling variance of the reference faces: those who are read now were not drawn from them."""
    interval_sds: float = 1.75
    """Half a 90 % interval in standard deviations; 1.645 if all of this were exactly normal."""


@dataclass(frozen=True)
class Reference:
    """Faces with known labels that the network was not trained on."""

    posteriors: Array
    """Calibrated posteriors, shape (m, classes)."""
    labels: NDArray[np.int64]
    """Index of the true class, shape (m,)."""


@dataclass(frozen=True)
class _Belief:
    """A normal distribution of the shares for each hypothesis, and the hypotheses' weights."""

    means: Array
    """Shape (hypotheses, classes); may be a little below 0."""
    covariances: Array
    """Shape (hypotheses, classes, classes)."""
    weights: Array
    """Shape (hypotheses,), sums to 1."""


class ShareEstimator:
    """Estimates shares for one classifier.

    Args:
        labels: emotion names in the order of the columns.
        prior: shares of the labels that the posteriors were calibrated on; each above 0.
        reference: what step 2 needs; without it only plain averages are given.
        settings: for the benchmark, which chooses them.

    Raises:
        ValueError: a prior is not positive, a class has no reference face, or lengths differ.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prior: Sequence[float],
        reference: Reference | None = None,
        settings: Settings = Settings(),
    ) -> None:
        self.labels = tuple(labels)
        self._settings = settings
        self._prior = np.asarray(prior, dtype=np.float64)
        if self._prior.shape != (len(self.labels),) or not (self._prior > 0).all():
            raise ValueError(f"one positive prior for each of {len(self.labels)} labels is needed, not {prior}")
        self._prior = self._prior / self._prior.sum()
        self._response = None if reference is None else _Response(reference, self._prior, settings)

    def estimate(self, probabilities: Array) -> Shares:
        """Shares of ``n`` people, in well under a millisecond for 200.

        Args:
            probabilities: calibrated posteriors, shape (n, len(labels)), n >= 1, each row sums to 1 and is one person.

        Returns:
            ``method`` is ``mean`` or ``adjusted_em``.

        Raises:
            ValueError: the shape is wrong, or nobody is in it.
        """
        posteriors = np.asarray(probabilities, dtype=np.float64)
        if posteriors.ndim != 2 or posteriors.shape[1] != len(self.labels) or len(posteriors) == 0:
            raise ValueError(f"expected (people >= 1, {len(self.labels)}) posteriors, not {posteriors.shape}")
        raw = posteriors.mean(axis=0)
        if self._response is None:
            best, spread = raw, np.sqrt((posteriors * (1.0 - posteriors)).sum(axis=0)) / len(posteriors)
            centre, method = raw, "mean"
        else:
            belief = self._believe(posteriors)
            centre, spread = _moments(belief)
            corrected = len(posteriors) >= self._settings.correct_from_people
            best, method = (_feasible(belief), "adjusted_em") if corrected else (raw, "mean")
        reach, published = self._settings.interval_sds * spread, percentages(best)
        return Shares(
            percentages=self._named(published),
            percentages_raw=self._named(percentages(raw)),
            intervals=dict(zip(self.labels, _intervals(centre - reach, centre + reach, published), strict=True)),
            method=method,
            people=len(posteriors),
        )

    def _named(self, values: list[float]) -> dict[str, float]:
        return dict(zip(self.labels, values, strict=True))

    def _believe(self, posteriors: Array) -> _Belief:
        """Steps 1 to 3."""
        assert self._response is not None
        people = len(posteriors)
        working = working_point(posteriors, self._prior, self._settings.prior_people, self._settings.em_steps)
        seen = _reread(posteriors / self._prior, working).mean(axis=0)
        answer, noise = self._response.at(working, people)
        return _invert(seen, answer, noise, _hypotheses(self._prior, people, self._settings))


def working_point(posteriors: Array, prior: Array, prior_people: float = 0.0, steps: int = 100) -> Array:
    """Shares of highest posterior under Dirichlet(1 + prior_people x prior): EM for a shift of the labels.

    Saerens, Latinne and Decaestecker (2002), "Adjusting the outputs of a classifier to new a priori probabilities".
    """
    ratios = posteriors / prior
    shares = prior
    pseudo = prior_people * prior
    for _ in range(steps):
        # The E step without its (n, classes) array of responsibilities: their column sums are all that is needed.
        evidence = ratios @ shares
        shares = shares * (1.0 / evidence @ ratios) + pseudo
        shares = shares / shares.sum()
    return shares


def _reread(ratios: Array, shares: Array) -> Array:
    """Posteriors as they would be if emotions were mixed like ``shares``; each row sums to 1."""
    rows: Array = ratios * shares
    rows /= rows.sum(axis=1, keepdims=True)
    return rows


class _Response:
    """How the classifier answers to faces of each true emotion, measured on the reference faces."""

    def __init__(self, reference: Reference, prior: Array, settings: Settings) -> None:
        self._doubt = settings.reference_doubt
        counts = np.bincount(reference.labels, minlength=len(prior))
        if len(counts) != len(prior) or (counts == 0).any():
            raise ValueError(f"every class needs reference faces, but they number {counts.tolist()}")
        self._ratios = reference.posteriors / prior
        labels = np.eye(len(prior))[reference.labels]
        members = settings.label_trust * labels + (1.0 - settings.label_trust) * reference.posteriors
        self._counts = members.sum(axis=0)
        self._average = (members / self._counts).T

    def at(self, shares: Array, people: int) -> tuple[Array, Array]:
        """Answer and noise when faces are re-read with ``shares``.

        Returns:
            The mean answer to each true class, shape (classes, classes), one column a true class; and the covariance of
            the mean answer of ``people`` people around it, from their own scatter and from the finite reference.
        """
        answers = _reread(self._ratios, shares)
        mean = (self._average @ answers).T
        share_of_noise = shares / people + self._doubt * shares**2 / self._counts
        weighted = answers * (share_of_noise @ self._average)[:, None]
        return mean, weighted.T @ answers - (mean * share_of_noise) @ mean.T


def _hypotheses(prior: Array, people: int, settings: Settings) -> _Belief:
    """The shares among ``people`` people under each hypothesis on how emotions are mixed, before anybody was seen.

    Dirichlet(1) (anything), Dirichlet(20 x prior) and the prior itself. The shares among n people drawn from such a mix
    are Dirichlet-multinomial; two moments of it are used.
    """
    classes = len(prior)
    means = np.stack([np.full(classes, 1.0 / classes), prior, prior])
    concentration = np.array([float(classes), settings.moderate_shift, 1e9])
    scale = (concentration + people) / (people * (concentration + 1.0))
    spread = means[:, :, None] * np.eye(classes) - means[:, :, None] * means[:, None, :]
    return _Belief(means, spread * scale[:, None, None], np.array(settings.odds) / sum(settings.odds))


def _invert(seen: Array, answer: Array, noise: Array, before: _Belief) -> _Belief:
    """Bayes' rule for a linear Gaussian model, for each hypothesis and for their weights."""
    # Both sides sum to 1, so one row of the answers says nothing new and would make the matrices singular.
    rows = answer[:-1]
    innovation = seen[:-1] - before.means @ rows.T
    cross = rows @ before.covariances
    total = cross @ rows.T + noise[:-1, :-1] + 1e-9 * np.eye(len(rows))
    gain = np.linalg.solve(total, cross).transpose(0, 2, 1)
    distance = np.einsum("hi,hi->h", innovation, np.linalg.solve(total, innovation[..., None])[..., 0])
    evidence = np.log(before.weights) - 0.5 * (distance + np.linalg.slogdet(total)[1])
    weights = np.exp(evidence - evidence.max())
    return _Belief(
        means=before.means + np.einsum("hij,hj->hi", gain, innovation),
        covariances=before.covariances - gain @ cross,
        weights=weights / weights.sum(),
    )


def _feasible(belief: _Belief) -> Array:
    """The expected shares; what lies below 0 is set to 0 before the hypotheses are averaged."""
    shares = np.clip(belief.means, 0.0, None)
    mixed: Array = belief.weights @ (shares / shares.sum(axis=1, keepdims=True))
    return mixed


def _intervals(low: Array, high: Array, published: list[float]) -> list[tuple[float, float]]:
    """(low, high) in percent, rounded outwards to one decimal; the published percentage is always inside."""
    lows, highs = np.floor(1000 * np.clip(low, 0.0, 1.0)) / 10, np.ceil(1000 * np.clip(high, 0.0, 1.0)) / 10
    return [(min(float(a), share), max(float(b), share)) for a, b, share in zip(lows, highs, published, strict=True)]


def _moments(belief: _Belief) -> tuple[Array, Array]:
    """Mean and standard deviation of each share over all hypotheses, each of shape (classes,)."""
    mean = belief.weights @ belief.means
    within = np.einsum("hkk->hk", belief.covariances)
    return mean, np.sqrt(np.maximum(belief.weights @ (within + (belief.means - mean) ** 2), 0.0))
