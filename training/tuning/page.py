"""What a search found: a page with its history and what mattered, and the best recipe as YAML."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from training.files import write_atomically
from training.pages import Picture, Section, preformatted, table, write_page
from training.plots import HEAD_NAMES
from training.recipe import Recipe
from training.tuning.space import Space, changed, readable

BEST = "best.yaml"
_RANKED = 20
_WEIGHED = 4
"""Importance is worked out from this many complete trials on: the best quarter against the rest."""
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"  # apart for colour-blind eyes too (Okabe and Ito)


def write_search(
    study: optuna.Study, space: Space, recipe: Recipe, *, folder: Path, stated: dict[str, float] | None = None
) -> Path:
    """Write ``index.html``, its PNGs and, with a complete trial, ``best.yaml`` into ``folder``; returns the page.

    ``stated`` has the best trial's scores on faces that chose nothing.
    """
    trials = study.get_trials(deepcopy=False)
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    lead = (
        f"{counts[TrialState.COMPLETE]} trials of {recipe.epochs} epochs are complete, {counts[TrialState.PRUNED]} "
        f"were pruned, {counts[TrialState.RUNNING]} are being worked on. Every trial is the recipe {space.recipe} "
        f"with other values of {len(space.parameters)} parameters."
    )
    best = best_trial(study)
    sections = [Section("The best recipe", "<p>No trial is complete yet.</p>")]
    if best is not None:
        chosen = recipe_of(best, space, recipe)
        write_atomically(folder / BEST, _best_yaml(best, space, chosen, complete=counts[TrialState.COMPLETE]))
        sections = [Section("The best recipe", _best(best, space, folder, stated=stated))]
    if any(trial.intermediate_values for trial in trials):
        sections.append(_history(trials, space, best))
        sections.append(_parameters(study, trials, space))
        sections.append(Section("The trials", _ranked(trials, space)))
    sections.append(Section("The space", preformatted(_yaml(space.model_dump(mode="json", exclude_defaults=True)))))
    return write_page(folder, f"Search: {space.name}", lead, sections=sections)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the best objective; None without one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return study.best_trial if complete else None


def recipe_of(trial: FrozenTrial, space: Space, recipe: Recipe) -> Recipe:
    """The recipe that a trial was."""
    return changed(recipe, {key: space.parameters[key].value(kept) for key, kept in trial.params.items()})


def _best_yaml(best: FrozenTrial, space: Space, recipe: Recipe, *, complete: int) -> bytes:
    said = (
        f"# Trial {best.number} of the search {space.name}, the best of {complete} complete ones.\n"
        f"# {space.objective} on the selection half: {best.value:.4f}. On the faces that chose it, the best of many\n"
        "# looks better than it is: state it on others.\n"
    )
    return (said + _yaml(recipe.model_dump(mode="json"))).encode()


def _best(best: FrozenTrial, space: Space, folder: Path, *, stated: dict[str, float] | None) -> str:
    rows = [(key, readable(best.params[key])) for key in space.parameters]
    told = (
        f"<p>Trial {best.number}: {_named(space)} <strong>{best.value:.4f}</strong> on the selection half. "
        "These faces chose it among all trials, so it looks a little better there than it is.</p>"
    )
    if stated is not None:
        figures = ", ".join(f"{key.replace('_', ' ')} {value:.4f}" for key, value in sorted(stated.items()))
        told += f"<p>On the other half of PublicTest, which chose nothing: {figures}.</p>"
    command = f"python -m training fit {folder / BEST} --epochs N --run runs/{space.name}-best"
    return told + table(("parameter", "value"), rows) + "<p>To train it for longer:</p>" + preformatted(command)


def _history(trials: list[FrozenTrial], space: Space, best: FrozenTrial | None) -> Section:
    return Section(
        "History",
        pictures=(
            Picture("history", _course(trials, space), "Every trial's last value; the line is the best one so far."),
            Picture(
                "curves",
                _curves(trials, space, best),
                "Epoch by epoch. Where a grey line ends early, the trial was pruned.",
            ),
        ),
    )


def _parameters(study: optuna.Study, trials: list[FrozenTrial], space: Space) -> Section:
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pictures = [
        Picture(
            "parameters",
            _slices(trials, space),
            "The last value by each parameter. Filled: complete; hollow: pruned, so after fewer epochs.",
        )
    ]
    several = len(space.parameters) > 1
    differ = len({trial.value for trial in complete}) > 1
    if several and differ and len(complete) >= _WEIGHED:
        caption = (
            f"PED-ANOVA over {len(complete)} complete trials (Watanabe et al. 2023): how differently the best quarter "
            "and all trials chose. Below some thirty trials it is a hint."
        )
        pictures.insert(0, Picture("importance", _importance(study), caption))
        return Section("What mattered", pictures=tuple(pictures))
    why = f"<p>Importance needs {_WEIGHED} complete trials that differ, and two parameters.</p>"
    return Section("What mattered", why, tuple(pictures))


def _course(trials: list[FrozenTrial], space: Space) -> Figure:
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    better = max if space.maximised else min
    best, steps = None, []
    for state, face in ((TrialState.COMPLETE, _BLUE), (TrialState.PRUNED, "none")):
        shown = [(t.number, last) for t in trials if t.state is state and (last := _last(t)) is not None]
        if not shown:
            continue
        edge = _GREY if face == "none" else face
        numbers, values = [number for number, _ in shown], [value for _, value in shown]
        axes.scatter(numbers, values, s=28, facecolors=face, edgecolors=edge, label=_STATES[state], zorder=3)
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            best = trial.value if best is None else better(best, trial.value)
            steps.append((trial.number, best))
    if steps:
        axes.step(*zip(*steps, strict=True), where="post", color=_ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel=_named(space))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _curves(trials: list[FrozenTrial], space: Space, best: FrozenTrial | None) -> Figure:
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for trial in trials:
        points = sorted(trial.intermediate_values.items())
        epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
        colour = _BLUE if trial.state is TrialState.COMPLETE else _GREY
        axes.plot(epochs, values, color=colour, linewidth=1, marker=".", markersize=4, alpha=0.6)
        if best is not None and trial.number == best.number:
            axes.plot(epochs, values, color=_ORANGE, linewidth=2.2, zorder=3, label=f"best: trial {trial.number}")
    axes.set(xlabel="epoch", ylabel=_named(space))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if best is not None:
        axes.legend()
    return figure


def _importance(study: optuna.Study) -> Figure:
    shares = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    )
    figure = Figure(figsize=(5.4, 0.9 + 0.45 * len(shares)), layout="constrained")
    axes = figure.subplots()
    names = list(shares)[::-1]
    bars = axes.barh(names, [100 * shares[name] for name in names], color=_BLUE)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set(xlabel="importance, % of all parameters")
    axes.margins(x=0.12)
    return figure


def _slices(trials: list[FrozenTrial], space: Space) -> Figure:
    columns = min(2, len(space.parameters))
    rows = math.ceil(len(space.parameters) / columns)
    figure = Figure(figsize=(2.7 * columns, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(space.parameters) :]:
        axes.axis("off")
    for axes, (key, parameter) in zip(grid.flat, space.parameters.items(), strict=False):
        grouped = parameter.choices is not None
        names = [readable(value) for value in parameter.grid() or []] if grouped else []
        for trial in trials:
            last = _last(trial)
            if last is None or key not in trial.params or trial.state is TrialState.FAIL:
                continue
            kept = trial.params[key]
            complete = trial.state is TrialState.COMPLETE
            axes.scatter(
                names.index(readable(kept)) if grouped else kept, last, s=24,
                facecolors=_BLUE if complete else "none", edgecolors=_BLUE if complete else _GREY,
            )  # fmt: skip
        if grouped:
            axes.set_xticks(range(len(names)), names, fontsize=7)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif parameter.log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        if parameter.low is not None and parameter.high is not None:
            axes.set_xlim(parameter.low, parameter.high)
        axes.set_xlabel(key, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for line in grid:
        line[0].set_ylabel(_named(space), fontsize=8)
    return figure


def _ranked(trials: list[FrozenTrial], space: Space) -> str:
    def rank(trial: FrozenTrial) -> tuple[bool, float]:
        last = _last(trial)
        worth = math.inf if last is None else -last if space.maximised else last
        return trial.state is not TrialState.COMPLETE, worth

    shown = sorted((trial for trial in trials if trial.state is not TrialState.WAITING), key=rank)[:_RANKED]
    rows = [
        (
            trial.number,
            "" if (last := _last(trial)) is None else f"{last:.4f}",
            len(trial.intermediate_values),
            _STATES[trial.state],
            "" if trial.duration is None else f"{trial.duration.total_seconds() / 60:.1f}",
            *(readable(trial.params.get(key)) for key in space.parameters),
        )
        for trial in shown
    ]
    header = ("trial", _named(space), "epochs", "state", "minutes", *space.parameters)
    more = f"<p>The best {_RANKED} of {len(trials)}.</p>" if len(trials) > _RANKED else ""
    return f'<div class="wide">{table(header, rows)}</div>{more}'


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "lost",
    TrialState.RUNNING: "at work",
    TrialState.WAITING: "waiting",
}


def _last(trial: FrozenTrial) -> float | None:
    values = trial.intermediate_values
    return values[max(values)] if values else None


def _named(space: Space) -> str:
    head, _, measure = space.objective.partition("_")
    return f"{'accuracy' if measure == 'accuracy' else 'cross-entropy'}, {HEAD_NAMES[head]}"


def _yaml(plain: dict[str, object]) -> str:
    text: str = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=120)
    return text
