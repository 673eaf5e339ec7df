"""How large a face must be to be found, for each detector and ``detector.size``, in a 640x480 picture.

    python -m benchmarks.face_size [--data FOLDER] [--write]

Photographs of ``wild_faces_dev.zip`` are scaled until the face has a given width and put at a random place on a plain
picture.
Times are processor time of one thread. ``--write`` puts the table into docs/device.md.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.written import write_between
from edge_agent.config import DetectorConfig
from edge_agent.detectors import Detector, load_detector
from training.machine import describe_machine

PAGE = Path(__file__).parents[1] / "docs" / "device.md"
WIDTH, HEIGHT = 640, 480
FACE_WIDTHS = (32, 48, 64, 96, 128)
CONTESTANTS = tuple(itertools.product(("built_in", "yunet"), (320, 448, 640)))
PHOTOS = 100
SEED = 0


def main() -> None:
    """Measure every contestant on the same pictures and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    yunet = args.data / "face_detection_yunet_2023mar.onnx"
    photos = read_photos(args.data / "wild_faces_dev.zip", load(yunet, "yunet", 640))
    detectors = {contestant: load(yunet, *contestant) for contestant in CONTESTANTS}
    text = table({contestant: measure(detector, photos) for contestant, detector in detectors.items()})
    print(text)
    if args.write:
        write_between(PAGE, "face size", text)


def load(yunet: Path, kind: str, size: int) -> Detector:
    """One detector with the default configuration, except for its size."""
    return load_detector(DetectorConfig.model_validate({"kind": kind, "size": size, "path": yunet}))


def read_photos(archive: Path, detector: Detector) -> list[tuple[NDArray[np.uint8], float, tuple[float, float]]]:
    """Photographs with exactly one face: BGR picture, the face's width and its centre (x, y), in pixels."""
    found = []
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.endswith((".jpg", ".png")))
        for name in np.random.default_rng(SEED).permutation(names):
            image = cv2.imdecode(np.frombuffer(files.read(name), np.uint8), cv2.IMREAD_COLOR)
            faces = detector.detect(image)
            if len(faces) == 1:
                found.append((image, faces[0].box.width, faces[0].box.centre))
            if len(found) == PHOTOS:
                break
    return found


def measure(
    detector: Detector, photos: list[tuple[NDArray[np.uint8], float, tuple[float, float]]]
) -> tuple[list[float], float]:
    """Share of faces found for each width, and the median milliseconds of a picture."""
    rng, times, shares = np.random.default_rng(SEED), [], []
    for face_width in FACE_WIDTHS:
        hits = 0
        for image, width, centre in photos:
            picture, (x, y) = put(image, face_width / width, centre, rng=rng)
            started_s = time.process_time()
            faces = detector.detect(picture)
            times.append((time.process_time() - started_s) * 1000)
            near = (np.hypot(f.box.centre[0] - x, f.box.centre[1] - y) < face_width / 2 for f in faces)
            hits += any(near)
        shares.append(hits / len(photos))
    return shares, statistics.median(times)


def put(
    image: NDArray[np.uint8], factor: float, centre: tuple[float, float], *, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The photograph scaled by ``factor`` somewhere on grey, and where the face's centre is now."""
    scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[:HEIGHT, :WIDTH]
    height, width = scaled.shape[:2]
    left, top = int(rng.integers(0, WIDTH - width + 1)), int(rng.integers(0, HEIGHT - height + 1))
    picture = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    picture[top : top + height, left : left + width] = scaled
    return picture, (centre[0] * factor + left, centre[1] * factor + top)


def table(results: dict[tuple[str, int], tuple[list[float], float]]) -> str:
    """The Markdown of docs/device.md."""
    heads = " | ".join(f"{width} px" for width in FACE_WIDTHS)
    lines = [f"| detector | `size` | {heads} | ms |", f"|---|---:|{'---:|' * (len(FACE_WIDTHS) + 1)}"]
    for (kind, size), (shares, ms) in results.items():
        cells = " | ".join(f"{share:.0%}" for share in shares)
        lines.append(f"| {kind} | {size} | {cells} | {ms:.1f} |")
    note = f"Faces found by their width in a 640x480 picture; {PHOTOS} photographs. "
    return "\n".join([*lines, "", f"{note}`python -m benchmarks.face_size --write` on {describe_machine()}."])


if __name__ == "__main__":
    main()
