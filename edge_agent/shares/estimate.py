"""Shares of people per emotion, from the classifier's calibrated posteriors, one row a person.

Averaging posteriors is biased: a classifier that takes every fourth frightened face for a sad one reports too many sad
people however many it sees, and calibrated posteriors lean towards the mix of emotions that they were calibrated on.
docs/shares.md derives what is done about it and has the measurements. In short:

1. A group's answers are averaged (:mod:`edge_agent.shares.reference`). How such averages relate to the truth is looked
   up in faces with known labels: a linear Gaussian model of the group's average given its shares.
2. Those faces may not be like this camera's. *Levels of doubt* say how far off the model may be, however many people
   come. Six of the twelve averages are more than the shares need: how badly they fit tells one level from another.
3. The model is inverted under each level and each *mix*, a guess at how emotions are mixed before anybody is seen (in
   any way, nearly as in the reference, just so), weighted by how well they explain what was seen.
4. A correction needs evidence: an emotion is lifted by more than ten points only where the answers are 20 times as
   likely under the corrected shares as under the plain averages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.shares.reference import Array, Reference, free, readings, respond, respond_at_site
from edge_agent.shares.rounding import percentages
from edge_agent.types import Shares


@dataclass(frozen=True)
class Settings:
    """Chosen by ``python -m benchmarks.prevalence_tune`` on pictures that no stated figure uses."""

    mixes: tuple[tuple[float, float, float], ...] = ((10.0, 0.4, 4.0), (1.0, 1.0, 40.0), (1.5, 1.0, 1e9))
    """Odds, power and people of each mix: Dirichlet(people x prior ** power, scaled to sum to people)."""
    doubts: tuple[float, ...] = (0.05, 0.15, 0.3, 0.6)
    """Levels of doubt: how far a camera's mean answer to an emotion lies from the reference's, in standard deviations
    of single faces' answers."""
    familiar_doubt: float = 0.2
    """Up to this level a camera counts as familiar."""
    label_trust: float = 0.25
    """How much of a reference face's class is its label, 0 to 1; the rest is its posterior."""
    reference_doubt: float = 1.25
    """Factor on the sampling variance of the reference faces: those who are read now were not drawn from them."""
    site_doubt: float = 2.0
    """The same for a site's own faces, who did what they were asked for as well as they could."""
    usual_worth: float = 5.0
    """At a site with a calibration of its own: how many of its faces the usual reference counts for, in each class."""
    steps: int = 3
    """The noise depends on the shares: how often it is worked out again from the estimate so far."""
    interval_sds: float = 1.5
    """Half a 90 % interval in standard deviations where the camera is like the reference."""
    doubtful_sds: float = 3.0
    """How much wider intervals get where doubt is large: by this much times the mean square of the doubt."""
    greatest_lift: float = 0.098
    """How far a share may be lifted without evidence: ten points, less what rounding may add."""
    evidence: float = 20.0
    """How many times as likely the answers must be under a correction that lifts a share by more."""


ROUNDED = 3e-4
"""Standard deviation of what rounding to a tenth of a percent adds to a published average."""


@dataclass(frozen=True)
class Averages:
    """What a group's answers come down to."""

    people: int
    readings: Array
    """Mean of both readings, shape (2 x classes,)."""
    cameras: float = 1.0
    """Over how many cameras of equal share the people are spread: doubt about one is shared by all that it saw."""


@dataclass(frozen=True)
class _Belief:
    """A normal distribution of the shares for each level of doubt and each mix, and the weights of these."""

    means: Array
    """Shape (levels, mixes, classes); may be a little below 0."""
    variances: Array
    """Shape (levels, mixes, classes)."""
    weights: Array
    """Shape (levels, mixes), sums to 1."""


