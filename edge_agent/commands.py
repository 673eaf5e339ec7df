"""What may be asked of the agent from afar, and the answer to each request."""

from __future__ import annotations

from typing import Any, Protocol

from edge_agent.message import response_payload


class Controls(Protocol):
    """What commands act upon; the agent implements it. Every method returns at once and is thread-safe."""

    def pause(self) -> None:
        """Stop looking: no frame is read until :meth:`resume`, across restarts."""

    def resume(self) -> None:
        """Look again."""

    def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigError: it is wrong; the agent goes on with the old one.
        """

    def identify(self) -> None:
        """Show people which device this is."""

    def set_window(self, seconds: float) -> None:
        """Change the length of the windows until the next start, 1 to 3600 seconds."""


class Commands:
    """Checks and carries out one request after the other."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def answer(self, name: str, payload: bytes, retained: bool) -> dict[str, Any]:
        """Carry out one request and describe how it went; never raises for what came from outside."""
        return response_payload(name, None, "unknown command")
