"""Run a command as one for whom permissions count, as they do for everybody on a device but not for root in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import require

_OVERRIDES = "-dac_override,-dac_read_search"


@contextmanager
def closed(path: Path) -> Iterator[Path]:
    """A file or folder that nobody without root's power may open meanwhile, as /var/lib/countenance is to others."""
    path.chmod(0o000)
    try:
        yield path
    finally:
        path.chmod(0o700)


def edge_agent(*arguments: str, state: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command; ``state`` is used as the service's folder in the search for YuNet."""
    patch = f"yunet_file.STATE_DIR = Path({str(state)!r}); " if state is not None else ""
    program = (
        "import sys; from pathlib import Path; from edge_agent.cli.main import main; "
        f"from edge_agent.detectors import yunet_file; {patch}sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *arguments]
    if os.geteuid() == 0:
        command = [require("setpriv", "util-linux"), f"--bounding-set={_OVERRIDES}", "--inh-caps=-all", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
