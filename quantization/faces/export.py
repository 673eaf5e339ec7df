"""``export``: measure a run's int8 file on the val scenes, and ship it with its .json."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig
from edge_agent.detectors.built_in import BuiltInDetector
from edge_agent.detectors.built_in_file import Crop, DetectorFile, DetectorInfo, SelfTest
from edge_agent.detectors.grids import Found
from edge_agent.errors import InputError
from edge_agent.host.runtime import RuntimeChoice
from edge_agent.vision.model import load_model
from quantization.convert import FACTS, INT8, WEIGHTS
from quantization.export import measured_with, readable
from training.faces.data import Scene, read_scenes
from training.faces.judge import ALARMS_AT, Answers, by_size, judge
from training.faces.targets import STRIDES
from training.files import write_atomically

log = logging.getLogger(__name__)

RUNTIMES: tuple[RuntimeChoice, ...] = ("litert", "tflite")
SEEN_AT = (320, 448, 640)
"""Longer sides that recall is stated for."""
CHOSEN_AT = DetectorConfig().size
"""The one that the least score is chosen at: what devices use."""
JUDGED_FROM = 0.1
MULTIPLE_OF = max(STRIDES)
SELF_TEST_SIDE, SELF_TEST_FACE = 96, 56
TOLERANCE_PX, TOLERANCE_SCORE = 2.0, 0.1
"""ARM and x86-64 differ by a step or two of int8, and a runtime's next release may round otherwise."""


def export(run: Path, to: Path, archive: Path, *, crop: Crop, weights: Path) -> DetectorInfo:
    """Write ``to`` (.tflite) and the .json beside it; the float weights go into the folder ``weights``.

    The least score is the one with 23 false alarms in the val scenes. Raises InputError where ``convert`` has not been
    run, MissingPackageError where a runtime is missing: the self-test needs the answers of both.
    """
    content = _read(run / INT8)
    info = _undescribed(run, to, content, crop=crop)
    scenes = read_scenes(archive, "val")
    answers = {size: evaluate(DetectorFile(to, info, content), scenes, size) for size in SEEN_AT}
    # A round number a little above: the score at exactly 23 alarms is that of one picture.
    least = round(float(np.ceil(answers[CHOSEN_AT].score_at() * 100)) / 100, 2)
    info = info.model_copy(
        update={
            "min_score": least,
            "figures": {str(size): figures(answers[size], least) for size in SEEN_AT},
            "self_test": _self_test(DetectorFile(to, info, content)),
            "provenance": info.provenance | {"measured": measured_with()},
        }
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, content)
    write_atomically(to.with_suffix(".json"), readable(info).encode())
    weights.mkdir(parents=True, exist_ok=True)
    write_atomically(weights / f"{to.stem}.npz", _read(run / WEIGHTS))
    log.info("%s: least score %.2f, %s", to, least, info.figures)
    return info


def evaluate(file: DetectorFile, scenes: list[Scene], size: int, *, runtime: RuntimeChoice = "litert") -> Answers:
    """What the int8 file says of scenes at a longer side of ``size`` pixels."""
    detector = BuiltInDetector(file, longer_side=size, min_score=JUDGED_FROM, runtime=runtime)
    find: Callable[[NDArray[np.uint8]], Found] = detector.find
    return judge(find, scenes, zoom=size / SEEN_AT[0])


def figures(answers: Answers, least: float) -> dict[str, Any]:
    """Recall by size at that score, false alarms there, and recall at the number of alarms that all is stated at."""
    at = answers.score_at(ALARMS_AT)
    return {
        "false_alarms": answers.alarms(least),
        "recall_12px": round(answers.recall(least, 12), 4),
        "recall_48px": round(answers.recall(least, 48), 4),
        f"recall_12px_at_{ALARMS_AT}": round(answers.recall(at, 12), 4),
        f"recall_48px_at_{ALARMS_AT}": round(answers.recall(at, 48), 4),
        "by_size": {f"{low}-{high}": [round(share, 4), faces] for (low, high), share, faces in by_size(answers, least)},
    }


def _undescribed(run: Path, to: Path, content: bytes, *, crop: Crop) -> DetectorInfo:
    """The description of a run's int8 file before anything was measured."""
    facts, history = json.loads(_read(run / FACTS)), json.loads(_read(run / "history.json"))
    numbers = facts.pop("outputs")
    return DetectorInfo(
        name=to.stem,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        multiple_of=MULTIPLE_OF,
        outputs={s: {name: numbers[f"{name}{s}"] for name in ("score", "box", "points")} for s in STRIDES},
        min_score=0.5,
        crop=crop,
        figures={},
        self_test=SelfTest(picture="", side=1, found={}, tolerance_px=1, tolerance_score=1),
        provenance={
            "exported": datetime.now(timezone.utc).date().isoformat(),
            "training": json.loads(_read(run / "run.json")) | {"epochs": len(history)},
            "conversion": facts,
        },
    )


def _self_test(file: DetectorFile) -> SelfTest:
    """What both runtimes find in the average face of the classifier's own self-test, on grey."""
    face = load_model().self_test_crops()[0, :, :, 0]
    picture = np.full((SELF_TEST_SIDE, SELF_TEST_SIDE), int(face[0].mean()), np.uint8)
    start = (SELF_TEST_SIDE - SELF_TEST_FACE) // 2
    part = slice(start, start + SELF_TEST_FACE)
    picture[part, part] = cv2.resize(face, (SELF_TEST_FACE, SELF_TEST_FACE), interpolation=cv2.INTER_LINEAR)
    found = {}
    for runtime in RUNTIMES:
        seen = BuiltInDetector(file, longer_side=SELF_TEST_SIDE, min_score=JUDGED_FROM, runtime=runtime).find(picture)
        if not len(seen.scores):
            raise InputError(f"{file.path}: finds no face in the average one; train longer")
        x, y, width, height = seen.boxes[0].round(2).tolist()
        found[str(runtime)] = (x, y, width, height, round(float(seen.scores[0]), 3))
    return SelfTest(
        picture=base64.b64encode(picture.tobytes()).decode(),
        side=SELF_TEST_SIDE,
        found=found,
        tolerance_px=TOLERANCE_PX,
        tolerance_score=TOLERANCE_SCORE,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run first: python -m quantization.faces convert") from error
