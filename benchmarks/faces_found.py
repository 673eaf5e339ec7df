"""Which faces each detector finds: in scenes, in web photos, with turned heads, and where it sees eyes and mouth.

    python -m benchmarks.faces_found [--data FOLDER] [--write]

Scenes are the val split of ``face_scenes.zip``, fitted into a 320x240 frame; a larger ``size`` shows the same faces to
more pixels. Recall is that at the score with 23 false alarms in its 669 pictures. Web photos are part B of
``wild_faces_dev.zip``. ``--write`` puts the table into docs/device.md.
"""

from __future__ import annotations

import argparse
import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.written import write_between
from edge_agent.config import DetectorConfig
from edge_agent.detectors import Detector, load_detector
from edge_agent.detectors.grids import Found
from training.faces.data import Scene, read_scenes
from training.faces.judge import ALARMS_AT, FRAME, fitted, judge, overlaps
from training.machine import describe_machine

PAGE = Path(__file__).parents[1] / "docs" / "device.md"
CONTESTANTS = (("built_in", 320), ("built_in", 448), ("yunet", 320))
JUDGED_FROM = 0.1
TURNS = (-30, 30)
"""Degrees by which a found face's picture is turned about the face."""
LEAST_TURNED_PX = 24.0
LABELS = ("anger", "happiness", "sadness", "surprise", "neutral")


@dataclass(frozen=True)
class Figures:
    """What one detector finds."""

    recall_12px: float
    recall_48px: float
    alarms: int
    """False alarms in the scenes at the score that it is shipped with..."""
    shipped_12px: float
    """...and the recall there."""
    shipped_48px: float
    turned: float
    """Share of the faces, found upright, that are found turned by 30 degrees."""
    points: float
    """Mean distance of the landmarks from the scenes' (YuNet's, at a larger size), as a share of the face's width."""
    photos_missed: int
    photos: int


def main() -> None:
    """Measure every contestant and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    scenes = read_scenes(args.data / "face_scenes.zip", "val", colour=True)
    photos = read_photos(args.data)
    results = {}
    for kind, size in CONTESTANTS:
        results[kind, size] = measure(args.data, kind, size, scenes=scenes, photos=photos)
        print(kind, size, results[kind, size], flush=True)
    text = table(results)
    print(text)
    if args.write:
        write_between(PAGE, "faces found", text)


def read_photos(data: Path) -> list[NDArray[np.uint8]]:
    """The web photos of part B with one of the five good labels, BGR."""
    with (data / "wild_faces_parts.csv").open(encoding="utf-8") as stream:
        part = {row["image"]: row["part"] for row in csv.DictReader(stream)}
    with zipfile.ZipFile(data / "wild_faces_dev.zip") as files:
        rows = csv.DictReader(files.read("labels.csv").decode().splitlines())
        names = [row["image"] for row in rows if row["emotion"] in LABELS and part.get(row["image"]) == "B"]
        contents = [np.frombuffer(files.read(f"images/{name}"), np.uint8) for name in names]
    return [np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8) for content in contents]


def measure(data: Path, kind: str, size: int, *, scenes: list[Scene], photos: list[NDArray[np.uint8]]) -> Figures:
    """All figures of one detector at one size."""
    zoom = size / FRAME[0]
    all_of_it, shipped = load(data, kind, size, min_score=JUDGED_FROM), load(data, kind, size, min_score=None)
    loose = judge(lambda image: found(all_of_it, image), scenes, zoom)
    strict = judge(lambda image: found(shipped, image), scenes, zoom)
    at = loose.score_at(ALARMS_AT)
    turned, points = look_closer(shipped, scenes, zoom)
    missed = sum(not shipped.detect(photo) for photo in photos)
    return Figures(
        loose.recall(at, 12),
        loose.recall(at, 48),
        strict.alarms(0),
        strict.recall(0, 12),
        strict.recall(0, 48),
        turned,
        points,
        missed,
        len(photos),
    )


def load(data: Path, kind: str, size: int, *, min_score: float | None) -> Detector:
    """One detector."""
    path = data / "face_detection_yunet_2023mar.onnx"
    settings = {"kind": kind, "size": size, "min_score": min_score, "path": path}
    return load_detector(DetectorConfig.model_validate(settings))


def found(detector: Detector, image: NDArray[np.uint8]) -> Found:
    """A detector's faces as arrays."""
    faces = detector.detect(image)
    boxes = [(face.box.x, face.box.y, face.box.width, face.box.height) for face in faces]
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2),
        np.array([face.score for face in faces], np.float32),
    )


def look_closer(detector: Detector, scenes: list[Scene], zoom: float) -> tuple[float, float]:
    """Share of faces found upright that are found turned, and the mean error of the landmarks of those found."""
    turned, errors = [], []
    for scene in scenes:
        image, faces = fitted(scene, zoom)
        seen = found(detector, image)
        if not len(seen.scores):
            continue
        for box, points in zip(faces.boxes[~faces.ignored], faces.points[~faces.ignored], strict=True):
            shares = overlaps(box, seen.boxes)
            if np.isnan(points).any() or box[2:].max() < LEAST_TURNED_PX * zoom or shares.max() < 0.4:
                continue
            off = np.hypot(*(seen.points[shares.argmax()] - points).T).mean()
            errors.append(float(off / box[2]))
            middle = box[:2] + box[2:] / 2
            turned += [
                _is_found_turned(detector, image, middle, side=float(box[2:].max()), degrees=degrees)
                for degrees in TURNS
            ]
    return float(np.mean(turned)), float(np.mean(errors))


def _is_found_turned(
    detector: Detector, image: NDArray[np.uint8], middle: NDArray[np.float32], *, side: float, degrees: int
) -> bool:
    """Whether the face in the middle is found when the picture is turned about it."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), degrees, 1.0)
    picture = np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    boxes = found(detector, picture).boxes
    near = np.hypot(*(boxes[:, :2] + boxes[:, 2:] / 2 - middle).T) < side / 2
    return bool((near & (boxes[:, 2:].max(axis=1, initial=0) > side / 2)).any())


def table(results: dict[tuple[str, int], Figures]) -> str:
    """The Markdown of docs/device.md."""
    lines = [
        "| detector | `size` | faces from 12 px | from 48 px | false alarms | turned by 30° | landmarks off by | "
        "web photos missed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (kind, size), f in results.items():
        lines.append(
            f"| {kind} | {size} | {f.recall_12px:.1%} | {f.recall_48px:.1%} | {f.alarms} | {f.turned:.1%} | "
            f"{f.points:.1%} | {f.photos_missed} of {f.photos} |"
        )
    note = (
        f"Sizes in a 320x240 frame. Recall in 669 scenes at {ALARMS_AT} false alarms; the column behind says how many "
        "there are at the detector's own score. Landmarks: share of the face's width."
    )
    return "\n".join([*lines, "", note, f"`python -m benchmarks.faces_found --write` on {describe_machine()}."])


if __name__ == "__main__":
    main()
