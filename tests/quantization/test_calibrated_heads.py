"""What ``export`` fits and measures on which half of PublicTest, with doubtful labels and of the shipped files."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.vision.model import MODELS, Head, load_model
from quantization.answers import Answers, ask
from quantization.calibration import certainty, fit
from quantization.export import as_cameras_see, export
from tests.support.fer import write_csv
from tests.support.run_folders import run_of
from training.data import PUBLIC, Division, Faces, divide, find_source, load
from training.metrics import accuracy, calibration_error, confusion, cross_entropy, macro_f1

LITERT, TFLITE = (importlib.util.find_spec(name) is not None for name in ("ai_edge_litert", "tflite_runtime"))


def doubtful(faces: Faces) -> Faces:
    """The same images with half of PublicTest's labels, and all of its votes, drawn at random; a tenth has no votes."""
    rng, public = np.random.default_rng(3), np.flatnonzero(faces.splits == PUBLIC)
    labels, votes = faces.labels.copy(), faces.votes.copy()
    drawn = public[rng.random(len(public)) < 0.5]
    labels[drawn] = rng.integers(0, 7, len(drawn))
    votes[public] = rng.integers(0, 10, (len(public), 7))
    votes[public[rng.random(len(public)) < 0.1]] = 0
    return dataclasses.replace(faces, labels=labels, votes=votes)


@pytest.mark.skipif(not (LITERT and TFLITE), reason="needs ai-edge-litert and tflite-runtime side by side")
def test_export_fits_on_the_calibration_half_and_measures_on_the_other(tmp_path: Path) -> None:
    faces = doubtful(load(find_source(write_csv(tmp_path, training=70, public=560))))
    to = tmp_path / "out.tflite"
    info = export(run_of(load_model(), tmp_path / "run"), to, faces, default_head="ferplus")
    division = divide(faces)
    for name, head in info.heads.items():
        parts = [
            Half(part, name, ask(to, as_cameras_see(part.images), "litert"))
            for part in (division.selection, division.calibration)
        ]
        agree(head, *parts, step=1e-5, doubt=0)
        assert (head.figures["images"] < 560) == (name == "ferplus"), "some have no votes"


@pytest.mark.shared
@pytest.mark.skipif(not LITERT, reason="needs ai-edge-litert, which the shipped figures were measured with")
@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.tflite")))
def test_the_shipped_calibration_and_figures_are_those_of_their_halves(halved: Division, name: str) -> None:
    """Another processor answers a few images otherwise, so not to the last digit."""
    path = MODELS / f"{name}.tflite"
    info = load_model(path).info
    spoilt = "camera_copies" in info.provenance["measured"]
    calibration = as_cameras_see(halved.calibration.images) if spoilt else halved.calibration.images
    answers = [ask(path, images, "litert") for images in (halved.selection.images, calibration)]
    for head_name, head in info.heads.items():
        selection = Half(halved.selection, head_name, answers[0])
        agree(head, selection, Half(halved.calibration, head_name, answers[1]), step=2e-3, doubt=4, spoilt=spoilt)


@pytest.fixture(scope="module")
def halved(fer2013: Faces) -> Division:
    return divide(fer2013)


class Half:
    """One head's labels and logits on a half of PublicTest, without rows that nobody labelled."""

    def __init__(self, faces: Faces, head: str, answers: Answers) -> None:
        """``answers`` are of the images, or of what :func:`as_cameras_see` makes of them: first of themselves."""
        labels = np.tile(faces.labels_by_head()[head], len(answers[head]) // len(faces))
        known = labels >= 0
        itself = known & (np.arange(len(labels)) < len(faces))
        self.labels, self.logits = labels[itself], answers[head][itself]
        self.spoilt_labels, self.spoilt = labels[known], answers[head][known]


def agree(head: Head, selection: Half, calibration: Half, *, step: float, doubt: int, spoilt: bool = True) -> None:
    """The head is what these halves give: numbers to within ``step``, counts to within ``doubt`` images.

    Without ``spoilt`` it was calibrated on the pictures as they are alone, as models were until November 2026.
    """
    fitted, other = fit(calibration.logits, calibration.labels), fit(selection.logits, selection.labels)
    apart = np.abs(np.subtract(fitted.bias, other.bias)).max()
    assert apart > 20 * step, "or the halves could not be told apart"
    raw, sure = fitted, certainty(fitted.logits(calibration.spoilt), calibration.spoilt_labels) if spoilt else 1.0
    losses = [
        cross_entropy(calibration.spoilt_labels, factor * raw.logits(calibration.spoilt))
        for factor in (0.97 * sure, sure, 1.03 * sure)
    ]
    assert not spoilt or min(losses) == losses[1], "another certainty makes the answers to spoilt pictures likelier"
    fitted = raw.times(sure)
    assert head.temperature == pytest.approx(fitted.temperature, abs=step)
    assert head.bias == pytest.approx(fitted.bias, abs=step)
    n = len(calibration.labels)
    assert head.prior == pytest.approx(np.bincount(calibration.labels, minlength=7) / n, abs=1e-6)
    assert head.reference is not None
    reference = head.reference.decode()
    np.testing.assert_array_equal(reference.labels, calibration.labels)
    assert np.abs(reference.posteriors - fitted.posteriors(calibration.logits)).mean() < max(step, 1e-3)

    labels = np.concatenate([selection.labels, calibration.labels])
    posteriors = fitted.posteriors(np.concatenate([selection.logits, calibration.logits]))
    crossed = np.concatenate([raw.posteriors(selection.logits), other.posteriors(calibration.logits)])
    counts = confusion(labels, posteriors.argmax(1), 7)
    there = np.array(head.confusion)
    assert there.sum(axis=1).tolist() == np.bincount(labels, minlength=7).tolist()
    assert np.abs(there - counts).sum() <= 2 * doubt
    seen = slice(0, len(selection.labels))
    assert head.figures == pytest.approx(
        {
            "accuracy": accuracy(counts),
            "macro_f1": macro_f1(counts),
            "calibration_error": calibration_error(labels[seen], posteriors[seen]),
            "accuracy_selection": right(posteriors[seen], labels[seen]),
            "accuracy_uncalibrated": right(np.concatenate([selection.logits, calibration.logits]), labels),
            "calibration_error_cross_fitted": calibration_error(labels, crossed),
            "images": len(labels),
        },
        abs=max(step, 1e-6) if doubt else 1e-6,
    )


def right(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    return float((scores.argmax(1) == labels).mean())
