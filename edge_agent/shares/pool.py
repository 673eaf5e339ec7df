"""Published windows added up: of any length, device and day, corrected once at the end.

Averages of answers add up, corrected shares do not: a hundred windows of ten people, each hardly corrected for want of
evidence, are together a thousand people, who say much. What a window must publish for it is ``percentages_raw``,
``percentages_even`` and ``people``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_agent.shares.estimate import Averages, ShareEstimator
from edge_agent.shares.reference import Array
from edge_agent.types import Shares


@dataclass(frozen=True, slots=True)
class CameraSums:
    """The windows of one camera, added up."""

    people: int
    readings: Array
    """People times the mean of both readings, summed over windows, shape (2 x labels,), in any unit."""


def pooled(windows: Iterable[tuple[str, Shares]], estimator: ShareEstimator) -> Shares | None:
    """Shares of all people of the windows; who is in two windows counts twice.

    The interval does not shrink below the doubt about the cameras: windows of one camera share it, several cameras
    average it out.

    Args:
        windows: the camera (any name that tells one from another) and the shares of each published window.
        estimator: of the model that read the faces of all of them (``model`` in the window).

    Returns:
        None without windows.

    Raises:
        ValueError: a window has other labels, or was published before windows could be added up.
    """
    sums: dict[str, CameraSums] = {}
    for camera, shares in windows:
        before = sums.get(camera)
        added = shares.people * _readings(shares, estimator.labels)
        sums[camera] = CameraSums(
            shares.people + (before.people if before else 0), added + (before.readings if before else 0.0)
        )
    return pooled_sums(sums.values(), estimator)


def pooled_sums(cameras: Iterable[CameraSums], estimator: ShareEstimator) -> Shares | None:
    """The same from sums, one a camera; None without people."""
    known = [camera for camera in cameras if camera.people]
    people = sum(camera.people for camera in known)
    if not people:
        return None
    readings = np.sum([camera.readings for camera in known], axis=0)
    return pooled_totals(people, readings, sum(camera.people**2 for camera in known), estimator=estimator)


def pooled_totals(people: int, readings: Array, squares: float, *, estimator: ShareEstimator) -> Shares:
    """The same from totals over all cameras, as a database adds them up.

    Args:
        people: of all windows, at least 1.
        readings: see :class:`CameraSums`, summed over cameras.
        squares: sum over cameras of the square of each one's people.
        estimator: of the model that read the faces.
    """
    raw, even = np.split(readings, 2)
    averages = np.concatenate([raw / raw.sum(), even / even.sum()])
    return estimator.estimate_averages(Averages(people=people, readings=averages, cameras=people**2 / squares))


def _readings(shares: Shares, labels: tuple[str, ...]) -> Array:
    even = shares.percentages_even
    if even is None or set(even) != set(labels):
        raise ValueError("a window was published without percentages_even, or with other labels: it cannot be added up")
    values = [shares.percentages_raw[label] for label in labels] + [even[label] for label in labels]
    return np.array(values) / 100.0
