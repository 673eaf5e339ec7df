"""``fit``: one run, from a recipe and the data to a run folder, resumable after a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml
from tqdm import tqdm

from edge_agent.errors import InputError
from training import backbones, checkpoint
from training.averaging import average, averaged, seen_in_training
from training.batches import Batches
from training.data import EMOTIONS, HEADS, TRAINING, Division, Faces, Source, divide, load, load_split, with_photos
from training.files import write_atomically
from training.losses import distilled, soft_cross_entropy
from training.metrics import accuracy, confusion, cross_entropy
from training.model import build, multiply_adds
from training.recipe import Backbone, Recipe, load_recipe
from training.released import read_weights
from training.teachers import teach
from training.twin import twin_of

log = logging.getLogger(__name__)
_FILES = (".tflite", ".npz")
"""What can be the start or the teacher of a run, besides a finished run's folder."""
AfterEpoch = Callable[[dict[str, Any]], None]
_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "opencv-python-headless")


def fit(
    recipe: Recipe,
    source: Source,
    run: Path,
    *,
    teachers: list[Path],
    begin_with: Path | None = None,
    photos: Source | None = None,
    after_epoch: AfterEpoch | None = None,
) -> keras.Model:
    """Train, or continue from the run folder's checkpoint; returns the averaged model, saved as ``model.keras``.

    ``begin_with`` names a finished run, an int8 .tflite file or released weights, which a new run starts with instead
    of random ones. ``teachers`` are such, too. ``photos`` is a second data set to learn from as well. Without
    ``begin_with`` a recipe's frozen stage is a run before this one, in the folder ``frozen`` inside its own.

    ``after_epoch`` gets each epoch's row of ``history.json``, those of a run that goes on too; what it raises ends the
    training, and the checkpoint stays.

    Raises InputError where the folder holds a run of another recipe, other data or other teachers, or the data is bad.
    """
    if recipe.frozen_stage is not None and begin_with is None:
        begin_with = run / "frozen"
        fit(recipe.of_frozen_stage(), source, begin_with, teachers=teachers, photos=photos)
    run.mkdir(parents=True, exist_ok=True)
    state = run / "checkpoint.npz"
    _same_recipe(run, recipe, checkpoint.epochs_done(state))
    division = divide(load(source))
    more = None if photos is None else load_split(photos, TRAINING)
    counts = _counts(division, more)
    if more is not None:
        division = replace(division, training=with_photos(division.training, more, recipe.photos_repeated))
    keras.utils.set_random_seed(recipe.seed)
    model = _compiled(recipe, steps=len(division.training) // recipe.batch_size, taught=bool(teachers))
    start = begin_with or (backbones.pretrained(recipe.network) if isinstance(recipe.network, Backbone) else None)
    if isinstance(start, backbones.Pretrained):
        backbones.load(start, model)
    elif start is not None and not state.is_file():
        _copy_weights(start, recipe, division.training, model=model)
    history = checkpoint.restore(state, model) if state.is_file() else []
    _describe(run, recipe, (source, photos), counts=counts, model=model, teachers=teachers, start=start)
    soft = teach(teachers, division.training, recipe.distillation.temperature, cache=run) if teachers else None
    log.info("%s: epoch %d of %d, %d training images", run, len(history) + 1, recipe.epochs, len(division.training))
    tell = after_epoch or (lambda row: None)
    for row in history:
        tell(row)
    if len(history) < recipe.epochs:
        model.fit(
            Batches(division.training, recipe, soft, first_epoch=len(history)),
            initial_epoch=len(history),
            epochs=recipe.epochs,
            shuffle=False,  # Batches shuffles
            verbose=0,
            callbacks=[
                _EndOfEpoch(division, run, history, recipe=recipe, tell=tell),
                _tensorboard(run),
                _Progress(recipe.epochs),
            ],
        )
    return keras.saving.load_model(run / "model.keras", compile=False)


def average_with(start: Path, run: Path, share: float, *, source: Source, to: Path) -> dict[str, float]:
    """A new run folder: ``share`` of a finished run's weights and the rest of those that it began with.

    Returns the scores on the selection half, which is where to choose the share. Raises InputError where ``start`` is
    another network, or ``to`` holds a run already.
    """
    if (to / "run.json").is_file():
        raise InputError(f"{to}: holds a run already; name another folder with --to")
    recipe = load_recipe(run / "config.yaml")
    division = divide(load(source))
    first, second = build(recipe.network), build(recipe.network)
    _copy_weights(start, recipe, division.training, model=first)
    _copy_weights(run, recipe, division.training, model=second)
    model = average(first, second, share, images=seen_in_training(division.training.images, recipe.augmentation))
    scores = score(model, division.selection)
    to.mkdir(parents=True, exist_ok=True)
    model.save(to / "model.keras")
    for name in ("config.yaml", "run.json", "history.json"):
        write_atomically(to / name, (run / name).read_bytes())
    _note(to / "run.json", f"its weights count {share:g}, those of {_named(start)} {1 - share:g}")
    return scores


def _compiled(recipe: Recipe, steps: int, *, taught: bool) -> keras.Model:
    model = build(recipe.network, recipe.precision)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 100,
        warmup_target=recipe.learning_rate,
        warmup_steps=round(steps * recipe.epochs * recipe.warmup),
        decay_steps=round(steps * recipe.epochs * (1 - recipe.warmup)),
    )
    optimizer = keras.optimizers.SGD(
        rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        use_ema=True,
        # An average that reaches back to the random start says little, so it covers at most a third of the run.
        ema_momentum=min(recipe.ema_decay, 1 - 3 / max(steps * recipe.epochs, 6)),
    )
    # Scales and shifts do not gain from being small.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    loss = distilled(recipe.distillation) if taught else soft_cross_entropy
    model.compile(optimizer, loss=dict.fromkeys(HEADS, loss), loss_weights=recipe.head_weights)
    return model


