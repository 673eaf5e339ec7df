"""Reading picture files that somebody hands in, with a bound on what they may cost."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent import MAX_MEGAPIXELS
from edge_agent.errors import InputError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

Kind = Literal["jpeg", "png", "webp", "bmp", "tiff"]
_BEGINNINGS: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("bmp", re.compile(rb"BM")),
    ("tiff", re.compile(rb"II\*\0|MM\0\*")),
)
_ORIENTATION = 0x0112
"""Exif 2.32, table 4."""
_STRIP = 256
"""Rows that are composited at a time: a picture fits into memory once, not several times."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Decode a picture file to BGR, shape (height, width, 3), turned upright as its EXIF says.

    16 bits become 8, grey becomes three equal channels, and what is transparent shows white.

    Raises:
        InputError: it cannot be read, or is larger than ``MAX_MEGAPIXELS``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot read the picture: {error.strerror}") from error
    return decode_picture(data, shown(path))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order: 2.jpg comes before 10.jpg. Hidden files are left out.

    Raises:
        InputError: there are none.
    """
    paths = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]
    if not paths:
        raise InputError(f"{shown(folder)}: no picture in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return sorted(paths, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]


def shown(path: Path) -> str:
    """A name as it may be printed: control characters and bytes of another encoding become escapes."""
    return "".join(char if char.isprintable() else _escaped(char) for char in str(path))


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8, as os.fsdecode gives it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def kind_of(data: bytes) -> Kind | None:
    """What the first bytes say of a file; None where it is no picture that is read here."""
    return next((kind for kind, beginning in _BEGINNINGS if beginning.match(data)), None)


def decode_picture(data: bytes, name: str) -> NDArray[np.uint8]:
    """The same from the bytes of a file; ``name`` stands in messages."""
    import cv2

    if not data:
        raise InputError(f"{name}: the picture is empty (0 bytes)")
    kind = kind_of(data)
    if kind is None:
        raise InputError(f"{name}: not a picture that can be decoded (JPEG, PNG, WebP, BMP or TIFF)")
    try:
        image = _upright(data, kind)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error) or "IO_MAX" in str(error):
            raise InputError(f"{name}: larger than {MAX_MEGAPIXELS} megapixels; scale the picture down first") from None
        if error.code == cv2.Error.StsNoMem:
            raise InputError(f"{name}: too large for the memory that is left; scale the picture down first") from None
        raise InputError(f"{name}: the picture cannot be decoded ({error.err})") from None
    if image is None:
        raise InputError(f"{name}: not a picture that can be decoded (JPEG, PNG, WebP, BMP or TIFF), or damaged")
    return image


def _upright(data: bytes, kind: Kind) -> NDArray[np.uint8] | None:
    """OpenCV follows the EXIF of JPEG and TIFF. Of PNG and WebP it gives either the upright picture or its alpha."""
    import cv2

    packed = np.frombuffer(data, np.uint8)
    if kind in ("png", "webp", "tiff"):
        image = _as_bgr(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED))
        if image is not None:
            return image if kind == "tiff" else _turned(image, _orientation(_exif(data, kind)))
    image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def _as_bgr(image: Any) -> NDArray[np.uint8] | None:
    """Of 8 or 16 bits, grey, colour or with alpha; None of anything else, which OpenCV has to convert."""
    import cv2

    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    if image.shape[2] == 4:
        return _composited(image)
    return np.asarray(image, np.uint8) if image.shape[2] == 3 else None


def _composited(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BGRA over white: what somebody erased must not be read."""
    result = np.empty((*image.shape[:2], 3), np.uint8)
    for top in range(0, len(image), _STRIP):
        strip = image[top : top + _STRIP].astype(np.uint16)
        alpha = strip[:, :, 3:]
        result[top : top + _STRIP] = (strip[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return result


def _exif(data: bytes, kind: Kind) -> bytes:
    """The EXIF of a PNG or WebP; empty where there is none."""
    if kind == "png":  # chunks of length, name, data and checksum
        head, at, name = struct.Struct(">I4s"), 8, b"eXIf"
    else:  # RIFF: chunks of name, length and data, filled up to an even length
        head, at, name = struct.Struct("<4sI"), 12, b"EXIF"
    while at + head.size <= len(data):
        first, second = head.unpack_from(data, at)
        found, length = (second, first) if kind == "png" else (first, second)
        begin = at + head.size
        if found == name:
            return data[begin : begin + length].removeprefix(b"Exif\0\0")
        at = begin + length + (4 if kind == "png" else length % 2)
    return b""


def _orientation(exif: bytes) -> int:
    """1 to 8 (TIFF 6.0, section 8); 1, upright, where it does not say."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for number in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, at + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it is cut off
        return 1
    return 1


def _turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright, from what :data:`_ORIENTATION` says of where the first row and column are."""
    if orientation >= 5:  # the first row is a side
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
