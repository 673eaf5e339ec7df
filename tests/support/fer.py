"""FER-2013 itself, and small data sets in its shape, made of patterns that a network can learn in seconds."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.faces import SHARED, shared
from training.data import EMOTIONS, PRIVATE, PUBLIC, TRAINING, Faces, find_source, load

VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
_VOTE_ORDER = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")


@functools.cache
def read_fer2013() -> Faces:
    """The real data, read once a process; skips the test by name where it is not there."""
    return load(find_source(shared(SHARED / "data" / "fer2013.csv.gz")))


def pattern(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A grey image (48, 48) whose stripes tell the label, with noise."""
    y, x = np.indices((48, 48))
    wave = np.sin((x * (label % 3) + y * (label // 3 + 1)) / 4.0)
    return np.clip(128 + 80 * wave + rng.normal(0, 20, (48, 48)), 0, 255).astype(np.uint8)


def write_csv(folder: Path, training: int = 70, public: int = 28, private: int = 0) -> Path:
    """``fer2013.csv`` and ``fer2013new.csv`` with this many images of each split; returns the folder."""
    rng = np.random.default_rng(0)
    rows, votes = ["emotion,pixels,Usage"], [VOTES_HEADER]
    for split, count in ((TRAINING, training), (PUBLIC, public), (PRIVATE, private)):
        for i in range(count):
            label = i % len(EMOTIONS)
            rows.append(csv_row(label, pattern(label, rng), split))
            votes.append(votes_row(label, split))
    (folder / "fer2013.csv").write_text("\n".join(rows) + "\n")
    (folder / "fer2013new.csv").write_text("\n".join(votes) + "\n")
    return folder


def csv_row(label: int, image: NDArray[np.uint8], split: str) -> str:
    return f"{label},{' '.join(map(str, image.ravel().tolist()))},{split}"


def votes_row(label: int, split: str, no_face: int = 0) -> str:
    """Eight votes for the label, two for neutral, and as many as asked for 'this is no face'."""
    counts = dict.fromkeys(_VOTE_ORDER, 0)
    counts["neutral"] += 2
    counts[EMOTIONS[label]] += 8
    return f"{split},some.png,{','.join(str(counts[e]) for e in _VOTE_ORDER)},0,0,{no_face}"
