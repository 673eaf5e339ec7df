"""What one run leaves for the next, and for doctor: a small file beside the store, of things that are good to know.

Nothing depends on it. A file that is gone, or was cut off by a power cut, costs that Home Assistant keeps what an
earlier run announced.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from edge_agent.config import Config

log = logging.getLogger(__name__)

MOST_BYTES = 65_536


class Notebook:
    """Values by name; whatever JSON can say. Not thread-safe."""

    def __init__(self, config: Config) -> None:
        self._path = config.store.path.with_name(f"{config.store.path.name}-mqtt")
        self._notes = _read(self._path)

    def get(self, name: str) -> Any:
        """What was noted, None if nothing was."""
        return self._notes.get(name)

    def set(self, name: str, value: Any) -> None:
        """Note it; the file is written only where that changes something."""
        if self._notes.get(name) == value:
            return
        self._notes[name] = value
        try:
            self._path.write_text(json.dumps(self._notes), encoding="utf-8")
        except OSError as error:
            log.warning("cannot write %s: %s; it is not needed for windows", self._path, error.strerror)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            notes = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}
