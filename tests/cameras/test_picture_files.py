"""Pictures that somebody hands in: every odd one is read, or refused in a clear line."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from edge_agent.cameras.picture_files import decode_picture, read_picture
from edge_agent.errors import InputError
from tests.support.faces import astronaut_bgr


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def png_that_claims(width: int, height: int) -> bytes:
    """A valid header and next to no data: a decompression bomb of a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_common_formats_decode_to_bgr(suffix):
    assert decode_picture(encode(astronaut_bgr(), suffix), "x").shape == (512, 512, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.full((1, 1, 3), 7, np.uint8),
        np.full((5, 7), 200, np.uint8),
        np.full((5, 7, 4), 128, np.uint8),
        np.full((5, 7, 3), 40000, np.uint16),
        np.full((5, 7), 40000, np.uint16),
    ],
    ids=["1x1", "grey", "alpha", "16 bit", "16 bit grey"],
)
def test_odd_pictures_become_8_bit_bgr(image):
    decoded = decode_picture(encode(image), "x")
    assert decoded.dtype == np.uint8
    assert decoded.shape == (*image.shape[:2], 3)
    assert abs(int(decoded[0, 0, 0]) - int(image.flat[0]) // (256 if image.dtype == np.uint16 else 1)) <= 1


def test_a_picture_is_turned_upright_as_its_exif_says():
    jpeg = encode(np.zeros((10, 30, 3), np.uint8), ".jpg")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: a quarter turn
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert decode_picture(jpeg[:2] + segment + jpeg[2:], "x").shape[:2] == (30, 10)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not a picture"),
        (b"GIF89a", "not a picture"),
        (encode(np.zeros((9, 9, 3), np.uint8))[:30], "not a picture|cannot be decoded"),
        (png_that_claims(10_000, 10_000), "larger than 64 megapixels"),
        (png_that_claims(2_000_000, 1), "not a picture"),
    ],
    ids=["empty", "text", "gif", "truncated", "100 megapixels", "too wide"],
)
def test_what_cannot_be_read_is_refused_by_name(data, reason):
    with pytest.raises(InputError, match=reason) as caught:
        decode_picture(data, "holiday.png")
    assert str(caught.value).startswith("holiday.png: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(InputError, match="cannot read the picture"):
            read_picture(path)