class ShareEstimator:
    """Estimates shares for one classifier.

    Args:
        labels: emotion names in the order of the columns.
        prior: shares of the labels that the posteriors were calibrated on; each above 0.
        reference: faces with known labels; without it only plain averages are given.
        settings: for the benchmark, which chooses them.

    Raises:
        ValueError: a prior is not positive, a class has no reference face, or lengths differ.
    """

    def __init__(
        self,
        labels: Sequence[str],
        prior: Sequence[float],
        reference: Reference | None = None,
        *,
        settings: Settings = Settings(),
    ) -> None:
        self.labels = tuple(labels)
        self._settings = settings
        self._prior = np.asarray(prior, dtype=np.float64)
        if self._prior.shape != (len(self.labels),) or not (self._prior > 0).all():
            raise ValueError(f"one positive prior for each of {len(self.labels)} labels is needed, not {prior}")
        self._prior = self._prior / self._prior.sum()
        self._reference = reference
        self._response = None if reference is None else respond(reference, self._prior, settings.label_trust)
        self._doubts = np.array(settings.doubts)

    @property
    def prior(self) -> Array:
        """Shares of the labels that the posteriors were calibrated on, shape (labels,), sums to 1."""
        return self._prior

    def at_site(self, weights: Array, site: Reference) -> ShareEstimator:
        """The estimator of a site that re-reads the answers (:mod:`edge_agent.shares.site`).

        Args:
            weights: what is added to the logits are these times (centred logits, 1); shape (labels, labels + 1).
            site: re-read answers of this site's own faces.

        Raises:
            ValueError: there is no reference to add them to.
        """
        if self._reference is None:
            raise ValueError("a model without reference faces has none to add a site's to")
        logits = np.log(np.maximum(self._reference.posteriors, 1e-7))
        logits = logits - logits.mean(axis=1, keepdims=True)
        powers = np.exp(logits + logits @ weights[:, :-1].T + weights[:, -1])
        reread = Reference(powers / powers.sum(axis=1, keepdims=True), self._reference.labels)
        settings = replace(self._settings, reference_doubt=self._settings.site_doubt)
        taught = ShareEstimator(self.labels, self._prior.tolist(), reread, settings=settings)
        assert taught._response is not None
        taught._response = respond_at_site(site, taught._response, self._prior, worth=self._settings.usual_worth)
        return taught

    @property
    def even_doubt(self) -> Array:
        """Weights of the levels of doubt when nothing is known of a camera, shape (levels,)."""
        return np.full(len(self._doubts), 1.0 / len(self._doubts))

    def read(self, probabilities: NDArray[np.floating[Any]]) -> Array:
        """Both readings of each answer, shape (n, 2 x labels).

        Args:
            probabilities: calibrated posteriors, shape (n, labels), each row sums to 1.

        Raises:
            ValueError: the shape is wrong.
        """
        posteriors = np.asarray(probabilities, dtype=np.float64)
        if posteriors.ndim != 2 or posteriors.shape[1] != len(self.labels):
            raise ValueError(f"expected (people, {len(self.labels)}) posteriors, not {posteriors.shape}")
        return readings(posteriors, self._prior)

    def estimate(self, probabilities: NDArray[np.floating[Any]], doubt: Array | None = None) -> Shares:
        """Shares of a group, from one posterior a person; raises ValueError where that is wrong, or nobody's."""
        return self.estimate_people(self.read(probabilities), doubt)

    def estimate_people(self, people: Array, doubt: Array | None = None) -> Shares:
        """Shares of a group, in a few milliseconds.

        Args:
            people: mean readings of each person, shape (n, 2 x labels), as :meth:`read` gives them.
            doubt: what is known of the camera, shape (levels,), see :meth:`doubt`; None for nothing.

        Returns:
            ``method`` is ``mean`` or ``adjusted_means``.

        Raises:
            ValueError: nobody is in it.
        """
        if len(people) == 0:
            raise ValueError("no posteriors: nobody has no shares")
        ratios = people[:, : len(self.labels)] / self._prior

        def evidence(best: Array, raw: Array) -> float:
            return float(np.log(ratios @ best / (ratios @ raw)).sum())

        return self._publish(Averages(len(people), people.mean(axis=0)), doubt, evidence, least=self._settings.evidence)

    def estimate_averages(self, seen: Averages, doubt: Array | None = None) -> Shares:
        """The same from averages alone, for groups that were added up.

        Single answers are no longer known here, so the evidence is the linear model's, which is rougher: twice as much
        (in logarithms) is asked of it.
        """

        def evidence(best: Array, raw: Array) -> float:
            return self._likelihood(seen, best) - self._likelihood(seen, raw)

        return self._publish(seen, doubt, evidence, least=self._settings.evidence**2)

    def doubt(self, seen: Averages) -> Array:
        """How likely each level of doubt about the camera is, shape (levels,), sums to 1."""
        if self._response is None:
            return self.even_doubt
        weights: Array = self._believe(seen, self.even_doubt)[0].weights.sum(axis=1)
        return weights

    def _publish(
        self, seen: Averages, doubt: Array | None, evidence: Callable[[Array, Array], float], *, least: float
    ) -> Shares:
        raw, even = np.split(seen.readings, 2)
        if self._response is None:
            # Answers alone, read as exact; nothing is known of how they are wrong.
            best, centre, spread, familiar = raw, raw, np.sqrt(raw * (1.0 - raw) / seen.people), None
        else:
            belief, best = self._believe(seen, self.even_doubt if doubt is None else doubt)
            lift = float((best - raw).max())
            if lift > self._settings.greatest_lift and evidence(best, raw) < math.log(least):
                best = raw + self._settings.greatest_lift / lift * (best - raw)
            centre, spread = _moments(belief)
            levels = belief.weights.sum(axis=1)
            spread = spread * (1.0 + self._settings.doubtful_sds * float(levels @ self._doubts**2) / seen.cameras)
            familiar = float(levels[self._doubts <= self._settings.familiar_doubt].sum())
        reach, published = self._settings.interval_sds * spread, percentages(best)
        return Shares(
            percentages=self._named(published),
            percentages_raw=self._named(percentages(raw)),
            percentages_even=self._named(percentages(even)),
            intervals=dict(zip(self.labels, _intervals(centre - reach, centre + reach, published), strict=True)),
            method="mean" if self._response is None else "adjusted_means",
            people=seen.people,
            familiar=None if familiar is None else round(familiar, 3),
        )

    def _named(self, values: list[float]) -> dict[str, float]:
        return dict(zip(self.labels, values, strict=True))

    def _believe(self, seen: Averages, doubt: Array) -> tuple[_Belief, Array]:
        """Step 3, and the expected shares under it, shape (classes,)."""
        assert self._response is not None
        answer = self._response.mean
        means, covariances, odds = _mixes(self._prior, seen.people, self._settings)
        innovation = free(seen.readings) - means @ answer.T
        cross = answer @ covariances
        own = cross @ answer.T
        before = np.log(np.maximum(doubt, 1e-6))[:, None] + np.log(odds)
        shares = self._prior
        for _ in range(self._settings.steps):
            total = own + self._noise(seen, shares)[:, None]
            targets = np.concatenate([innovation[:, :, None], cross], axis=2)
            solved = np.linalg.solve(total, np.broadcast_to(targets, (*total.shape[:2], *targets.shape[1:])))
            distance = np.einsum("hf,lhf->lh", innovation, solved[..., 0])
            gain = solved[..., 1:]
            evidence = before - 0.5 * (distance + np.linalg.slogdet(total)[1])
            weights = np.exp(evidence - evidence.max())
            belief = _Belief(
                means=means + np.einsum("hf,lhfk->lhk", innovation, gain),
                variances=np.einsum("hkk->hk", covariances) - np.einsum("lhfk,hfk->lhk", gain, cross),
                weights=weights / weights.sum(),
            )
            shares = _feasible(belief)
        return belief, shares

    def _noise(self, seen: Averages, shares: Array) -> Array:
        """Covariance of the averages if ``shares`` were true, shape (levels, f, f): scatter of the people who came, of
        the finite reference, and of cameras around it, which more people do not remove.
        """
        assert self._response is not None
        sampled = shares / seen.people + self._settings.reference_doubt * shares**2 / self._response.faces
        doubted = self._doubts[:, None] ** 2 * shares**2 / seen.cameras
        scatter = self._response.scatter
        noise: Array = np.tensordot(sampled + doubted, scatter, axes=1) + ROUNDED**2 * np.eye(scatter.shape[1])
        return noise

    def _likelihood(self, seen: Averages, shares: Array) -> float:
        """Logarithm of how likely the averages are under ``shares``, all levels of doubt alike, up to a constant."""
        assert self._response is not None
        noise = self._noise(seen, shares)
        off = free(seen.readings) - self._response.mean @ shares
        distance = np.linalg.solve(noise, np.broadcast_to(off[:, None], (len(noise), len(off), 1)))[..., 0] @ off
        return float(np.logaddexp.reduce(-0.5 * (distance + np.linalg.slogdet(noise)[1])))


