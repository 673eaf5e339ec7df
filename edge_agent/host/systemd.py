"""Tells systemd how the agent is doing: sd_notify(3) without a library, because none has wheels.

Outside systemd (no ``NOTIFY_SOCKET``) every method does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

from edge_agent.host.redaction import redact

log = logging.getLogger(__name__)

STATUS_MAX_CHARS = 400
"""``systemctl status`` shows the status on one line; longer ones are cut."""


class Notifier:
    """Sends READY, STATUS, WATCHDOG and STOPPING to the service manager that started this process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _socket_address(environ)
        self.watchdog_s = _watchdog_s(environ) if self._address else None
        """Seconds after which systemd kills an agent that has not called :meth:`watchdog`; None: no watchdog."""
        self._status = ""
        self._fed_monotonic_s = float("-inf")
        self._failing = False

    def ready(self, status: str = "") -> None:
        """The agent works: configuration, model and store are good."""
        self._send("READY=1", self._status_line(status))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent only when it changes."""
        if (line := self._status_line(text)) is not None:
            self._send(line)

    def watchdog(self) -> None:
        """Call this only on real progress, as often as you like: it is sent four times per watchdog period."""
        if self.watchdog_s is None:
            return
        now = time.monotonic()
        if now - self._fed_monotonic_s >= self.watchdog_s / 4 and self._send("WATCHDOG=1"):
            self._fed_monotonic_s = now

    def stopping(self, status: str = "stopping") -> None:
        """The agent was asked to stop and drains."""
        self._send("STOPPING=1", self._status_line(status))

    def _status_line(self, text: str) -> str | None:
        """``STATUS=...`` on one line and without passwords, or None if it is already shown."""
        line = redact(" ".join(text.split()))[:STATUS_MAX_CHARS]
        if not line or line == self._status:
            return None
        self._status = line
        return f"STATUS={line}"

    def _send(self, *assignments: str | None) -> bool:
        """Send as one datagram. A manager that cannot be reached must not stop the pipeline, so it is only logged,
        once."""
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto("\n".join(filter(None, assignments)).encode(), self._address)
        except OSError as error:
            if not self._failing:
                log.warning("systemd not reachable", extra={"socket": os.fsdecode(self._address), "error": str(error)})
            self._failing = True
            return False
        self._failing = False
        return True


def _socket_address(environ: Mapping[str, str]) -> bytes | None:
    """sd_notify(3): a path, or ``@name`` for the abstract name space, where ``@`` means a NUL byte."""
    value = environ.get("NOTIFY_SOCKET", "")
    if not value.startswith(("/", "@")):
        return None
    return os.fsencode("\0" + value[1:] if value.startswith("@") else value)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): the period is ours only when ``WATCHDOG_PID`` is absent or names this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    value = environ.get("WATCHDOG_USEC", "")
    return int(value) / 1e6 if value.isdecimal() and int(value) > 0 else None
