"""The web photos as a camera delivers them: found by YuNet, cut as the device cuts them, with their labels and parts.

A1 may train models, A2 gives doubt and a site's calibration, B only states. All photos of one person are in one part.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.config import DetectorConfig
from edge_agent.detectors import load_detector
from edge_agent.vision.crop import crop_face
from training.data import EMOTIONS, SIDE

NAMES = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
WELL_LABELLED = tuple(EMOTIONS.index(emotion) for emotion in ("angry", "happy", "sad", "surprise", "neutral"))
"""Disgust and fear are labelled wrong too often, or too rarely at all."""


@dataclass(frozen=True)
class Crops:
    """Faces of one part."""

    images: NDArray[np.uint8]
    """Grey, shape (n, 48, 48)."""
    labels: NDArray[np.int64]
    """Index into EMOTIONS, shape (n,)."""
    people: NDArray[np.int64]
    """Whose face each is, by the photo's name, shape (n,)."""


def read(data: Path, part: str, emotions: tuple[int, ...] = WELL_LABELLED) -> Crops:
    """The largest face of each photo of ``part`` with one of the emotions; photos without a face are left out."""
    images, labels, people = zip(*_faces(data, part, emotions), strict=True)
    return Crops(np.stack(images), np.array(labels), np.unique(people, return_inverse=True)[1])


def _faces(data: Path, part: str, emotions: tuple[int, ...]) -> Iterator[tuple[NDArray[np.uint8], int, str]]:
    detector = load_detector(DetectorConfig(kind="yunet", path=data / "face_detection_yunet_2023mar.onnx"))
    with (data / "wild_faces_parts.csv").open(encoding="utf-8") as file:
        parts = {row["image"]: row["part"] for row in csv.DictReader(file)}
    with zipfile.ZipFile(data / "wild_faces_dev.zip") as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), encoding="utf-8")))
        for row in tqdm([r for r in rows if parts[r["image"]] == part], desc=f"part {part}", leave=False, disable=None):
            label = EMOTIONS.index(NAMES.get(row["emotion"], row["emotion"]))
            if label not in emotions:
                continue
            pixels = np.frombuffer(archive.read(f"images/{row['image']}"), np.uint8)
            image = np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR), np.uint8)
            face = max(detector.detect(image), key=lambda f: f.box.width * f.box.height, default=None)
            if face is not None:
                yield (
                    crop_face(image, face, detector.framing, size=(SIDE, SIDE))[:, :, 0],
                    label,
                    re.sub(r"_\d+\.\w+$", "", row["image"]),
                )
