"""What child processes are started with: no module of the folder that we were started in, and none of our secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def python(module: str, *arguments: str) -> list[str]:
    """The command line that runs one of our modules, isolated from the environment and the user's packages."""
    isolated = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    return [sys.executable, *isolated, "-m", module, *arguments]


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Ours without settings, credentials and the line to systemd: a child is handed what it needs."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("COUNTENANCE_") and name not in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET")
    }
