"""What somebody types first."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.programs import require

ROOT = Path(__file__).parent.parent


def test_help_lists_every_target() -> None:
    command = [require("make", "make"), "--no-print-directory", "-C", str(ROOT), "help"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split(maxsplit=1)[0] for line in listed} == set(targets.split())
    assert all(len(line.split(maxsplit=1)) == 2 for line in listed)
