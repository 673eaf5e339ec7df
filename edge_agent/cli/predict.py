"""Emotions of the faces in given pictures: ``edge-agent predict`` and the page's ``/predict``.

Nothing is kept. These answers are about single pictures that their owner chose; ``privacy.min_people`` is for cameras.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.cameras.picture_files import pictures_in, read_picture, shown
from edge_agent.config import Config
from edge_agent.errors import InputError
from edge_agent.vision.reading import Prediction, Reader

LEAST_SCALE = 0.4
"""Of OpenCV's font, about 9 pixels high: smaller letters cannot be read."""


def predict_files(paths: Sequence[Path], config: Config, *, as_json: bool, annotate_dir: Path | None) -> int:
    """Read each file and write a line for it. A bad one gives a line on standard error, and the others are still read.

    Returns:
        The exit code: 0, or that of :class:`InputError` if a picture could not be read, or its copy could not be
        written.

    Raises:
        InputError: no copies can be written to ``annotate_dir``; then nothing is read.
    """
    if annotate_dir is not None:
        _make_folder(annotate_dir)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever the locale, a name ends nothing
    reader = Reader(config)
    bad = number = 0
    for given in paths:
        try:
            for path in pictures_in(given) if given.is_dir() else [given]:
                bad += not _predict(reader, path, as_json=as_json, annotate_dir=annotate_dir, number=number)
                number += 1
        except InputError as error:
            print(error, file=sys.stderr)
            bad += 1
    return InputError.exit_code if bad else 0


def _predict(reader: Reader, path: Path, *, as_json: bool, annotate_dir: Path | None, number: int) -> bool:
    """Read one picture and write a line for it; False if it could not be read, or its copy not be written."""
    try:
        image = read_picture(path)
        prediction = reader.read(image, str(path))
        print(json.dumps(prediction.as_dict()) if as_json else _in_words(prediction), flush=True)
        if annotate_dir is not None:
            _write(_annotated(image, prediction), annotate_dir / f"{number:05d}-{path.stem}.jpg")
    except InputError as error:
        print(error, file=sys.stderr)
        return False
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--annotate {folder}: cannot make this folder: {error.strerror}; name another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--annotate {folder}: this folder may not be written to; name another")


def _in_words(prediction: Prediction) -> str:
    name = shown(Path(prediction.image))
    if prediction.percentages is None:
        return f"{name}: no face found ({prediction.detector})"
    shares = sorted(prediction.percentages.items(), key=lambda item: -item[1])
    faces = len(prediction.faces)
    return f"{name}: {faces} face{'s'[: faces != 1]}: " + ", ".join(f"{k} {v} %" for k, v in shares)


def _annotated(image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
    """A copy of the picture with a box and the likeliest emotion at every face, labels apart where there is room."""
    import cv2

    drawn: NDArray[np.uint8] = image.copy()
    taken: list[tuple[int, int, int, int]] = []
    for item in sorted(prediction.faces, key=lambda each: -each.face.box.width):
        box = item.face.box
        left, top, right, bottom = (round(v) for v in (box.x, box.y, box.x + box.width, box.y + box.height))
        line = max(1, round(box.width / 60))
        cv2.rectangle(drawn, (left, top), (right, bottom), (60, 200, 60), line)
        emotion, share = max(item.probabilities.items(), key=lambda pair: pair[1])
        text = f"{emotion} {share:.0%}"
        scale = max(LEAST_SCALE, box.width / cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0])
        stroke = max(1, round(1.5 * scale))
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        size = width + 2 * stroke, height + below + 2 * stroke
        x, y = _room(size, (left, top, right, bottom), drawn.shape[1::-1], taken=taken)
        taken.append((x, y, *size))
        cv2.rectangle(drawn, (x, y), (x + size[0], y + size[1]), (0, 0, 0), cv2.FILLED)
        start = x + stroke, y + stroke + height
        cv2.putText(drawn, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), stroke, cv2.LINE_AA)
    return drawn


def _room(
    size: tuple[int, int],
    face: tuple[int, int, int, int],
    picture: tuple[int, ...],
    *,
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int]:
    """Upper left corner of a label of ``size`` (width, height): above or below the face, else in its box.

    Args:
        face: left, top, right and bottom of its box.
        picture: width and height.
        taken: labels so far, each left, top, width and height.
    """
    (width, height), (left, top, right, bottom) = size, face
    centre = (left + right - width) // 2
    wanted = [(centre, top - height), (centre, bottom), (centre, bottom - height), (centre, top)]
    inside = [
        (min(max(0, x), max(0, picture[0] - width)), min(max(0, y), max(0, picture[1] - height))) for x, y in wanted
    ]
    free = [
        (x, y)
        for (x, y), (_, wanted_y) in zip(inside, wanted, strict=True)
        if y == wanted_y and not any(_meet((x, y, width, height), other) for other in taken)
    ]
    return free[0] if free else inside[-1]


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _write(image: NDArray[np.uint8], target: Path) -> None:
    import cv2

    good, data = cv2.imencode(".jpg", image)
    if not good:
        raise InputError(f"{shown(target)}: cannot encode the annotated copy; a JPEG's sides are at most 65,500 pixels")
    try:
        target.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{shown(target)}: cannot write the annotated picture: {error.strerror}") from error
