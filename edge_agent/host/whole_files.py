"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.errors import InputError


def write_whole(path: Path, data: bytes) -> None:
    """Write ``path`` in one step, to be read by its owner and by the group of its folder alone.

    Raises:
        InputError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            group = path.parent.stat().st_gid
            if os.fstat(file.fileno()).st_gid != group:  # the units forbid the call itself
                os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), 0o640)  # the services' umask takes the group's right away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}; run this with sudo") from error
