"""FER-2013 and FER+ read from files, checked, cleaned and split.

FER-2013 (Goodfellow et al. 2013) comes as Kaggle's CSV ``emotion,pixels,Usage`` or as a folder of images by split
and emotion. FER+ (Barsoum et al. 2016) is ten people's votes per image, joined row by row to the CSV.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import logging
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's own order of labels."""
HEADS = ("fer2013", "ferplus")
"""One head answers as FER-2013's labels do, the other as FER+'s voters do; on 37 % of the images they differ."""
SIDE = 48
SPLIT_SEED: Final = 2013
"""Seed that halves PublicTest, the same for every run, benchmark and figure: what was used to choose may not state
figures."""
TRAINING, PUBLIC, PRIVATE = SPLITS = ("Training", "PublicTest", "PrivateTest")

_VOTE_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_OTHER_VOTES = ("contempt", "unknown", "NF")
_FOLDER_LABELS = {name: i for i, name in enumerate(EMOTIONS)} | {
    "anger": 0, "disgusted": 1, "fearful": 2, "happiness": 3, "sadness": 4, "surprised": 5
}  # fmt: skip
_FOLDER_SPLITS = {
    "train": TRAINING, "training": TRAINING, "val": PUBLIC, "valid": PUBLIC, "validation": PUBLIC, "publictest": PUBLIC,
    "test": PRIVATE, "privatetest": PRIVATE,
}  # fmt: skip
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_FAULTS_SHOWN = 10
_CHOSEN_ON = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Faces:
    """Labelled face images."""

    images: NDArray[np.uint8]
    """Grey pixels, shape (n, 48, 48)."""
    labels: NDArray[np.int64]
    """FER-2013 label, index into EMOTIONS, shape (n,)."""
    votes: NDArray[np.float32]
    """FER+ votes for the seven emotions, shape (n, 7); all zero where there are none."""
    other_votes: NDArray[np.float32]
    """FER+ votes for contempt, unknown and not-a-face, shape (n, 3)."""
    splits: NDArray[np.str_]
    """Training, PublicTest or PrivateTest, shape (n,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Faces:
        return Faces(self.images[rows], self.labels[rows], self.votes[rows], self.other_votes[rows], self.splits[rows])

    def majority(self) -> NDArray[np.int64]:
        """FER+ majority among the seven emotions, shape (n,); -1 where nobody voted for one of them."""
        return np.where(self.votes.sum(1) > 0, self.votes.argmax(1), -1)

    def labels_by_head(self) -> dict[str, NDArray[np.int64]]:
        """Label of each of HEADS, shape (n,) each; -1 if unknown."""
        return dict(zip(HEADS, (self.labels, self.majority()), strict=True))


@dataclass(frozen=True)
class Source:
    """Where the data is: Kaggle's CSV (plain, .gz, .zip, .xz) or a folder of images, and the votes, if any."""

    faces: Path
    votes: Path | None

    def hashes(self) -> dict[str, str]:
        """sha256 of each file by name; a folder's is made from its files' names and contents."""
        return {path.name: _sha256(path) for path in (self.faces, self.votes) if path is not None}


@dataclass(frozen=True)
class Division:
    """The data as a run uses it. PrivateTest is not in here."""

    training: Faces
    selection: Faces
    """Half of PublicTest, for choosing."""
    calibration: Faces
    """The other half, for calibrating."""
    dropped: dict[str, int]
    """Training images left out, by reason."""


def find_source(data: Path, votes: Path | None = None) -> Source:
    """The data set under ``data``: a CSV, or a folder that holds one or images by split.

    ``votes`` defaults to the ``fer2013new.csv`` next to the CSV. Raises InputError if there is no data, or
    votes are named for images, which have no rows to join them to.
    """
    beside = (data if data.is_dir() else data.parent) / "fer2013new.csv"
    joined = beside if votes is None and beside.is_file() else votes
    if data.is_file():
        return Source(data, joined)
    for suffix in ("csv", "csv.gz", "csv.xz", "csv.zip", "zip"):
        if (data / f"fer2013.{suffix}").is_file():
            return Source(data / f"fer2013.{suffix}", joined)
    if any((data / name).is_dir() for name in _FOLDER_SPLITS):
        if votes is not None:
            raise InputError(f"{votes}: votes are joined to the rows of a CSV, and {data} holds images")
        return Source(data, None)
    raise InputError(f"{data}: neither fer2013.csv(.gz|.xz|.zip) nor image folders such as train/angry are here")


