"""``fit``: one run of the detector, from a recipe and the scenes to a run folder, resumable after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml
from numpy.typing import NDArray

from edge_agent.detectors.grids import Found
from edge_agent.errors import InputError
from training import checkpoint
from training.averaging import averaged
from training.faces.batches import Batch, batches, make_batch, steps_of
from training.faces.data import Scene, read_scenes, terms_of
from training.faces.decode import decode
from training.faces.judge import ALARMS_AT, FRAME, SIZES, Answers, judge
from training.faces.losses import flat, loss
from training.faces.model import build, multiply_adds
from training.faces.recipe import Recipe
from training.faces.released import read_detector
from training.files import write_atomically

log = logging.getLogger(__name__)

PADDED = (256, 320)
"""Height and width that the network sees a 320x240 frame in: sides are multiples of 32."""
JUDGED_FROM = 0.05
"""Least score of what is judged; the curve of recall over false alarms begins there."""
_CHANGEABLE = {"epochs", "cooldown", "judge_every"}
"""What may change when a run goes on: the rate is constant until the cool-down, so a run can be made longer."""
_LARGEST_GRADIENT = 5.0

Step = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
"""One batch: pictures and targets in, the parts of the loss out."""


def fit(recipe: Recipe, archive: Path, run: Path, *, begin_with: Path | None = None) -> None:
    """Train, or go on where the run folder's checkpoint ends; the best averaged model is ``model.keras``.

    ``begin_with`` names a ``model.keras`` or ``weights.npz`` that a new run starts with.

    Raises InputError where the folder holds a run of another recipe, or the data is bad.
    """
    run.mkdir(parents=True, exist_ok=True)
    _same_recipe(run / "config.yaml", recipe)
    keras.utils.set_random_seed(recipe.seed)
    model, kept = _compiled(recipe), build(recipe.network)
    state = run / "checkpoint.npz"
    if begin_with is not None and not state.is_file():
        model.set_weights(read_detector(begin_with).get_weights())
    history = checkpoint.restore(state, model) if state.is_file() else []
    _describe(run, recipe, archive, kept=kept, begin_with=begin_with)
    scenes = read_scenes(archive, "val")
    typical = _typical(archive, recipe)
    step = _stepper(model, recipe)
    stream = batches(archive, recipe, len(history))
    for epoch in range(len(history), recipe.epochs):
        row = _epoch(step, model, islice(stream, steps_of(recipe)), epoch=epoch, recipe=recipe)
        last = epoch + 1 == recipe.epochs
        if last or (epoch + 1) % recipe.judge_every == 0:
            with averaged(model, typical.astype(np.float32)):
                kept.set_weights(model.get_weights())
            row |= figures(judge(detector(kept), scenes))
            _keep(run, kept, row, history=history, last=last)
        history.append(row)
        checkpoint.save(state, model, history)
        write_atomically(run / "history.json", json.dumps(history, indent=1).encode())
        log.info("%s", "  ".join(f"{key} {value}" for key, value in row.items()))


def figures(answers: Answers) -> dict[str, float]:
    """Recall by size at the number of false alarms that all is stated at."""
    score = answers.score_at(ALARMS_AT)
    recalls = {f"recall_{size:.0f}px": round(answers.recall(score, size), 4) for size in SIZES}
    return recalls | {"threshold": round(score, 4)}


def detector(model: keras.Model) -> Callable[[NDArray[np.uint8]], Found]:
    """A float model as something that finds faces in grey pictures up to the frame's size."""
    call = tf.function(lambda images: model(images, training=False))

    def detect(image: NDArray[np.uint8]) -> Found:
        padded = np.zeros((1, *PADDED, 1), np.float32)
        padded[0, : image.shape[0], : image.shape[1], 0] = image
        maps = {name: value.numpy()[0] for name, value in call(padded).items()}
        return decode(maps, JUDGED_FROM)

    return detect


def rate_at(step: int, recipe: Recipe) -> float:
    """The learning rate: up, constant, then straight down to 0."""
    steps = recipe.epochs * steps_of(recipe)
    rising = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    falling = min(1.0, (steps - step) / max(1.0, recipe.cooldown * steps))
    return recipe.learning_rate * min(rising, falling)


