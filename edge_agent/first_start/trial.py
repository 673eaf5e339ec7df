"""*Try it alone*: for a quarter of an hour the page shows the figures of one person, which are neither stored nor sent.

A file begins it, in a folder of the memory that is empty after a boot, and where only root, or on a computer without
the service only its user, may write. So it starts from the device alone, and never at boot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import InputError

TRIAL_S = 900.0
SERVICE_FOLDER = Path("/run/countenance")
NAME = "alone"


def trial_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this user may begin it: for the service as root, else for an agent that is run by hand."""
    return _folders(environ)[0 if os.geteuid() == 0 else -1]


def begin_trial(folder: Path) -> None:
    """Let the running agent, or one that starts soon, begin it now.

    Raises:
        InputError: this user may not.
    """
    file = folder / NAME
    try:
        file.parent.mkdir(mode=0o755, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(f"{time.monotonic() + TRIAL_S:.0f}\n", encoding="ascii")
        new.chmod(0o644)
        new.replace(file)
    except OSError as error:
        raise InputError(f"{file}: cannot begin to try it alone: {error.strerror}; run this with sudo") from error


def trial_ends_s(now_monotonic_s: float, environ: Mapping[str, str] = os.environ) -> float | None:
    """When the trial ends, on the monotonic clock, which all programs of this boot share; None while there is none."""
    for folder in _folders(environ):
        try:
            end_s = float((folder / NAME).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if now_monotonic_s < end_s <= now_monotonic_s + TRIAL_S + 1.0:
            return end_s
    return None


def _folders(environ: Mapping[str, str]) -> list[Path]:
    """The service's, and that of a user who runs the agent by hand."""
    own = environ.get("XDG_RUNTIME_DIR")
    return [SERVICE_FOLDER, *([Path(own) / "countenance"] if own else [])]