def load(source: Source) -> Faces:
    """Read everything; raises InputError that names each bad row or image with its reason."""
    if source.faces.is_dir():
        return _read_folder(source.faces)
    faces = _read_csv(source.faces)
    return faces if source.votes is None else _join_votes(faces, source.votes)


def load_split(source: Source, split: str) -> Faces:
    """The images of one split; raises InputError where there are none, or the data is bad."""
    faces = load(source)
    faces = faces[faces.splits == split]
    if not len(faces):
        raise InputError(f"{source.faces}: has no {split} images")
    return faces


def divide(faces: Faces) -> Division:
    """Clean Training and split PublicTest in two halves, stratified by label; PrivateTest is only used for cleaning.

    Raises InputError where Training or PublicTest is empty.
    """
    training, public = faces[faces.splits == TRAINING], faces[faces.splits == PUBLIC]
    for name, part in ((TRAINING, training), (PUBLIC, public)):
        if not len(part):
            raise InputError(f"the data has no {name} images")
    held_back = {image.tobytes() for image in faces.images[faces.splits != TRAINING]}
    duplicate = np.array([image.tobytes() in held_back for image in training.images])
    no_face = not_a_face(training) & ~duplicate
    first, second = halves(public.labels)
    return Division(
        training=training[~duplicate & ~no_face],
        selection=public[first],
        calibration=public[second],
        dropped={"also_in_a_test_split": int(duplicate.sum()), "not_a_face": int(no_face.sum())},
    )


def with_photos(training: Faces, photos: Faces, repeated: int) -> Faces:
    """Training, and photos of another data set, each this many times. Their label counts as a vote where nobody
    voted."""
    unvoted = photos.votes.sum(1, keepdims=True) == 0
    votes = np.where(unvoted, np.eye(len(EMOTIONS), dtype=np.float32)[photos.labels], photos.votes)
    more = replace(photos, votes=votes)[np.tile(np.arange(len(photos)), repeated)]
    return Faces(*(np.concatenate([getattr(part, f.name) for part in (training, more)]) for f in fields(Faces)))


def not_a_face(faces: Faces) -> NDArray[np.bool_]:
    """Rows where more than half of the FER+ votes say that this is no face, shape (n,)."""
    cast = faces.votes.sum(1) + faces.other_votes.sum(1)
    more: NDArray[np.bool_] = np.greater(faces.other_votes[:, 2] * 2, cast)
    return more


