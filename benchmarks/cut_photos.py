"""Cut the faces out of one part of the web photos, as a device would, for ``training fit --photos``.

Into FOLDER/train/EMOTION and, of every fourth person, FOLDER/val/EMOTION: to choose on. Only the five emotions whose
labels are good; photos without a face are left out.

    python -m benchmarks.cut_photos --data ../shared/data --part A1 --to runs/photos
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2

from benchmarks.crop_margin import read_photos
from edge_agent.config import DetectorConfig
from edge_agent.detectors.yunet import YunetDetector
from edge_agent.vision.crop import crop_face
from training.data import SIDE

HELD_OUT = 4


def main() -> None:
    """Cut, write, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--part", choices=("A1",), default="A1", help="the part that models may learn from")
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    with (options.data / "wild_faces_parts.csv").open(encoding="utf-8", newline="") as rows:
        part = {row["image"] for row in csv.DictReader(rows) if row["part"] == options.part}
    yunet = DetectorConfig(kind="yunet", path=options.data / "face_detection_yunet_2023mar.onnx")
    photos = [p for p in read_photos(options.data / "wild_faces_dev.zip", yunet, part) if p.face]
    people = sorted({photo.person for photo in photos})
    held_out = set(people[::HELD_OUT])
    for number, photo in enumerate(photos):
        folder = options.to / ("val" if photo.person in held_out else "train") / photo.label
        folder.mkdir(parents=True, exist_ok=True)
        crop = crop_face(photo.image, photo.face, YunetDetector.framing, size=(SIDE, SIDE))
        cv2.imwrite(str(folder / f"{number:04d}.png"), crop)
    chosen = sum(photo.person in held_out for photo in photos)
    print(f"{options.to}: {len(photos) - chosen} faces to learn from, {chosen} of other people to choose on")


if __name__ == "__main__":
    main()
