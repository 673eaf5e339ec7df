"""A real ``edge-agent`` in a separate process, configured as users do it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from tests.support.broker import free_port
from tests.support.faces import write_astronaut


def configure(folder: Path, **sections: Mapping[str, Any]) -> Path:
    """Write a configuration that replays ``astronaut()``, with ``sections`` laid over it; returns the file."""
    picture = folder / "astronaut.png"
    if not picture.exists():
        write_astronaut(picture)
    values: dict[str, dict[str, Any]] = {
        "device": {"id": "test"},
        "camera": {"backend": "replay", "source": str(picture), "fps": 10},
        "detector": {"looks_per_s": 60},
        "faces": {"still_s": 0},
        "window": {"seconds": 1},
        "privacy": {"min_people": 1, "acknowledged_use": True},
        "mqtt": {"port": free_port()},
        "store": {"path": str(folder / "windows.sqlite")},
    }
    for name, section in sections.items():
        values.setdefault(name, {}).update(section)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class AgentProcess:
    """``edge-agent ARGUMENTS``; a context manager that ends it whatever happens."""

    def __init__(self, *arguments: str | Path, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log_path = folder / "agent.log"
        command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environ or {})}
            )

    @property
    def log(self) -> str:
        """Everything it has printed so far."""
        return self._log_path.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Ask it to stop and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