def halves(labels: NDArray[np.int64], seed: int = SPLIT_SEED) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sorted halves of the rows, each with the same share of every label (to within one row)."""
    rng = np.random.default_rng(seed)
    by_label = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return np.sort(by_label[::2]), np.sort(by_label[1::2])


def _read_csv(path: Path) -> Faces:
    images, labels, splits, faults = [], [], [], []
    for number, row in enumerate(_csv_rows(path, ("emotion", "pixels", "Usage")), start=2):
        try:
            label, image, split = _parse_row(row)
        except ValueError as error:
            faults.append(f"row {number}: {error}")
            continue
        images.append(image)
        labels.append(label)
        splits.append(split)
    _refuse(path, faults)
    return _without_votes(images, labels, splits, path=path)


def _parse_row(row: dict[str, str]) -> tuple[int, NDArray[np.uint8], str]:
    """(label, image (48, 48), split); raises ValueError with the reason."""
    if row["emotion"] not in {"0", "1", "2", "3", "4", "5", "6"}:
        raise ValueError(f"emotion is {row['emotion']!r}, not 0 to 6")
    if row["Usage"] not in SPLITS:
        raise ValueError(f"Usage is {row['Usage']!r}, not one of {', '.join(SPLITS)}")
    try:
        pixels: NDArray[np.int64] = np.array((row["pixels"] or "").split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("a pixel is not a whole number") from None
    if pixels.size != SIDE * SIDE:
        raise ValueError(f"{pixels.size} pixels, not {SIDE * SIDE}")
    if ((pixels < 0) | (pixels > 255)).any():
        raise ValueError("a pixel is not between 0 and 255")
    return int(row["emotion"]), pixels.astype(np.uint8).reshape(SIDE, SIDE), row["Usage"]


def _join_votes(faces: Faces, path: Path) -> Faces:
    rows = list(_csv_rows(path, ("Usage", *_VOTE_COLUMNS, *_OTHER_VOTES)))
    if len(rows) != len(faces):
        raise InputError(f"{path}: {len(rows)} rows of votes for {len(faces)} images; they are joined row by row")
    faults = [
        f"row {number}: Usage is {row['Usage']!r}, but {str(split)!r} in the images' file"
        for number, (row, split) in enumerate(zip(rows, faces.splits, strict=True), start=2)
        if row["Usage"] != split
    ]
    _refuse(path, faults)
    try:
        table = np.array([[int(row[c]) for c in (*_VOTE_COLUMNS, *_OTHER_VOTES)] for row in rows], dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: a vote is not a whole number: {error}") from error
    return Faces(faces.images, faces.labels, table[:, :7], table[:, 7:], faces.splits)


def _read_folder(root: Path) -> Faces:
    import cv2

    images, labels, splits, faults = [], [], [], []
    for path in sorted(p for p in root.glob("*/*/*") if p.suffix.lower() in _IMAGE_SUFFIXES):
        split, label = _place(path)
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if split is None or label is None:
            faults.append(f"{path.relative_to(root)}: the folders name no known split and emotion")
        elif image is None or image.shape != (SIDE, SIDE):
            size = "unreadable" if image is None else f"{image.shape[1]}x{image.shape[0]}, not {SIDE}x{SIDE}"
            faults.append(f"{path.relative_to(root)}: {size}")
        else:
            images.append(np.asarray(image, dtype=np.uint8))
            labels.append(label)
            splits.append(split)
    _refuse(root, faults)
    faces = _without_votes(images, labels, splits, path=root)
    return _with_public(faces, root) if set(splits) == {TRAINING, PRIVATE} else faces


def _with_public(faces: Faces, root: Path) -> Faces:
    """With only ``train`` and ``test`` there is nothing to choose on, so one training image in ten, by label, is used.

    ``test`` stays out of every choice.
    """
    training = np.flatnonzero(faces.splits == TRAINING)
    rng = np.random.default_rng(SPLIT_SEED)
    by_label = [rng.permutation(training[faces.labels[training] == label]) for label in range(len(EMOTIONS))]
    chosen = np.concatenate([rows[: math.ceil(len(rows) * _CHOSEN_ON)] for rows in by_label])
    splits = faces.splits.copy()
    splits[chosen] = PUBLIC
    log.warning(
        "%s: has no folder val, so %d of %d training images, picked by a seed, are kept to choose and calibrate on "
        "(as PublicTest); what is in test answers to: evaluate RUN --split PrivateTest",
        root, len(chosen), len(training),
    )  # fmt: skip
    return replace(faces, splits=splits)


def _place(path: Path) -> tuple[str | None, int | None]:
    """Split and label of an image; Kaggle's folder has PublicTest and PrivateTest in ``test``; the name says which."""
    split = next((s for s in SPLITS if path.name.startswith(f"{s}_")), None)
    split = split or _FOLDER_SPLITS.get(path.parts[-3].lower())
    return split, _FOLDER_LABELS.get(path.parts[-2].lower())


def _without_votes(images: list[NDArray[np.uint8]], labels: list[int], splits: list[str], *, path: Path) -> Faces:
    if not images:
        raise InputError(f"{path}: no images in it")
    n = len(images)
    return Faces(
        np.stack(images),
        np.array(labels, dtype=np.int64),
        np.zeros((n, len(EMOTIONS)), np.float32),
        np.zeros((n, len(_OTHER_VOTES)), np.float32),
        np.array(splits),
    )


def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with _open_text(path) as lines:
            reader = csv.DictReader(lines)
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise InputError(f"{path}: the first line lacks the columns {', '.join(sorted(missing))}")
            yield from reader
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _open_text(path: Path) -> IO[str]:
    """The CSV's text, with any packing."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="ascii", newline="")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="ascii", newline="")
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if len(names) != 1:
            raise InputError(f"{path}: holds {len(names)} CSV files, not one")
        try:
            return io.TextIOWrapper(archive.open(names[0]), encoding="ascii", newline="")
        except RuntimeError as error:  # it has a password, or a packing that Python does not know
            raise InputError(f"{path}: cannot be unpacked: {error}; unpack it yourself") from error
    return path.open(encoding="ascii", newline="")


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
        raise InputError(f"{path}: {'; '.join(faults[:_FAULTS_SHOWN])}{more}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
