"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Status(str, Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report."""

    name: str
    status: Status
    detail: str
    """What was found, with units and without secrets."""
    fix: str = ""
    """What to do about it; empty only when it is ok."""

    def __str__(self) -> str:
        """``status name detail -> fix`` on one line."""
        line = f"{self.status.value:8} {self.name:12} {self.detail}"
        return f"{line} -> {self.fix}" if self.fix else line

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that docs/device.md documents."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "fix": self.fix or None}


def ok(name: str, detail: str) -> Check:
    """All is well."""
    return Check(name, Status.OK, detail)


def warning(name: str, detail: str, fix: str) -> Check:
    """The agent runs, but not as well as it could."""
    return Check(name, Status.WARNING, detail, fix)


def failed(name: str, detail: str, fix: str) -> Check:
    """The agent cannot do its work like this."""
    return Check(name, Status.FAILED, detail, fix)
