"""The YuNet file: where it is looked for, how it is verified, how it is fetched."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edge_agent.config import STATE_DIR
from edge_agent.errors import DetectorError
from edge_agent.rights import is_barred

FILE_NAME = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
URL = f"https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/{FILE_NAME}"
FETCH = "edge-agent fetch-detector"
FETCH_FOR_SERVICE = f"sudo {FETCH} --to {STATE_DIR}"
"""The one place where both the service and what is run with sudo look."""
TIMEOUT_S = 30.0
CHUNK = 1 << 14


def user_dir() -> Path:
    """Where a user without rights to ``/var/lib`` keeps it (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "countenance"


def find_yunet(configured: Path | None) -> Path | None:
    """The verified file, or None where there is none that this user may read.

    Raises:
        DetectorError: a file is there and is not the official one, or the configured one is missing or closed to us.
    """
    if configured is not None and is_barred(configured):
        raise DetectorError(f"{configured}: detector.path may not be read by this user; run this with sudo")
    places = [configured] if configured is not None else [STATE_DIR / FILE_NAME, user_dir() / FILE_NAME]
    for path in places:
        if not is_barred(path) and path.is_file():
            verify(path)
            return path
    if configured is not None:
        raise DetectorError(f"{configured}: detector.path names no file; get it with: {FETCH} --to {configured.parent}")
    return None


def how_to_get_yunet() -> str:
    """What somebody should do whose command works without it."""
    if is_barred(STATE_DIR / FILE_NAME):
        return f"run this with sudo, since {STATE_DIR} is closed to this user, or get a copy with: {FETCH}"
    return f"get it with: {FETCH_FOR_SERVICE}"


def verify(path: Path, name: str | None = None) -> None:
    """Check that ``path`` (called ``name`` in messages) is the official file.

    Raises:
        DetectorError: it cannot be read, or its SHA-256 is another.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DetectorError(f"{path}: cannot read the detector: {error.strerror}") from error
    if found != SHA256:
        raise DetectorError(
            f"{name or path}: not the official YuNet file (SHA-256 {found[:12]}..., expected {SHA256[:12]}...); "
            f"fetch it again with: {FETCH}"
        )


def fetch_yunet(target_dir: Path | None, source: Path | None, url: str = URL) -> Path:
    """Download the file (or copy ``source``), verify it and put it in place in one step.

    Raises:
        DetectorError: no network, no right to write, or a wrong hash; nothing is left behind.
    """
    target = (target_dir or _writable_dir()) / FILE_NAME
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".fetch-", delete=False) as part:
            _fill(part, source, url)
        Path(part.name).replace(target)
    except urllib.error.URLError as error:
        raise DetectorError(
            f"cannot download {url} ({error.reason}); on a machine with internet fetch that address, then: "
            f"{FETCH} --from FILE"
        ) from error
    except OSError as error:
        raise DetectorError(
            f"cannot put the detector at {target}: {error}; choose another folder with --to DIR"
        ) from error
    return target


def _fill(part: IO[bytes], source: Path | None, url: str) -> None:
    """Write the verified bytes to ``part``, or remove it."""
    path = Path(part.name)
    try:
        with _open(source, url) as (stream, size):
            _copy(stream, part, size)
        part.flush()
        os.fsync(part.fileno())
        verify(path, str(source or url))
        path.chmod(0o644)
    except BaseException:
        path.unlink()
        raise


def _writable_dir() -> Path:
    return STATE_DIR if os.access(STATE_DIR, os.W_OK) else user_dir()


@contextmanager
def _open(source: Path | None, url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The bytes and how many there will be."""
    if source is not None:
        if not source.is_file():
            raise DetectorError(f"{source}: no such file; --from names the downloaded {FILE_NAME}")
        with source.open("rb") as stream:
            yield stream, source.stat().st_size
        return
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 (the scheme is ours)
        length = response.headers.get("Content-Length")
        yield response, int(length) if length else None


def _copy(stream: IO[bytes], part: IO[bytes], size: int | None) -> None:
    from tqdm import tqdm

    with tqdm(total=size, unit="B", unit_scale=True, desc=FILE_NAME, disable=None) as bar:
        while chunk := stream.read(CHUNK):
            part.write(chunk)
            bar.update(len(chunk))
