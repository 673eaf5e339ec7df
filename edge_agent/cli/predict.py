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


def predict_files(paths: Sequence[Path], config: Config, as_json: bool, annotate_dir: Path | None) -> int:
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
                bad += not _predict(reader, path, as_json, annotate_dir, number)
                number += 1
        except InputError as error:
            print(error, file=sys.stderr)
            bad += 1
    return InputError.exit_code if bad else 0


def _predict(reader: Reader, path: Path, as_json: bool, annotate_dir: Path | None, number: int) -> bool:
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
    """A copy of the picture with a box and the two likeliest emotions at every face."""
    import cv2

    drawn: NDArray[np.uint8] = image.copy()
    line = max(1, round(max(drawn.shape[:2]) / 400))
    for item in prediction.faces:
        box = item.face.box
        left, top = round(box.x), round(box.y)
        cv2.rectangle(drawn, (left, top), (round(box.x + box.width), round(box.y + box.height)), (60, 200, 60), line)
        best = sorted(item.probabilities.items(), key=lambda pair: -pair[1])[:2]
        for row, (label, p) in enumerate(reversed(best)):
            at = left, max(14 * line, top - 6 - row * 16 * line)
            for colour, width in ((0, 0, 0), 3 * line), ((255, 255, 255), line):
                cv2.putText(drawn, f"{label} {p:.0%}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * line, colour, width)
    return drawn


def _write(image: NDArray[np.uint8], target: Path) -> None:
    import cv2

    good, data = cv2.imencode(".jpg", image)
    if not good:
        raise InputError(f"{shown(target)}: cannot encode the annotated copy; a JPEG's sides are at most 65,500 pixels")
    try:
        target.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{shown(target)}: cannot write the annotated picture: {error.strerror}") from error