def _copy_weights(start: Path, recipe: Recipe, training: Faces, *, model: keras.Model) -> None:
    if start.suffix == ".tflite":
        model.set_weights(twin_of(start, training.images, recipe.network).get_weights())
        return
    path = start if start.suffix == ".npz" else start / "model.keras"
    if not path.is_file():
        raise InputError(f"{path}: no model to begin with")
    there = read_weights(path)[0] if start.suffix == ".npz" else keras.saving.load_model(path, compile=False)
    weights = there.get_weights()
    if [w.shape for w in weights] != [w.shape for w in model.get_weights()]:
        raise InputError(f"{path}: is another network than the recipe's")
    model.set_weights(weights)


class _EndOfEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Score the averaged weights on the selection half, then write history, model and checkpoint."""

    def __init__(
        self, division: Division, run: Path, history: list[dict[str, Any]], *, recipe: Recipe, tell: AfterEpoch
    ) -> None:
        super().__init__()
        self._division, self._run, self._history, self._tell = division, run, history, tell
        self._kept = build(recipe.network)
        """The float32 twin that is scored and saved, whatever precision the training has."""
        self._seen = seen_in_training(division.training.images, recipe.augmentation)
        self._began = datetime.now(timezone.utc)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = datetime.now(timezone.utc)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        with averaged(self.model, self._seen):
            self._kept.set_weights(self.model.get_weights())
        logs.update(score(self._kept, self._division.selection))
        temporary = self._run / "model.new.keras"
        self._kept.save(temporary)
        temporary.replace(self._run / "model.keras")
        seconds = (datetime.now(timezone.utc) - self._began).total_seconds()
        row = {"epoch": epoch + 1, "seconds": round(seconds, 1)} | {k: round(float(v), 5) for k, v in logs.items()}
        self._history.append(row)
        checkpoint.save(self._run / "checkpoint.npz", self.model, self._history)
        write_atomically(self._run / "history.json", json.dumps(self._history, indent=1).encode())
        log.info("%s", "  ".join(f"{key} {value}" for key, value in row.items()))
        self._tell(row)


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar over all epochs with the time left."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not hasattr(self, "_bar"):
            steps = self.params["steps"]
            total, done = self._epochs * steps, epoch * steps
            self._bar = tqdm(total=total, initial=done, unit="step", mininterval=2, smoothing=0.02)
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.update()
        self._bar.set_postfix(loss=f"{(logs or {}).get('loss', float('nan')):.3f}", refresh=False)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()


def score(model: keras.Model, faces: Faces) -> dict[str, float]:
    """Accuracy and cross-entropy of each head against its own labels; rows without votes are left out of FER+."""
    logits = model.predict(faces.images[..., None].astype(np.float32), batch_size=256, verbose=0)
    result: dict[str, float] = {}
    for head, labels in faces.labels_by_head().items():
        if not (known := labels >= 0).any():
            continue
        counts = confusion(labels[known], logits[head][known].argmax(1), len(EMOTIONS))
        result[f"selection_{head}_accuracy"] = accuracy(counts)
        result[f"selection_{head}_entropy"] = cross_entropy(labels[known], logits[head][known])
    return result


def _tensorboard(run: Path) -> keras.callbacks.Callback:
    return keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False, update_freq="epoch")


def _same_recipe(run: Path, recipe: Recipe, done: int) -> None:
    """Write the recipe into the folder, or check that it is the one there, but for the number of epochs.

    With more epochs, or fewer, a run goes on where it is; ``run.json`` then says when the rate's course changed.
    """
    path = run / "config.yaml"
    if path.is_file():
        there = Recipe.model_validate(yaml.safe_load(path.read_text()))
        if there.model_copy(update={"epochs": recipe.epochs}) != recipe:
            raise InputError(f"{path}: this run folder was begun with another recipe; name another one with --run")
        if there.epochs == recipe.epochs:
            return
        if done > recipe.epochs:
            raise InputError(f"{run}: has {done} epochs already, more than {recipe.epochs}")
        if done:
            _note(run / "run.json", f"the learning rate fell as in a run of {there.epochs} epochs until epoch {done}")
    write_atomically(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode())


def _note(path: Path, remark: str) -> None:
    facts = json.loads(path.read_text())
    facts["note"] = "; ".join(part for part in (facts.get("note"), remark) if part)
    write_atomically(path, json.dumps(facts, indent=1).encode())


def _counts(division: Division, photos: Faces | None) -> dict[str, Any]:
    images = {part: len(getattr(division, part)) for part in ("training", "selection", "calibration")}
    if photos is not None:
        images["photos"] = len(photos)
    return {"images": images, "dropped_from_training": division.dropped}


def _describe(
    run: Path,
    recipe: Recipe,
    sources: tuple[Source, Source | None],
    *,
    counts: dict[str, Any],
    model: keras.Model,
    teachers: list[Path],
    start: Path | backbones.Pretrained | None,
) -> None:
    """Write ``run.json``, with all that is needed to make the run again, or check that it belongs to this run."""
    facts = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "hyperparameters": recipe.model_dump(mode="json", exclude={"name", "seed", "epochs"}),
        "data_sha256": sources[0].hashes(),
        "photos_sha256": None if sources[1] is None else sources[1].hashes(),
        **counts,
        "teachers": [_named(teacher) for teacher in teachers],
        "begun_with": None if start is None else _description(start),
        "parameters": int(model.count_params()),
        "multiply_adds": multiply_adds(model),
        "versions": {"python": platform.python_version(), "keras_backend": keras.backend.backend(), **_versions()},
        "machine": f"{platform.machine()}, {platform.system()}",
        "git_commit": _git("rev-parse", "HEAD") or None,
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    path = run / "run.json"
    if path.is_file():
        _same_sources(path, facts)
    else:
        write_atomically(path, json.dumps(facts, indent=1).encode())


def _named(teacher: Path) -> str:
    """A run by its folder; a file, which others may have under another path, by its name and hash."""
    if teacher.suffix not in _FILES:
        return str(teacher)
    return f"{teacher.name} {hashlib.sha256(_content(teacher)).hexdigest()}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the model: {error.strerror}") from error


def _description(start: Path | backbones.Pretrained) -> dict[str, Any]:
    if isinstance(start, backbones.Pretrained):
        return {"file": start.name, "sha256": start.sha256}
    if start.suffix in _FILES:
        return {"file": start.name, "sha256": hashlib.sha256(_content(start)).hexdigest()}
    path = start / "run.json"
    if not path.is_file():
        raise InputError(f"{path}: is missing; the folder of --from must be as `fit` left it")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def _same_sources(path: Path, facts: dict[str, Any]) -> None:
    """A run continues with what it was begun with: other targets half-way would make ``run.json`` untrue."""
    there = json.loads(path.read_text())
    for key, what in (
        ("data_sha256", "other data"),
        ("photos_sha256", "other --photos"),
        ("teachers", "other teachers"),
        ("begun_with", "other weights (--from, or of the backbone)"),
    ):
        if there.get(key) != facts[key]:
            named = f" ({', '.join(there[key]) or 'none'})" if key == "teachers" else ""
            raise InputError(
                f"{path}: this run was begun with {what}{named}; give the same, or another folder as --run"
            )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """The state of the checkout that this code runs from, by git; empty without one."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
