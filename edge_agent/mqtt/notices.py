"""What is worth a line in the log, once, and again an hour later while it is still so."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

REMIND_S = 3600.0
"""The same is told again after so long."""
MOST = 100
"""What is remembered to have been told."""


class Notices:
    """Not thread-safe: the publisher's thread owns it."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, about: str, text: str) -> None:
        """Log ``text`` as an error, unless there was one about the same in the last hour."""
        now_s = time.monotonic()
        if now_s - self._told.get(about, -REMIND_S) < REMIND_S:
            return
        log.error("MQTT: %s", text)
        self._told[about] = now_s
        if len(self._told) > MOST:
            del self._told[next(iter(self._told))]

    def forget(self) -> None:
        """What comes now is new."""
        self._told.clear()
