"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Either the old file or the new one exists, even if the power fails in between; raises OSError.

    Written by root, it belongs to the owner of its folder, whose program must be able to replace it.
    """
    part = path.with_name(path.name + ".part")
    try:
        _write(part, content, mode)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as target:  # noqa: PTH123
        os.fchmod(target.fileno(), mode)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(target.fileno(), owner.st_uid, owner.st_gid)
        target.write(content)
        target.flush()
        os.fsync(target.fileno())


def sync_folder(folder: Path) -> None:
    """Make what was renamed in it survive a power cut; raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(folder: Path) -> None:
    """Make the files in it survive a power cut, and their names; raises OSError."""
    for file in folder.iterdir():
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())
    sync_folder(folder)
