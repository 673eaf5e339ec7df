"""``tune``: one worker of a search. Any number of them, on any machines, share a study through its storage.

Every trial is a run folder as ``fit`` makes it. A worker that dies leaves its trial in the storage, where its beat
stops; after that another worker, or the same command again, takes the trial up, from its checkpoint if that is there.
"""

from __future__ import annotations

import logging
import math
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import TrialState
from pydantic import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from edge_agent.errors import ConfigError, InputError
from training.data import Source, divide, load
from training.recipe import Recipe, faults_of
from training.train import fit, score
from training.tuning.page import best_trial, write_search
from training.tuning.space import Parameter, Space, Value, changed, readable

log = logging.getLogger(__name__)

_TRIALS = 20
_BEAT_S, _LOST_S = 10, 60
"""A worker says this often that it lives, and is taken for dead after so much silence."""
_TAKEN_UP = 3
"""A trial that ends its worker each time, for want of memory for example, is not tried more often."""
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_OPENED = 5
"""Workers that start together all make the tables; all but one are told that they exist already."""


@dataclass(frozen=True)
class Search:
    """What every worker of a study must agree on, and where this one keeps its files."""

    space: Space
    recipe: Recipe
    source: Source
    folder: Path
    """Of the trials' run folders and of the page."""
    teachers: tuple[Path, ...] = ()
    begin_with: Path | None = None

    def facts(self) -> dict[str, Any]:
        """What the trials of one study have in common; files and runs by name."""
        return {
            "space": self.space.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "data_sha256": self.source.hashes(),
            "teachers": [teacher.name for teacher in self.teachers],
            "begun_with": self.begin_with and self.begin_with.name,
        }


def tune(search: Search, trials: int | None = None, storage: str | None = None) -> Path:
    """Work on the study until it has this many finished trials, those of other workers and earlier days included.

    ``trials`` is all of a grid, which has no more, and else 20, if it is not given.
    ``storage`` is a URL as SQLAlchemy has them; None is SQLite in the search's folder. Writes ``index.html`` and
    ``best.yaml``, again after every trial, and returns the former. Raises InputError where the storage cannot be used,
    or holds a study of another space, recipe or data under this name.
    """
    search.folder.mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{search.folder / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats, since 2021
        try:
            study = _study(search, url)
            _work(study, search, _wanted(search.space, trials))
            best = _stated(study, search)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise InputError(f"{_shown(url)}: the storage failed: {_reason(error)}; then try the same again") from error
        return write_search(study, search.space, search.recipe, folder=search.folder, stated=best)


def _wanted(space: Space, trials: int | None) -> int:
    if space.sampler != "grid":
        return _TRIALS if trials is None else trials
    size = math.prod(len(values) for values in space.grid().values())
    return size if trials is None else min(trials, size)


def _study(search: Search, url: str) -> optuna.Study:
    space = search.space
    study = optuna.create_study(
        storage=_opened(url),
        study_name=space.name,
        direction="maximize" if space.maximised else "minimize",
        sampler=_sampler(space),
        pruner=_pruner(space, search.recipe.epochs),
        load_if_exists=True,
    )
    facts = search.facts()
    there = study.user_attrs.get("facts")
    if there is None:
        study.set_user_attr("facts", facts)
    elif differing := [key for key, value in facts.items() if there.get(key) != value]:
        raise InputError(
            f"{_shown(url)}: its study {space.name} was begun with another {', '.join(differing)}; "
            "give the space another name, or the study what it had"
        )
    return study


def _opened(url: str) -> RDBStorage:
    for attempt in range(_OPENED):
        try:
            return RDBStorage(
                _address(url).render_as_string(hide_password=False),
                # Seconds that a worker waits while another one writes.
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {},
                heartbeat_interval=_BEAT_S,
                grace_period=_LOST_S,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=_TAKEN_UP),
            )
        except SQLAlchemyError as error:
            if "already exists" not in str(error) or attempt == _OPENED - 1:
                raise
            time.sleep(0.2)
        except ImportError as error:
            raise error.__cause__ or error from None  # the package that is missing, by its name
    raise AssertionError


def _address(url: str) -> URL:
    """With the driver that the extra brings."""
    try:
        address = make_url(url)
    except ArgumentError:
        raise InputError(f"--storage {url}: is no address such as sqlite:///search.db") from None
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"--storage {_shown(url)}: searches are kept in sqlite:///FILE or postgresql://USER@HOST/NAME")
    return address if address.get_backend_name() == "sqlite" else address.set(drivername="postgresql+psycopg")


