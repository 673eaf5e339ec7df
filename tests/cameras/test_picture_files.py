"""Pictures that somebody hands in: every odd one is read, or refused in a clear line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.cameras.picture_files import decode_picture, read_picture, shown
from edge_agent.errors import InputError
from tests.support.faces import SHARED, astronaut_bgr, shared


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
        np.dstack([np.full((5, 7, 3), 128, np.uint8), np.full((5, 7), 255, np.uint8)]),
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


def quadrants() -> np.ndarray:
    """Four colours, so that each way of turning is seen, of shape (20, 40, 3)."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:10, :20], image[:10, 20:], image[10:, :20], image[10:, 20:] = (250, 0, 0), (0, 250, 0), (0, 0, 250), 255
    return image


def tiff_exif(orientation: int, order: str) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_exif(data: bytes, exif: bytes) -> bytes:
    """The picture's bytes with this EXIF in the place where its format has it."""
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + data[2:]
    if data.startswith(b"\x89PNG"):
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        return data[:33] + chunk + data[33:]
    alpha, (height, width) = b"VP8X" in data, decode_picture(data, "x").shape[:2]
    body = data[12:]
    if not alpha:  # the extended format, which has room for it
        size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        body = b"VP8X" + struct.pack("<IB3x", 10, 0x08) + size + body
    body += b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_every_exif_orientation_is_followed_in_every_format(suffix, orientation):
    upright = quadrants()
    # What the camera wrote, so that the orientation leads back to what was seen.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    data = cv2.imencode(suffix, np.ascontiguousarray(stored), options)[1].tobytes()
    for order in "<>":
        seen = decode_picture(with_exif(data, tiff_exif(orientation, order)), "x").astype(int)
        assert seen.shape == upright.shape
        assert np.abs(seen[5::10, 5::10] - upright[5::10, 5::10]).max() < 60


def test_a_tiff_is_turned_once():
    """OpenCV's TIFF decoder follows the tag by itself, in every mode."""
    image = quadrants()[::-1, ::-1, ::-1]  # RGB, upside down
    height, width = image.shape[:2]
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: 8, 274: 3, 277: 3, 278: height, 279: image.size}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries.items())
    at = 8 + image.size
    data = b"II*\0" + struct.pack("<I", at) + image.tobytes() + struct.pack("<H", len(entries)) + table + bytes(4)
    assert (decode_picture(data, "x") == quadrants()).all()


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", tiff_exif(9, "<"), tiff_exif(6, "<")[:15], b"x" * 40]
)
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_damaged_exif_leaves_the_picture_as_it_is(suffix, exif):
    assert decode_picture(with_exif(encode(quadrants(), suffix), exif), "x").shape == (20, 40, 3)


@pytest.mark.shared
def test_the_webp_of_the_field_is_turned():
    path = shared(SHARED / "reports" / "exif3.webp")
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert (read_picture(path) == stored[::-1, ::-1, :3]).all()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_transparent_is_not_seen(suffix, dtype):
    if dtype is np.uint16 and suffix == ".webp":
        pytest.skip("WebP has 8 bits")
    full = np.iinfo(dtype).max
    image = np.full((300, 8, 4), full // 5, dtype)
    image[:, :4, 3], image[:, 4:, 3] = 0, full
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    seen = decode_picture(cv2.imencode(suffix, image, options)[1].tobytes(), "x")
    assert seen.shape == (300, 8, 3)
    assert (seen[:, :4] == 255).all()
    assert (np.abs(seen[:, 4:].astype(int) - 51) <= 2).all()


@pytest.mark.parametrize(
    "data",
    [
        b"P6 8 8 255WEBP" + bytes(200),
        b"II*\0\x08\0\0\0WEBP" + bytes(40),
        b"RIFF\0\0\0\0WAVEfmt ",
        b"v/1\x01" + bytes(60),
        b"#?RADIANCE\n" + bytes(60),
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        b"GIF89a" + bytes(60),
    ],
    ids=["ppm", "tiff", "wave", "exr", "hdr", "jpeg 2000", "gif"],
)
def test_decoders_that_nobody_asked_for_are_not_reached(data):
    with pytest.raises(InputError, match=r"not a picture that can be decoded|cannot be decoded"):
        decode_picture(data, "x")


def test_names_are_printed_on_one_line_whatever_their_bytes():
    assert shown(Path("plain äöü 表.jpg")) == "plain äöü 表.jpg"
    assert shown(Path(os.fsdecode(b"caf\xe9\n\x1b[2J\x7f.jpg"))) == r"caf\xe9\n\x1b[2J\x7f.jpg"