def _mixes(prior: Array, people: int, settings: Settings) -> tuple[Array, Array, Array]:
    """The shares among ``people`` people under each mix before anybody was seen: mean, covariance, odds.

    Shares among n people drawn from a Dirichlet mix are Dirichlet-multinomial; two moments of it are used.
    """
    odds, powers, concentrations = np.array(settings.mixes).T
    means = prior ** powers[:, None]
    means /= means.sum(axis=1, keepdims=True)
    scale = (concentrations + people) / (people * (concentrations + 1.0))
    spread = means[:, :, None] * np.eye(len(prior)) - means[:, :, None] * means[:, None, :]
    return means, spread * scale[:, None, None], odds / odds.sum()


def _feasible(belief: _Belief) -> Array:
    """The expected shares; what lies below 0 is set to 0 before they are averaged."""
    shares = np.clip(belief.means, 0.0, None)
    mixed: Array = np.einsum("lh,lhk->k", belief.weights, shares / shares.sum(axis=2, keepdims=True))
    return mixed


def _intervals(low: Array, high: Array, published: list[float]) -> list[tuple[float, float]]:
    """(low, high) in percent, rounded outwards to one decimal; the published percentage is always inside."""
    lows, highs = np.floor(1000 * np.clip(low, 0.0, 1.0)) / 10, np.ceil(1000 * np.clip(high, 0.0, 1.0)) / 10
    return [(min(float(a), share), max(float(b), share)) for a, b, share in zip(lows, highs, published, strict=True)]


def _moments(belief: _Belief) -> tuple[Array, Array]:
    """Mean and standard deviation of each share over all mixes and levels, each of shape (classes,)."""
    mean = np.einsum("lh,lhk->k", belief.weights, belief.means)
    variance = np.einsum("lh,lhk->k", belief.weights, belief.variances + (belief.means - mean) ** 2)
    return mean, np.sqrt(np.maximum(variance, 0.0))
