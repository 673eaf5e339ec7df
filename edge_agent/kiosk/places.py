"""Several cameras side by side: this one's figures, and those that other agents on this machine show on their pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """One camera's figures."""

    id: str
    """``device.id`` of its agent."""
    name: str
    """What people read."""
    figures: Mapping[str, Any] | None
    """As its ``/api/current`` gave them; None where it does not answer."""

    def as_dict(self) -> dict[str, Any]:
        """As ``/api/cameras`` tells it."""
        return {"id": self.id, "name": self.name, "figures": self.figures}


Others = Callable[[], Sequence[Place]]
"""Gives the other cameras as they were heard of last, at once."""


def no_others() -> Sequence[Place]:
    """One camera alone."""
    return ()
