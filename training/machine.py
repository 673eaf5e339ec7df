"""The words by which a figure names its machine and day."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path


def describe_machine() -> str:
    """For instance "AMD EPYC, 2 cores, x86_64, Python 3.11.7, 2026-11-22"."""
    info = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith(("model name", "Model"))]
    return ", ".join(
        [
            models[0] if models else "unknown processor",
            f"{os.cpu_count()} cores",
            platform.machine(),
            f"Python {platform.python_version()}",
            f"{datetime.now(timezone.utc):%Y-%m-%d}",
        ]
    )
