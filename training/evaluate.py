"""``evaluate``: a run's float model on one split of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edge_agent.errors import InputError
from training.data import EMOTIONS, Faces, Source, load_split
from training.metrics import Labels, Scores, accuracy, calibration_error, confusion, macro_f1, softmax


@dataclass(frozen=True)
class Judgement:
    """Answers of one head to the images that have its label."""

    head: str
    faces: Faces
    """The images."""
    labels: Labels
    """The right answers, shape (n,)."""
    probabilities: Scores
    """Not calibrated: that is done for the int8 model. Shape (n, 7)."""

    def confusion(self) -> Labels:
        """Counts (7, 7): row the true label, column the answer."""
        return confusion(self.labels, self.probabilities.argmax(1), len(EMOTIONS))

    def figures(self) -> dict[str, float]:
        """Accuracy, macro-F1 and calibration error."""
        counts = self.confusion()
        return {
            "accuracy": accuracy(counts),
            "macro_f1": macro_f1(counts),
            "calibration_error_uncalibrated": calibration_error(self.labels, self.probabilities),
        }


def judge(run: Path, source: Source, split: str) -> list[Judgement]:
    """Ask a run's model about a split, head by head.

    Raises InputError where the run has no model, or the data none of that split.
    """
    path = run / "model.keras"
    if not path.is_file():
        raise InputError(f"{path}: no model; run: python -m training fit")
    faces = load_split(source, split)
    model = keras.saving.load_model(path, compile=False)
    logits = model.predict(faces.images[..., None].astype(np.float32), batch_size=256, verbose=0)
    judgements = []
    for head, labels in faces.labels_by_head().items():
        if (known := labels >= 0).any():
            judgements.append(Judgement(head, faces[known], labels[known], softmax(logits[head][known])))
    return judgements


def describe(run: Path, source: Source, split: str) -> str:
    """The figures as lines of text."""
    lines = [f"{run}, {split}, float"]
    for judgement in judge(run, source, split):
        shown = "  ".join(f"{name} {value:.4f}" for name, value in judgement.figures().items())
        lines.append(f"  {judgement.head:8} {len(judgement.labels)} images  {shown}")
    return "\n".join(lines)
