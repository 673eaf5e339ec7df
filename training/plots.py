"""The pictures of a report; each function draws one figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.data import EMOTIONS
from training.evaluate import Judgement
from training.metrics import reliability

HEAD_COLOURS = {"fer2013": "#0072b2", "ferplus": "#d55e00"}  # apart for colour-blind eyes too (Okabe and Ito)
HEAD_NAMES = {"fer2013": "FER-2013's label", "ferplus": "FER+'s majority"}
_MISTAKES = (3, 8)


def learning_curves(history: list[dict[str, Any]], *, mixup: bool) -> Figure:
    """Training loss, and accuracy of both heads on the selection half; with mixup the loss is of blended faces."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    loss, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    loss.plot(epochs, [row["loss"] for row in history], color="black")
    loss.set(title="Training loss, with mixup" if mixup else "Training loss", xlabel="epoch")
    for head, colour in HEAD_COLOURS.items():
        rows = [row for row in history if f"selection_{head}_accuracy" in row]
        values = [100 * row[f"selection_{head}_accuracy"] for row in rows]
        right.plot([row["epoch"] for row in rows], values, color=colour, label=HEAD_NAMES[head])
    right.set(title="Averaged weights, selection half: accuracy, %", xlabel="epoch")
    right.legend()
    right.grid(alpha=0.3)
    return figure


def confusion_matrix(judgement: Judgement) -> Figure:
    """Shares of each true label in percent."""
    return _matrix(judgement.confusion(), "label", "answer", title=f"{HEAD_NAMES[judgement.head]}: % of each label")


def label_matrix(counts: NDArray[np.int64]) -> Figure:
    """Shares of each FER-2013 label in percent, by FER+'s majority."""
    return _matrix(counts, "FER-2013's label", "FER+'s majority", title="% of each label")


def share_of_voters(shares: NDArray[np.float32]) -> Figure:
    """Number of images by the share of votes for their most chosen emotion."""
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.hist(100 * shares, bins=list(range(5, 106, 10)), color="#0072b2")
    axes.set(xlabel="votes for the most chosen emotion, %", ylabel="images")
    return figure


def _matrix(counts: NDArray[np.int64], rows: str, columns: str, *, title: str) -> Figure:
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=45)
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    axes.set(xlabel=columns, ylabel=rows, title=title)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color="white" if share > 55 else "black")
    return figure


def reliability_diagram(judgements: list[Judgement]) -> Figure:
    """How often the model is right, by its confidence; the area of a dot is its share of the images."""
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for judgement in judgements:
        shares, right, sure = np.array(reliability(judgement.labels, judgement.probabilities)).T
        colour = HEAD_COLOURS[judgement.head]
        axes.plot(sure, right, color=colour, label=HEAD_NAMES[judgement.head])
        axes.scatter(sure, right, s=600 * shares, color=colour, alpha=0.5)
    axes.set(
        xlabel="confidence", ylabel="share right", title="Reliability before calibration", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    return figure


def confident_mistakes(judgement: Judgement) -> Figure:
    """The wrong answers that the model is most sure of; many are wrong labels."""
    top, sure = judgement.probabilities.argmax(1), judgement.probabilities.max(1)
    rows, columns = _MISTAKES
    wrong = np.flatnonzero(top != judgement.labels)
    worst = wrong[np.argsort(-sure[wrong])][: rows * columns]
    figure = Figure(figsize=(1.35 * columns, 1.75 * rows), layout="constrained")
    for axes in (grid := figure.subplots(rows, columns)).flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, worst, strict=False):
        axes.imshow(judgement.faces.images[i], cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{EMOTIONS[top[i]]} {100 * sure[i]:.0f} %\nlabel {EMOTIONS[judgement.labels[i]]}", fontsize=7)
    figure.suptitle(f"{HEAD_NAMES[judgement.head]}: surest mistakes", fontsize=10)
    return figure


def accuracy_by_agreement(judgements: list[Judgement]) -> Figure | None:
    """Accuracy by how far the voters agree; None without votes."""
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    edges = np.array([0, 0.4, 0.6, 0.8, 0.999])
    for offset, judgement in enumerate(judgements):
        cast = judgement.faces.votes.sum(1) + judgement.faces.other_votes.sum(1)
        if not (voted := cast > 0).any():
            return None
        group = np.digitize(judgement.faces.votes.max(1)[voted] / cast[voted], edges) - 1
        right = (judgement.probabilities.argmax(1) == judgement.labels)[voted]
        heights = [100 * right[group == g].mean() if (group == g).any() else 0 for g in range(len(edges))]
        places = np.arange(len(edges)) + 0.4 * offset
        axes.bar(places, heights, width=0.38, color=HEAD_COLOURS[judgement.head], label=HEAD_NAMES[judgement.head])
    axes.set_xticks(np.arange(len(edges)) + 0.2, ["< 40 %", "40-60 %", "60-80 %", "80-99 %", "all"])
    axes.set(xlabel="voters who chose the most chosen emotion", ylabel="accuracy, %")
    axes.legend()
    return figure
