"""``report``: one HTML file that needs nothing else, and its pictures as PNGs, in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from edge_agent.errors import InputError
from training import plots
from training.data import EMOTIONS, Source
from training.evaluate import Judgement, judge
from training.metrics import per_class
from training.pages import Picture, Section, preformatted, table, write_page
from training.plots import HEAD_NAMES


def report(run: Path, source: Source, split: str) -> Path:
    """Write ``report/index.html`` and PNGs into the run folder; returns the HTML file.

    A report shows images of the data set (the mistakes the model is most sure of), so it stays where the data may be.
    Raises InputError where
    the run lacks a file, or the data images of that split.
    """
    history, facts, recipe = (read_part(run / name) for name in ("history.json", "run.json", "config.yaml"))
    judgements = judge(run, source, split)
    sections = [
        Section("Figures", _figures(judgements)),
        _learning(json.loads(history), yaml.safe_load(recipe)),
        *(_head(judgement) for judgement in judgements),
        _certainty(judgements),
        Section("The run", preformatted(facts)),
        Section("The recipe", preformatted(recipe)),
    ]
    return write_page(run / "report", run.name, f"The float model, asked about {split}.", sections=sections)


def read_part(path: Path) -> str:
    """The text of a file of the run's folder; raises InputError where it is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a run's folder must be as `fit` left it") from error


def _figures(judgements: list[Judgement]) -> str:
    rows = [(HEAD_NAMES[j.head], *j.figures().values(), len(j.labels)) for j in judgements]
    return table(("against", "accuracy", "macro-F1", "calibration error, not calibrated yet", "images"), rows)


def _learning(history: list[dict[str, Any]], recipe: dict[str, Any]) -> Section:
    figure = plots.learning_curves(history, mixup=recipe["mixup_alpha"] > 0)
    caption = "The loss on Training, and how often the averaged weights are right on the selection half, by epoch."
    return Section("Learning", pictures=(Picture("learning_curves", figure, caption),))


def _head(judgement: Judgement) -> Section:
    name = HEAD_NAMES[judgement.head]
    figures, there = per_class(judgement.confusion()), judgement.confusion().sum(1)
    rows = [
        (emotion, *(float(figures[each][i]) for each in ("precision", "recall", "f1")), int(there[i]))
        for i, emotion in enumerate(EMOTIONS)
    ]
    confusion = plots.confusion_matrix(judgement)
    mistakes = plots.confident_mistakes(judgement)
    pictures = (
        Picture(f"confusion_{judgement.head}", confusion, f"Where the images of each label went, {name}."),
        Picture(f"mistakes_{judgement.head}", mistakes, "The wrong answers it is surest of; many are wrong labels."),
    )
    return Section(f"Against {name}", table(("emotion", "precision", "recall", "F1", "images"), rows), pictures)


def _certainty(judgements: list[Judgement]) -> Section:
    pictures = [
        Picture(
            "reliability",
            plots.reliability_diagram(judgements),
            "How often it is right when it is so sure; on the line is right. Export calibrates it.",
        )
    ]
    if (by_agreement := plots.accuracy_by_agreement(judgements)) is not None:
        caption = "How often it is right where FER+'s voters agree little and much."
        pictures.append(Picture("accuracy_by_agreement", by_agreement, caption))
    return Section("Certainty", pictures=tuple(pictures))
