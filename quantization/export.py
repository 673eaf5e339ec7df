"""``export``: calibrate and measure a run's int8 file, and write it with its .json where the device looks for it."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from edge_agent.errors import InputError
from edge_agent.host.runtime import RuntimeChoice
from edge_agent.shares.reference import ReferenceFaces
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import Head, Input, Model, ModelInfo, SelfTest
from quantization.answers import ask_classifier
from quantization.calibration import Calibration, certainty, fit
from quantization.convert import FACTS, INT8, WEIGHTS
from quantization.figures import Halves, cross_fitted_error, figures, labelled
from training.camera import pictures
from training.data import EMOTIONS, HEADS, PUBLIC, SIDE, SPLIT_SEED, TRAINING, Faces, halves
from training.files import write_atomically
from training.machine import describe_machine
from training.metrics import confusion
from training.recipe import find_recipe, load_recipe

log = logging.getLogger(__name__)

CAMERA_COPIES = 6
"""Of each calibration image: on clean pictures alone, answers to others came out far too sure (docs/training.md)."""
RUNTIMES: tuple[RuntimeChoice, ...] = ("litert", "tflite")
SELF_TEST_EMOTIONS = ("happy", "surprise", "angry")
SELF_TEST_TOLERANCE = 4
"""Steps of 256. ARM and x86-64 differ by one or two, and the next release of a runtime may round differently."""


def export(run: Path, to: Path, faces: Faces, *, default_head: str, weights: Path | None = None) -> ModelInfo:
    """Write ``to`` (.tflite) and the .json next to it; the float weights go into the folder ``weights``.

    The calibration is fitted on the calibration half of PublicTest; figures are of all of PublicTest, through the
    code that the device runs. Raises InputError where ``convert`` has not been run, MissingPackageError where a
    runtime is missing: the self-test needs the answers of both.
    """
    public, training = faces[faces.splits == PUBLIC], faces[faces.splits == TRAINING]
    model = Model(to, uncalibrated(run, to, default_head), (run / INT8).read_bytes())
    logits = ask_classifier(Classifier(model, "litert"), public.images)
    parts = halves(public.labels)
    spoilt = ask_classifier(Classifier(model, "litert"), as_cameras_see(public.images[parts[1]]))
    heads = {}
    for name, labels in public.labels_by_head().items():
        heads[name] = _head(model.info.heads[name].output, logits[name], spoilt[name], labels=labels, parts=parts)
        log.info("%s: %s", name, heads[name].figures)
    info = model.info.model_copy(
        update={
            "heads": heads,
            "self_test": self_test(model, training),
            "provenance": model.info.provenance | {"measured": measured_with() | {"camera_copies": str(CAMERA_COPIES)}},
        }
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, model.content)
    write_atomically(to.with_suffix(".json"), readable(info).encode())
    if weights is not None:
        weights.mkdir(parents=True, exist_ok=True)
        write_atomically(weights / f"{to.stem}.npz", _read(run / WEIGHTS))
    return info


def as_cameras_see(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images (n, side, side), and behind them CAMERA_COPIES of each as cameras give them, always the same."""
    how = load_recipe(find_recipe("robust")).augmentation.camera
    rng = np.random.default_rng(SPLIT_SEED)
    return np.concatenate([images, *(pictures(images, how, rng) for _ in range(CAMERA_COPIES))])


def measured_with() -> dict[str, str]:
    """What the figures were measured with: runtimes round differently, and sometimes processors do."""
    return {"runtime": f"ai-edge-litert {metadata.version('ai-edge-litert')}", "machine": describe_machine()}


def self_test(model: Model, training: Faces) -> SelfTest:
    """Answers of both runtimes to the mean faces of a few emotions. They look like faces, and are nobody's picture."""
    means = [training.images[training.labels == EMOTIONS.index(e)].mean(axis=0) for e in SELF_TEST_EMOTIONS]
    # Averaging takes the contrast out; spread it again over all grey levels.
    crops = np.stack([np.interp(m, (m.min(), m.max()), (0, 255)).round().astype(np.uint8) for m in means])[..., None]
    outputs = {
        str(runtime): {head: rows.astype(int).tolist() for head, rows in Classifier(model, runtime).raw(crops).items()}
        for runtime in RUNTIMES
    }
    return SelfTest(crops=base64.b64encode(crops.tobytes()).decode(), tolerance=SELF_TEST_TOLERANCE, outputs=outputs)