def _shown(url: str) -> str:
    return str(make_url(url).render_as_string(hide_password=True))


def _sampler(space: Space) -> optuna.samplers.BaseSampler:
    """Without a seed: workers with one seed would all try the same."""
    match space.sampler:
        case "grid":
            return optuna.samplers.GridSampler(space.grid(), seed=0)
        case "random":
            return optuna.samplers.RandomSampler()
        case "tpe":
            return optuna.samplers.TPESampler()


def _pruner(space: Space, epochs: int) -> optuna.pruners.BasePruner:
    match space.pruner:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 4)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
        case "none":
            return optuna.pruners.NopPruner()


def _work(study: optuna.Study, search: Search, trials: int) -> None:
    waiting = False
    while True:
        fail_stale_trials(study)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        finished = sum(state in _FINISHED for state in states)
        if finished >= trials:
            return
        if finished + states.count(TrialState.RUNNING) < trials:
            log.info("%s: %d of %d trials are finished", study.study_name, finished, trials)
            _next_trial(study, search)
            write_search(study, search.space, search.recipe, folder=search.folder)
            waiting = False
            continue
        if not waiting:
            log.info("waiting for the last trials of other workers; one that is silent for %d s is lost", _LOST_S)
            waiting = True
        time.sleep(_BEAT_S)


def _next_trial(study: optuna.Study, search: Search) -> None:
    taken: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        taken.append(trial.number)
        return _fitted(trial, search)

    try:
        study.optimize(objective, n_trials=1)
    except ValueError as error:
        if "Cannot tell a" not in str(error):
            raise
        log.warning("trial %d: another worker took it up, as this one was silent for %d s", taken[0], _LOST_S)
    except KeyboardInterrupt:
        for number in taken:  # so that the next worker takes it up at once
            RetryHeartbeatStaleTrialCallback()(study, study.get_trials()[number])
        raise


def _fitted(trial: optuna.Trial, search: Search) -> float:
    """The objective after the last epoch; raises TrialPruned where it is not worth going on, or NaN."""
    space = search.space
    values = {key: parameter.value(_suggested(trial, key, parameter)) for key, parameter in space.parameters.items()}
    try:
        recipe = changed(search.recipe, values)
    except ValidationError as error:
        raise ConfigError(f"trial {trial.number}: together {values} are no recipe: {faults_of(error)}") from error
    # What is taken up keeps its first number's folder.
    name = trial.user_attrs.get("folder") or f"trial-{trial.number:04d}"
    trial.set_user_attr("folder", name)
    trial.set_user_attr("machine", platform.node())
    log.info("%s: %s", name, "  ".join(f"{key} {readable(kept)}" for key, kept in trial.params.items()))
    last = math.nan

    def after_epoch(row: dict[str, Any]) -> None:
        nonlocal last
        if f"selection_{space.objective}" not in row:
            raise InputError(f"{search.source.faces}: has no FER+ votes; choose an objective that begins with fer2013")
        last = row[f"selection_{space.objective}"]
        if not (math.isfinite(last) and math.isfinite(row["loss"])):
            raise optuna.TrialPruned("its loss is no number any more")
        trial.report(last, row["epoch"])
        if row["epoch"] < recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned(f"worse than most after {row['epoch']} epochs")

    keras.backend.clear_session()
    try:
        fit(
            recipe,
            search.source,
            search.folder / name,
            teachers=list(search.teachers),
            begin_with=search.begin_with,
            after_epoch=after_epoch,
        )
    except optuna.TrialPruned as reason:
        log.info("%s: pruned, %s", name, reason)
        raise
    return last


def _suggested(trial: optuna.Trial, key: str, parameter: Parameter) -> Value:
    low, high, step = parameter.low, parameter.high, parameter.step
    kept: Value
    if low is None or high is None:
        kept = trial.suggest_categorical(key, parameter.grid())
    elif parameter.whole:
        kept = trial.suggest_int(key, low, high, step=step or 1, log=parameter.log)
    else:
        kept = trial.suggest_float(key, low, high, step=step, log=parameter.log)
    return kept


def _stated(study: optuna.Study, search: Search) -> dict[str, float] | None:
    """Scores of the best trial on the half of PublicTest that chose nothing; None where its model is not here."""
    best = best_trial(study)
    model = None if best is None else search.folder / best.user_attrs["folder"] / "model.keras"
    if model is None or not model.is_file():
        return None
    scores = score(keras.saving.load_model(model, compile=False), divide(load(search.source)).calibration)
    return {key.removeprefix("selection_"): value for key, value in scores.items()}


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).strip().splitlines()[0]
