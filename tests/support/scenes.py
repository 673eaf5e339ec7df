"""A face before a camera, simulated: a photograph on the wall, or somebody who sits still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Box

FACE = Box(167.0, 55.0, 116.0, 135.0)
"""Where the face is in scikit-image's astronaut()."""


@dataclass(frozen=True)
class Sitter:
    """How somebody who sits still moves; all zeros is a photograph."""

    sway: float = 0.0
    """Standard deviation of the head's place, in face widths, wandering within seconds."""
    breath: float = 0.0
    """Height of a breath, in face widths, four seconds long."""
    turn: float = 0.0
    """Standard deviation of how much narrower the head gets as it turns a little."""
    blinks: bool = False


PHOTOGRAPH = Sitter()
SITTING = Sitter(sway=0.02, breath=0.008, turn=0.02, blinks=True)
"""A head of 16 cm that sways by 3 mm and rises by 1 mm with each breath."""


@dataclass(frozen=True)
class Sensor:
    """What the camera and the lamps add."""

    noise: float = 3.0
    """Standard deviation in grey levels."""
    flicker: float = 0.05
    """Share by which bands of rows and the whole picture become darker and lighter."""
    jpeg: int | None = None
    """Quality of a compressed stream."""


def film(
    picture: NDArray[np.uint8],
    sitter: Sitter,
    sensor: Sensor,
    *,
    size_px: int,
    seconds: float,
    fps: float,
    seed: int,
    face: Box = FACE,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(seconds, BGR picture of three face widths each way) of each frame, its face so wide and in its middle."""
    rng, place, turn = np.random.default_rng(seed), np.zeros(2), 0.0
    side, stays = 3 * size_px, np.exp(-1 / fps / 4)
    for number in range(int(seconds * fps)):
        at_s = number / fps
        place = stays * place + np.sqrt(1 - stays**2) * rng.normal(0, sitter.sway * size_px, 2)
        turn = stays * turn + np.sqrt(1 - stays**2) * rng.normal(0, sitter.turn)
        up = sitter.breath * size_px * np.sin(2 * np.pi * at_s / 4)
        shown = _drawn(picture, face, size_px, side, place + np.array((0.0, up)), 1 - abs(turn))
        if sitter.blinks and rng.random() < 0.05:
            top, left = round(side / 2 - 0.25 * size_px), round(side / 2 - 0.35 * size_px)
            eyes = shown[top : top + round(0.15 * size_px), left : left + round(0.7 * size_px)]
            eyes[:] = eyes.mean((0, 1))
        yield at_s, _sensed(shown, sensor, rng, at_s)


def box_in(size_px: int) -> Box:
    """Where a detector sees the face."""
    height = size_px * FACE.height / FACE.width
    return Box(size_px, 1.5 * size_px - height / 2, size_px, height)


def _drawn(
    picture: NDArray[np.uint8], face: Box, size_px: int, side: int, moved: NDArray[np.float64], width: float
) -> NDArray[np.float32]:
    scale, (x, y) = size_px / face.width, face.centre
    matrix = np.array([[scale * width, 0, side / 2 + moved[0]], [0, scale, side / 2 + moved[1]]])
    matrix[:, 2] -= matrix[:, :2] @ (x, y)
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.45 / scale) if scale < 1 else picture
    drawn = cv2.warpAffine(smooth, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32)


def _sensed(shown: NDArray[np.float32], sensor: Sensor, rng: np.random.Generator, at_s: float) -> NDArray[np.uint8]:
    rows = np.arange(len(shown))[:, None, None] / len(shown)
    light = (1 + sensor.flicker * np.sin(9 * rows + 17 * at_s)) * (1 + 0.7 * sensor.flicker * np.sin(9.7 * at_s))
    image = np.clip(shown * light + rng.normal(0, sensor.noise, shown.shape), 0, 255).astype(np.uint8)
    if sensor.jpeg is None:
        return image
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
