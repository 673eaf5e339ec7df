"""The YuNet file: where it is searched, how it is verified and fetched."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from edge_agent.config import STATE_DIR
from edge_agent.errors import DetectorError
from edge_agent.host.rights import is_barred

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
    """What somebody should do whose command does not find it."""
    if is_barred(STATE_DIR / FILE_NAME):
        return f"run this with sudo, since {STATE_DIR} is closed to this user, or get a copy with: {FETCH}"
    return f"get it with: {FETCH_FOR_SERVICE}"


def verify(path: Path) -> None:
    """Check that ``path`` is the official file.

    Raises:
        DetectorError: it cannot be read, or its SHA-256 is another.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DetectorError(f"{path}: cannot read the detector: {error.strerror}") from error
    _compare(found, str(path))


def _compare(found: str, name: str) -> None:
    if found != SHA256:
        raise DetectorError(
            f"{name}: not the official YuNet file (SHA-256 {found[:12]}..., expected {SHA256[:12]}...); "
            f"fetch it again with: {FETCH}"
        )


def fetch_yunet(target_dir: Path | None, source: Path | None, url: str = URL) -> Path:
    """Download the file (or copy ``source``), verify it and put it in place in one step.

    Raises:
        DetectorError: no network, no right to write, or a wrong hash; nothing is left behind.
    """
    target = (target_dir or _writable_dir()) / FILE_NAME
    chunks, name = (_downloaded(url), url) if source is None else (_copied(source), str(source))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".fetch-", delete=False) as part:
            _fill(part, chunks, name)
        Path(part.name).replace(target)
    except OSError as error:
        raise DetectorError(
            f"cannot put the detector at {target}: {error}; choose another folder with --to DIR"
        ) from error
    return target


def _fill(part: IO[bytes], chunks: Iterable[bytes], name: str) -> None:
    """Write the bytes to ``part`` and verify them, or remove it.

    The folder may belong to another user than the one who runs this, root say: what was opened is looked at and
    changed, never what the file's name leads to by now.
    """
    digest = hashlib.sha256()
    try:
        for chunk in chunks:
            part.write(chunk)
            digest.update(chunk)
        _compare(digest.hexdigest(), name)
        part.flush()
        os.fchmod(part.fileno(), 0o644)
        os.fsync(part.fileno())
    except BaseException:
        Path(part.name).unlink(missing_ok=True)
        raise


def _writable_dir() -> Path:
    return STATE_DIR if os.access(STATE_DIR, os.W_OK) else user_dir()


def _downloaded(url: str) -> Iterator[bytes]:
    """The content of the address. Errors here are the network's, not the disk's."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 (the scheme is ours)
            yield from iter(lambda: response.read(CHUNK), b"")
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error.reason if isinstance(error, urllib.error.URLError) else error).split())
        raise DetectorError(
            f"cannot download {url} ({reason}); on a machine with internet fetch that address, then: "
            f"{FETCH} --from FILE"
        ) from error


def _copied(source: Path) -> Iterator[bytes]:
    if not source.is_file():
        raise DetectorError(f"{source}: no such file; --from names the downloaded {FILE_NAME}")
    try:
        with source.open("rb") as stream:
            yield from iter(lambda: stream.read(CHUNK), b"")
    except OSError as error:
        raise DetectorError(f"{source}: cannot read the file that --from names: {error.strerror}") from error
