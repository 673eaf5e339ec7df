"""What systemd says about the service. The doctor also runs where neither is installed."""

from __future__ import annotations

import grp
import subprocess

UNIT = "countenance.service"
ACCOUNT = "countenance"
"""The user that the service runs as."""
_ANSWER_S = 10.0


def is_running() -> bool:
    """Whether the service is up."""
    return _systemctl("is-active", UNIT).strip() in {"active", "reloading"}


def is_installed() -> bool:
    """Whether systemd knows the service."""
    return _systemctl("show", "-p", "LoadState", "--value", UNIT).strip() == "loaded"


def status() -> str:
    """What the service says of itself, as ``systemctl status`` shows it; its state of the camera comes first."""
    return _systemctl("show", "-p", "StatusText", "--value", UNIT).strip()


def groups() -> set[int]:
    """Groups that the unit and its drop-ins add to the account's own, as group ids."""
    names = _systemctl("show", "-p", "SupplementaryGroups", "--value", UNIT).split()
    return {group.gr_gid for group in grp.getgrall() if group.gr_name in names}


def _systemctl(*arguments: str) -> str:
    """The answer of systemctl; empty without systemd."""
    try:
        command = ["systemctl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
