"""What is published in doubtful situations, how far off it is, and how often its intervals hold.

Faces are part B of the web photos, which has chosen nothing, 48 pixels wide. Each is spoilt, found by the detector,
judged by the gate, cut, turned and read as on a device. Groups of people are drawn from them and go through the real
window. Photographs and sitters are simulated and judged as they would be over time.

    python -m benchmarks.doubt --data ../shared/data --write      # the table of docs/shares.md
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.shares import SEED
from benchmarks.written import write_between
from edge_agent.config import DetectorConfig, FacesConfig, PrivacyConfig, WindowConfig
from edge_agent.detectors import Detector, load_detector
from edge_agent.shares.window import Window
from edge_agent.types import Box, EmotionScores, Face, TrackedFace
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face, square
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import LEAST_ODDS
from edge_agent.vision.quality import gate
from edge_agent.vision.stillness import Life, Stillness
from edge_agent.vision.upright import upright_odds
from tests.support.clocks import StandingClock
from tests.support.scenes import PHOTOGRAPH, SITTING, Sensor, Sitter, film
from training.machine import describe_machine
from training.perturb import PERTURBATIONS

Image = NDArray[np.uint8]
SIDE = 48
"""Width of a face, in pixels of the picture."""
PEOPLE = (10, 30, 100)
MIXES = ("ordinary", "any")
WINDOWS = 500
POSTERS = 3
"""Photographs on the wall, in the row with posters."""
LIVES = 120
"""Faces that are simulated as photographs and as sitters; the rest share their verdicts."""
ORDINARY, STOPPED = Sensor(), Sensor(noise=0.0, flicker=0.0)
"""A camera in lamp light, and a stream that repeats one frame."""
FIGURES = Path("docs/figures/doubt.json")
PAGE = Path("docs/shares.md")


@dataclass(frozen=True)
class Photo:
    """One labelled photo, in which a face was found."""

    image: Image
    """BGR, so large that the classifier's square is 48 pixels wide."""
    label: int
    centre: tuple[float, float]


@dataclass(frozen=True)
class Sighting:
    """What the device makes of one person in one situation."""

    label: int
    reason: str | None
    """Why the face was left out; ``missed`` where it was not found."""
    posterior: NDArray[np.float32]
    weight: float
    odds: float | None = None
    """Of being upright, in logarithms, where that was looked at."""


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    cv2.setNumThreads(1)
    classifier = Classifier(load_model(options.model))
    path = options.yunet if options.detector == "yunet" else None
    detector = load_detector(DetectorConfig(kind=options.detector, path=path))
    photos = list(read(options.data, options.part, detector, labels=classifier.labels))
    sitters, posters = lives(photos, SITTING), lives(photos, PHOTOGRAPH)
    rows = []
    for name, spoil in tqdm(list(situations()), disable=None):
        faces = [look(photo, spoil, detector, classifier=classifier) for photo in photos]
        rows.append(
            {
                "situation": name,
                "read": round(float(np.mean([face.reason is None for face in faces])), 3),
                "right": right(faces),
                "groups": [
                    measure(
                        faces,
                        people,
                        mix,
                        classifier=classifier,
                        windows=options.windows,
                        sitters=sitters,
                        posters=posters * (name == "posters"),
                    )
                    for people in PEOPLE
                    for mix in MIXES
                ],
            }
        )
        print(line(rows[-1]), flush=True)
    frozen = lives(photos[:20], PHOTOGRAPH, STOPPED)
    upright = [look(photo, lambda image: image, detector, classifier=classifier) for photo in photos]
    rows.append(
        {
            "situation": "frozen",
            "read": rows[0]["read"],
            "right": rows[0]["right"],
            "groups": [
                measure(
                    upright, people, mix, classifier=classifier, windows=options.windows, sitters=frozen, posters=[]
                )
                for people in PEOPLE
                for mix in MIXES
            ],
        }
    )
    result = {
        "measured": {
            "command": "python -m benchmarks.doubt",
            "machine": describe_machine(),
            "runtime": classifier.runtime_name,
            "model": f"{classifier.model.info.name} {classifier.model.info.sha256[:12]}",
            "labels": classifier.head_name,
            "detector": detector.kind,
            "photos": len(photos),
            "part": options.part,
            "windows": options.windows,
            "limits": FacesConfig().model_dump(),
            "sitters_alive": round(float(np.mean(sitters)), 3),
            "posters_alive": round(float(np.mean(posters)), 3),
        },
        "rows": rows,
    }
    text = table(result)
    print(text)
    if options.write:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "doubt", text)


