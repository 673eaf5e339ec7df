"""``report``: what a detector's run is worth on the val scenes, as one HTML file in the run folder."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from training.faces.data import read_scenes
from training.faces.judge import ALARMS_AT, BINS, Answers, by_size, judge
from training.faces.released import read_detector
from training.faces.train import detector
from training.pages import Picture, Section, preformatted, table, write_page
from training.report import read_part


def report(run: Path, archive: Path) -> Path:
    """Write ``report/index.html`` and PNGs into the run folder; returns the HTML file.

    Raises InputError where the run lacks a file, or the scenes are missing.
    """
    history, facts, recipe = (read_part(run / name) for name in ("history.json", "run.json", "config.yaml"))
    answers = judge(detector(read_detector(run / "model.keras")), read_scenes(archive, "val"))
    score = answers.score_at(ALARMS_AT)
    rows = [
        (f"{low} to {high}" if high < BINS[-1] else f"from {low}", recall, there)
        for (low, high), recall, there in by_size(answers, score)
    ]
    recall = Picture("recall", _recall(answers), "Share of the faces found against false alarms, by the face's size.")
    sections = [
        Section(f"Found with {ALARMS_AT} false alarms in all", table(("face, px", "found", "faces"), rows)),
        Section("Recall", pictures=(recall,)),
        Section("Learning", pictures=(Picture("loss", _loss(json.loads(history)), "The loss, by epoch."),)),
        Section("The run", preformatted(facts)),
        Section("The recipe", preformatted(recipe)),
    ]
    return write_page(
        run / "report", run.name, "The float model, on the val scenes in a 320x240 frame.", sections=sections
    )


def _recall(answers: Answers) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xscale="symlog", xlabel="false alarms in all scenes", ylabel="share found", ylim=(0, 1))
    steps = np.unique(np.geomspace(1, max(2, (answers.hits < 0).sum()), 30).astype(int))
    for low, high in pairwise(BINS):
        shares = [answers.recall(answers.score_at(int(alarms)), low, high) for alarms in steps]
        axes.plot(steps, shares, label=f"{low} to {high} px" if high < BINS[-1] else f"from {low} px")
    axes.axvline(ALARMS_AT, color="grey", linestyle=":")
    axes.legend(fontsize="small")
    return figure


def _loss(history: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss")
    for name in ("loss", "score", "box", "points"):
        axes.plot([row["epoch"] for row in history], [row[name] for row in history], label=name)
    axes.legend()
    return figure