def _head(
    output: int,
    logits: NDArray[np.float32],
    spoilt: NDArray[np.float32],
    *,
    labels: NDArray[np.int64],
    parts: Halves,
) -> Head:
    """Calibrate on the second half and measure on both; rows labelled -1 (no votes) are left out.

    ``spoilt`` is what the second half's pictures get as cameras see them: how sure the answers may be. Which answer is
    the surest is left to the pictures as they are.
    """
    first, second = labelled(parts, labels)
    scaling = fit(logits[second], labels[second])
    owners = np.tile(labels[parts[1]], 1 + CAMERA_COPIES)
    scaling = scaling.times(certainty(scaling.logits(spoilt[owners >= 0]), owners[owners >= 0]))
    posteriors, known = scaling.posteriors(logits), labels >= 0
    measured = figures(posteriors, labels, unseen=first) | {
        "accuracy_selection": float((posteriors[first].argmax(1) == labels[first]).mean()),
        "accuracy_uncalibrated": float((logits[known].argmax(1) == labels[known]).mean()),
        "calibration_error_cross_fitted": cross_fitted_error(logits, labels, parts),
        "images": float(known.sum()),
    }
    counts = confusion(labels[known], posteriors[known].argmax(1), len(EMOTIONS))
    return _described(
        output,
        scaling,
        labels[second],
        counts=counts,
        measured=measured,
        reference=_reference(labels[second], posteriors[second]),
    )


def _reference(labels: NDArray[np.int64], posteriors: NDArray[np.float64]) -> ReferenceFaces:
    """The calibration half as :mod:`edge_agent.shares.estimate` needs it: 14 bytes of answers a face, and no pixels."""
    return ReferenceFaces(
        labels=base64.b64encode(labels.astype(np.uint8).tobytes()).decode(),
        posteriors=base64.b64encode(posteriors.astype("<f2").tobytes()).decode(),
    )


def _described(
    output: int,
    scaling: Calibration,
    fitted: NDArray[np.int64],
    *,
    counts: NDArray[np.int64],
    measured: dict[str, float],
    reference: ReferenceFaces,
) -> Head:
    n = len(EMOTIONS)
    return Head(
        output=output,
        temperature=round(scaling.temperature, 5),
        bias=tuple(round(b, 5) for b in scaling.bias),
        prior=tuple((np.bincount(fitted, minlength=n) / len(fitted)).round(6).tolist()),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        figures={name: round(value, 6) for name, value in measured.items()},
        reference=reference,
    )


def uncalibrated(run: Path, to: Path, default_head: str) -> ModelInfo:
    """The description of a run's int8 file before anything was measured."""
    content, facts, history = _read(run / INT8), _read_json(run / FACTS), _read_json(run / "history.json")
    return ModelInfo(
        name=to.stem,
        labels=EMOTIONS,
        input=Input(height=SIDE, width=SIDE, colour="grey"),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        default_head=default_head,
        heads={name: _unmeasured(facts["outputs"][name]) for name in HEADS},
        self_test=SelfTest(crops="", tolerance=0, outputs={}),
        provenance={
            "exported": datetime.now(timezone.utc).date().isoformat(),
            "training": _read_json(run / "run.json") | {"epochs": len(history)},
            "conversion": {key: value for key, value in facts.items() if key != "outputs"},
        },
    )


def _unmeasured(output: int) -> Head:
    n = len(EMOTIONS)
    return Head(output=output, temperature=1, bias=(0,) * n, prior=(1 / n,) * n, confusion=((0,) * n,) * n, figures={})


def readable(info: BaseModel) -> str:
    """JSON with the innermost lists on one line, as a person would write a matrix."""
    text = json.dumps(info.model_dump(mode="json"), indent=1)
    return re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; run first: python -m quantization convert {path.parent}"
        ) from error


def _read_json(path: Path) -> Any:
    return json.loads(_read(path))
