"""The scenes of ``face_scenes.zip``: grey pictures with boxes and landmarks, without sources that may not be used."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError

Split = Literal["train", "val"]
BARRED_TERMS = "research"
"""Terms class of the sources that no shipped model may be trained on; measuring on them is research."""
_POINTS = ("re", "le", "nose", "rm", "lm")


@dataclass(frozen=True)
class Faces:
    """The faces of one picture, in its pixels."""

    boxes: NDArray[np.float32]
    """Shape (n, 4): x, y of the upper left corner, width, height."""
    points: NDArray[np.float32]
    """Shape (n, 5, 2): right eye, left eye, nose, right and left corner of the mouth; not a number where unknown."""
    ignored: NDArray[np.bool_]
    """Shape (n,): true where a detection is neither right nor wrong."""

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Scene:
    """One photograph."""

    name: str
    source: str
    image: NDArray[np.uint8]
    """Grey, shape (height, width), or BGR, shape (height, width, 3)."""
    faces: Faces


def read_scenes(archive: Path, split: Split, *, colour: bool = False) -> list[Scene]:
    """All scenes of a split, in grey or in colour; of ``train`` only those that a model to ship may be trained on.

    Raises InputError where the archive or one of its files is missing.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            return list(_scenes(files, split, colour=colour))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: cannot read the scenes: {error}") from error


def terms_of(archive: Path) -> dict[str, str]:
    """The terms class of each source."""
    with zipfile.ZipFile(archive) as files:
        return {row["source"]: row["terms_class"] for row in _rows(files, "sources.csv")}


def _scenes(files: zipfile.ZipFile, split: Split, *, colour: bool) -> Iterator[Scene]:
    barred = {row["source"] for row in _rows(files, "sources.csv") if row["terms_class"] == BARRED_TERMS}
    faces: dict[str, list[dict[str, str]]] = {}
    for row in _rows(files, "labels.csv"):
        faces.setdefault(row["image"], []).append(row)
    for row in _rows(files, "images.csv"):
        if row["split"] != split or (split == "train" and row["source"] in barred):
            continue
        content = np.frombuffer(files.read(f"images/{row['image']}"), np.uint8)
        image = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE), np.uint8)
        yield Scene(row["image"], row["source"], image, _faces(faces.get(row["image"], [])))


def _faces(rows: list[dict[str, str]]) -> Faces:
    boxes = [[float(row[name]) for name in ("x", "y", "w", "h")] for row in rows]
    points = [[[float(row[f"{p}_{axis}"] or "nan") for axis in "xy"] for p in _POINTS] for row in rows]
    return Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array([row["ignore"] == "1" for row in rows], bool),
    )


def _rows(files: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(io.TextIOWrapper(files.open(name), encoding="utf-8"))