def _compiled(recipe: Recipe) -> keras.Model:
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        model = build(recipe.network)
    finally:
        keras.config.set_dtype_policy(outside)
    optimizer = keras.optimizers.AdamW(
        recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        global_clipnorm=_LARGEST_GRADIENT,
        use_ema=True,
        ema_momentum=recipe.ema_decay,
    )
    # Scales and shifts have nothing to gain from being small.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    return model


def _stepper(model: keras.Model, recipe: Recipe) -> Step:
    def step(images: tf.Tensor, wanted: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            parts = loss(flat(model(tf.cast(images, tf.float32), training=True)), wanted, recipe)
        gradients = tape.gradient(parts["loss"], model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return parts

    compiled: Step = tf.function(step)
    return compiled


def _epoch(
    step: Step,
    model: keras.Model,
    made: Iterator[Batch],
    *,
    epoch: int,
    recipe: Recipe,
) -> dict[str, Any]:
    began, number = time.monotonic(), 0
    sums: dict[str, float] = {}
    for number, (images, wanted) in enumerate(made, start=1):
        model.optimizer.learning_rate.assign(rate_at(epoch * steps_of(recipe) + number - 1, recipe))
        parts = step(tf.constant(images), tf.constant(wanted))
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in parts.items()}
    means = {name: round(total / number, 5) for name, total in sums.items()}
    if not np.isfinite(means["loss"]):
        raise InputError(f"epoch {epoch + 1}: the loss is no number; begin again with a lower learning_rate")
    return {"epoch": epoch + 1, "seconds": round(time.monotonic() - began, 1), **means}


def _typical(archive: Path, recipe: Recipe) -> NDArray[np.uint8]:
    """Training pictures (n, side, side) that the statistics of averaged weights are measured on."""
    some = read_scenes(archive, "train")[::4]
    rng = np.random.default_rng(recipe.seed)
    return np.concatenate([make_batch(some, recipe, rng)[0][..., 0] for _ in range(16)])


def _keep(run: Path, kept: keras.Model, row: dict[str, Any], *, history: list[dict[str, Any]], last: bool) -> None:
    """Save the averaged model as ``last.keras``, and as ``model.keras`` where it is the best so far."""
    temporary = run / "new.keras"
    kept.save(temporary)
    if _worth(row) >= max((_worth(old) for old in history), default=0.0):
        write_atomically(run / "model.keras", temporary.read_bytes())
    temporary.replace(run / "last.keras")


def _worth(row: dict[str, Any]) -> float:
    return sum(float(row.get(f"recall_{size:.0f}px", 0.0)) for size in SIZES)


def _same_recipe(path: Path, recipe: Recipe) -> None:
    """Write the recipe into the folder, having checked that it is the one there but for what may change."""
    if path.is_file():
        there = Recipe.model_validate(yaml.safe_load(path.read_text()))
        if there.model_dump(exclude=_CHANGEABLE) != recipe.model_dump(exclude=_CHANGEABLE):
            raise InputError(f"{path}: this run folder was begun with another recipe; name another one with --run")
    write_atomically(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode())


def _describe(run: Path, recipe: Recipe, archive: Path, *, kept: keras.Model, begin_with: Path | None) -> None:
    """Write ``run.json``, what somebody needs to know to make the run again; a resumed run must have the same data."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    path = run / "run.json"
    if path.is_file():
        if json.loads(path.read_text())["data_sha256"] != digest:
            raise InputError(f"{path}: this run was begun with other data; give the same, or another folder as --run")
        return
    used = _used(read_scenes(archive, "train"), terms_of(archive))
    facts = {
        "recipe": recipe.name,
        "data_sha256": digest,
        "scenes_by_terms": used,
        "begun_with": None if begin_with is None else hashlib.sha256(begin_with.read_bytes()).hexdigest(),
        "parameters": int(kept.count_params()),
        "multiply_adds_320x256": multiply_adds(build(recipe.network, *PADDED)),
        "frame": list(FRAME),
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_atomically(path, json.dumps(facts, indent=1).encode())


def _used(scenes: list[Scene], terms: dict[str, str]) -> dict[str, dict[str, int]]:
    """Number of training scenes of each source, by terms class."""
    counts: dict[str, dict[str, int]] = {}
    for scene in scenes:
        of_class = counts.setdefault(terms[scene.source], {})
        of_class[scene.source] = of_class.get(scene.source, 0) + 1
    return counts
