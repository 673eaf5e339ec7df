"""Reading picture files that somebody hands in, with a bound on what they may cost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent import MAX_MEGAPIXELS
from edge_agent.errors import InputError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Decode a picture file to BGR, shape (height, width, 3), turned upright as its EXIF says.

    16 bits become 8, grey becomes three equal channels, and transparency is dropped.

    Raises:
        InputError: it cannot be read, or is larger than ``MAX_MEGAPIXELS``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror}") from error
    return decode_picture(data, str(path))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order: 2.jpg comes before 10.jpg. Hidden files are none.

    Raises:
        InputError: there are none.
    """
    paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]
    if not paths:
        raise InputError(f"replay: {folder} holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return sorted(paths, key=natural)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers within names by their value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def decode_picture(data: bytes, name: str) -> NDArray[np.uint8]:
    """The same from the bytes of a file; ``name`` stands in messages."""
    import cv2

    if not data:
        raise InputError(f"{name}: the picture is empty (0 bytes)")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error) or "IO_MAX" in str(error):
            raise InputError(f"{name}: larger than {MAX_MEGAPIXELS} megapixels; scale the picture down first") from None
        raise InputError(f"{name}: the picture cannot be decoded ({error.err})") from None
    if image is None:
        raise InputError(f"{name}: not a picture that can be decoded (JPEG, PNG, WebP, BMP or TIFF), or damaged")
    return np.asarray(image, np.uint8)
