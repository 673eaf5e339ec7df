"""What the classifier answers to faces of each emotion, measured on faces whose emotion is known.

Each answer is read twice: as the classifier gives it, and as it would be if all emotions were equally common. Means of
both readings over a group hold nearly all that the group's answers say about its shares
(``benchmarks/prevalence.py`` compares them with EM, which needs every single answer), and they add up over groups.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Faces with known labels that the network was not trained on."""

    posteriors: Array
    """Calibrated posteriors, shape (m, classes)."""
    labels: NDArray[np.int64]
    """Index of the true class, shape (m,)."""


def base64_text(value: str) -> str:
    """``value``, which must be base64; raises ValueError."""
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    return value


class ReferenceFaces(BaseModel):
    """A :class:`Reference` as a model's .json holds it: the faces that its calibration was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: Annotated[str, AfterValidator(base64_text)]
    """uint8, the index of each face's true label, in base64."""
    posteriors: Annotated[str, AfterValidator(base64_text)]
    """float16, calibrated posteriors of shape (faces, labels), row by row, in base64."""

    def decode(self) -> Reference:
        """The two arrays; raises ValueError if they do not belong together."""
        labels = np.frombuffer(base64.b64decode(self.labels), np.uint8).astype(np.int64)
        posteriors = np.frombuffer(base64.b64decode(self.posteriors), "<f2").astype(np.float64)
        return Reference(posteriors.reshape(len(labels), -1), labels)


@dataclass(frozen=True)
class Response:
    """How the classifier answers to faces of each true emotion; ``f`` is the number of :func:`free` columns."""

    mean: Array
    """Mean reading, shape (f, classes), one column a true class."""
    scatter: Array
    """Covariance of the readings of single faces, shape (classes, f, f)."""
    faces: Array
    """How many faces each class was measured on, shape (classes,)."""


def readings(posteriors: Array, prior: Array) -> Array:
    """Both readings of each answer, side by side.

    Args:
        posteriors: shape (n, classes), each row sums to 1.
        prior: the shares that they were calibrated on, shape (classes,), each above 0.

    Returns:
        Shape (n, 2 x classes): the posteriors, then the same as if all emotions were equally common.
    """
    even = posteriors / prior
    even /= even.sum(axis=1, keepdims=True)
    return np.concatenate([posteriors, even], axis=1)


def free(rows: Array) -> Array:
    """Readings without the last class of each half: each half sums to 1, so it says nothing new."""
    classes = rows.shape[-1] // 2
    return np.delete(rows, [classes - 1, 2 * classes - 1], axis=-1)


def respond(reference: Reference, prior: Array, label_trust: float) -> Response:
    """The response of reference faces.

    Args:
        reference: the faces.
        prior: the shares that their posteriors were calibrated on.
        label_trust: how much of a face's class is its label, 0 to 1; the rest is its posterior, which steadies rare
            classes.

    Raises:
        ValueError: a class has no face.
    """
    classes = len(prior)
    counts = np.bincount(reference.labels, minlength=classes)
    if len(counts) != classes or (counts == 0).any():
        raise ValueError(f"every class needs reference faces, but they number {counts.tolist()}")
    members = label_trust * np.eye(classes)[reference.labels] + (1.0 - label_trust) * reference.posteriors
    return _measure(free(readings(reference.posteriors, prior)), members)


def respond_at_site(site: Reference, usual: Response, prior: Array, *, worth: float) -> Response:
    """The response of a site's own faces, with the usual one counted as ``worth`` faces of each class.

    So a class that nobody at the site showed answers as usual.
    """
    members = np.eye(len(prior))[site.labels]
    rows, counts = free(readings(site.posteriors, prior)), members.sum(axis=0)
    faces = counts + worth
    mean = (rows.T @ members + worth * usual.mean) / faces
    away = usual.mean - mean
    within = np.stack([((rows - m) * part[:, None]).T @ (rows - m) for m, part in zip(mean.T, members.T, strict=True)])
    scatter = within + worth * (usual.scatter + away.T[:, :, None] * away.T[:, None, :])
    return Response(mean, scatter / faces[:, None, None], faces)


def _measure(rows: Array, members: Array) -> Response:
    """Mean and scatter of the rows (m, f) of each class, to which each face belongs by ``members`` (m, classes)."""
    faces = members.sum(axis=0)
    parts = members / faces
    mean = rows.T @ parts
    scatter = np.stack([(rows * part[:, None]).T @ rows for part in parts.T])
    return Response(mean, scatter - mean.T[:, :, None] * mean.T[:, None, :], faces)