def situations() -> Iterator[tuple[str, Callable[[Image], Image]]]:
    """(name, what is done to a BGR picture)."""
    yield "upright", lambda image: image
    for angle in (15, 30, 90, 180):
        yield f"tilted {angle} degrees", lambda image, angle=angle: turned(image, angle)
    for name, kind in (
        ("dark, light x0.3", "brightness x0.3"),
        ("bright, light x2.2", "brightness x2.2"),
        ("noise 5", "noise 5"),
        ("noise 10", "noise 10"),
        ("noise 20", "noise 20"),
        ("blur 1.2 px", "blur 1.2 px"),
        ("JPEG 20", "JPEG 20"),
    ):
        yield name, lambda image, kind=kind: spoilt(image, kind)
    yield "posters", lambda image: image


def turned(image: Image, angle_deg: float) -> Image:
    """Around its middle, in a larger picture."""
    height, width = image.shape[:2]
    side = math.ceil(math.hypot(height, width))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


_RNG = np.random.default_rng(SEED)


def spoilt(image: Image, name: str) -> Image:
    """As ``training.perturb`` spoils grey pictures, in grey: noise of 10 is noise of 10 for the classifier."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[None]
    changed = PERTURBATIONS[name](np.asarray(grey, np.uint8), _RNG)[0]
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_GRAY2BGR), np.uint8)


def read(data: Path, part: str, detector: Detector, *, labels: tuple[str, ...]) -> Iterator[Photo]:
    """The photos of one part with one of the five good labels, shrunk around the largest face."""
    names = {"anger": "angry", "happiness": "happy", "sadness": "sad", "surprise": "surprise", "neutral": "neutral"}
    with (data / "wild_faces_parts.csv").open(encoding="utf-8") as file:
        parts = {row["image"]: row["part"] for row in csv.DictReader(file)}
    with zipfile.ZipFile(data / "wild_faces_dev.zip") as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), encoding="utf-8")))
        for row in rows:
            if parts[row["image"]] not in part.split("+") or row["emotion"] not in names:
                continue
            pixels = np.frombuffer(archive.read(f"images/{row['image']}"), np.uint8)
            image = np.asarray(cv2.imdecode(pixels, cv2.IMREAD_COLOR), np.uint8)
            face = max(detector.detect(image), key=lambda f: f.box.width * f.box.height, default=None)
            if face is None:
                continue
            scale = SIDE / square(face.box, detector.framing)[2]
            x, y = face.box.centre
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield Photo(np.asarray(small, np.uint8), labels.index(names[row["emotion"]]), (x * scale, y * scale))


def look(photo: Photo, spoil: Callable[[Image], Image], detector: Detector, *, classifier: Classifier) -> Sighting:
    """Everything that the device does with one picture of one person."""
    image, nothing = spoil(photo.image), np.zeros(len(classifier.labels), np.float32)
    face = max(found(image, detector), key=lambda f: f.box.width * f.box.height, default=None)
    if face is None:
        return Sighting(photo.label, "missed", nothing, 0.0)
    quality = gate(image, face, FacesConfig())
    crop = crop_face(image, face, detector.framing, size=classifier.input_size)
    odds = LEAST_ODDS if quality.reason == "tilted" else upright_odds(crop) if quality.reason is None else None
    reason = quality.reason or ("tilted" if odds is not None and odds < LEAST_ODDS else None)
    posterior = classifier.classify(crop[None]).probabilities[0] if reason is None else nothing
    return Sighting(photo.label, reason, posterior, quality.weight, odds)


def found(image: Image, detector: Detector) -> list[Face]:
    """The faces in a picture that is shown to the detector twice as large: in one so small it finds few that lean."""
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    return [
        Face(
            Box(face.box.x / 2, face.box.y / 2, face.box.width / 2, face.box.height / 2),
            face.score,
            None if face.landmarks is None else tuple((x / 2, y / 2) for x, y in face.landmarks),
        )
        for face in detector.detect(np.asarray(large, np.uint8))
    ]


def right(faces: list[Sighting]) -> float | None:
    """How often the top label is right, of those that are read."""
    read_ones = [face.posterior.argmax() == face.label for face in faces if face.reason is None]
    return round(float(np.mean(read_ones)), 3) if read_ones else None


def lives(photos: list[Photo], sitter: Sitter, sensor: Sensor = ORDINARY) -> list[bool]:
    """Whether each of some faces is alive after 14 seconds before the camera."""
    verdicts = []
    for seed, photo in enumerate(photos[:LIVES]):
        x, y = photo.centre
        box = Box(x - SIDE / 2, y - SIDE / 2, SIDE, SIDE)
        stillness, life = Stillness(FacesConfig().still_s), Life.UNKNOWN
        for at_s, image in film(photo.image, sitter, sensor, face=box, size_px=SIDE, seconds=14.0, fps=2.5, seed=seed):
            shown = TrackedFace(Face(Box(SIDE, SIDE, SIDE, SIDE), 0.9), 1, 1)
            (life,) = stillness.judge(image, [shown], at_s)
        verdicts.append(life is Life.ALIVE)
    return verdicts


def measure(
    faces: list[Sighting],
    people: int,
    mix: str,
    *,
    classifier: Classifier,
    windows: int,
    sitters: list[bool],
    posters: list[bool],
) -> dict[str, Any]:
    """Windows of this many people: how many are published, their error in points, and how often intervals hold."""
    rng = np.random.default_rng([SEED, people, MIXES.index(mix)])
    labels = np.array([face.label for face in faces])
    kinds, classes = np.unique(labels), len(classifier.labels)
    usual = np.array(classifier.head.prior)[kinds] / np.array(classifier.head.prior)[kinds].sum()
    window = Window(
        WindowConfig(rolling_s=0.0),
        PrivacyConfig(min_people=3),
        classifier.head.share_estimator(classifier.labels),
        clock=StandingClock(datetime(2026, 1, 1, tzinfo=timezone.utc)),
    )
    window.restart(0.0)
    errors, held, widths, published = [], [], [], 0
    for number in range(windows):
        shares = usual if mix == "ordinary" else rng.dirichlet(np.ones(len(kinds)))
        drawn = [faces[rng.choice(np.flatnonzero(labels == k))] for k in rng.choice(kinds, people, p=shares)]
        alive = list(rng.choice(sitters, people))
        if posters:
            drawn += [faces[i] for i in rng.integers(0, len(faces), POSTERS)]
            alive += list(rng.choice(posters, POSTERS))
        counted = _see(window, drawn, alive, labels=classifier.labels)
        report = window.close(10.0 * (number + 1))
        if report.shares is None:
            continue
        published += 1
        truth = 100 * np.bincount([face.label for face in counted], minlength=classes) / len(counted)
        best = np.array(list(report.shares.percentages.values()))
        low, high = np.array(list(report.shares.intervals.values())).T
        errors.append(np.abs(best - truth).mean())
        held.append(((low - 0.05 <= truth) & (truth <= high + 0.05)).mean())
        widths.append((high - low).mean())
    some = bool(errors)
    return {
        "people": people,
        "mix": mix,
        "published": round(published / windows, 3),
        "error_points": round(float(np.mean(errors)), 2) if some else None,
        "coverage": round(float(np.mean(held)), 3) if some else None,
        "width_points": round(float(np.mean(widths)), 1) if some else None,
    }


def _see(window: Window, drawn: list[Sighting], alive: list[bool], *, labels: tuple[str, ...]) -> list[Sighting]:
    """Show one frame with these people; those who were read and are alive come back."""
    window.count_frame(0.0)
    kept = [(track, face, lives) for track, (face, lives) in enumerate(zip(drawn, alive, strict=True))]
    for track, face, lives in kept:
        if not lives:
            window.gate("still", track)
            continue
        if face.reason not in (None, "missed"):
            window.gate(face.reason, track)
        if face.odds is not None:
            window.lean(track, face.odds)
    read_ones = [(track, face) for track, face, lives in kept if lives and face.reason is None]
    if read_ones:
        window.add(
            [TrackedFace(Face(Box(0, 0, SIDE, SIDE), 0.9), track, track) for track, _ in read_ones],
            EmotionScores(labels, np.stack([face.posterior for _, face in read_ones])),
            np.array([face.weight for _, face in read_ones]),
            alive=np.ones(len(read_ones), bool),
        )
    return [face for _, face in read_ones]


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    cells = []
    for group in row["groups"]:
        if group["coverage"] is None:
            cells.append("none published")
        else:
            cells.append(
                f"{100 * group['published']:.0f} %, {group['error_points']:.1f}, {100 * group['coverage']:.0f} %, "
                f"{group['width_points']:.0f}"
            )
    right_ones = "-" if row["right"] is None else f"{100 * row['right']:.0f} %"
    return f"| {row['situation']} | {100 * row['read']:.0f} % | {right_ones} | " + " | ".join(cells) + " |"


def table(result: dict[str, Any]) -> str:
    """All rows as Markdown."""
    facts = result["measured"]
    heads = [f"{people} people, {mix} mix" for people in PEOPLE for mix in MIXES]
    lines = [
        "| situation | faces read | of these right | " + " | ".join(heads) + " |",
        "|---" * (3 + len(heads)) + "|",
        *(line(row) for row in result["rows"]),
        "",
        "A cell has the windows that are published, the error of a share in points, how often 90 % intervals hold, and "
        "their width in points.",
        f"{facts['windows']} windows a cell, {facts['photos']} photos of part {facts['part']}, faces {SIDE} px wide, "
        f"detector {facts['detector']}. {100 * facts['sitters_alive']:.0f} % of simulated sitters are taken for alive, "
        f"{100 * facts['posters_alive']:.0f} % of photographs. Measured on {facts['machine']}, {facts['runtime']}, "
        f"model {facts['model']}, head {facts['labels']}.",
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path("../shared/data")
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--detector", default=DetectorConfig().kind)
    parser.add_argument("--yunet", type=Path, default=shared / "face_detection_yunet_2023mar.onnx")
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--part", default="B", help="B only states; A1+A2 is for choosing")
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
