"""What the machine must give: space, rights, a clock, and cool air."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_agent.cli.doctor import service
from edge_agent.cli.doctor.check import Check, failed, ok, warning
from edge_agent.config import Config
from edge_agent.host.clock import kernel_clock_synchronised
from edge_agent.host.machine import temperature_c, throttling
from edge_agent.host.rights import is_barred

LITTLE_MB = 100
"""Below this much free space next to nothing can be stored."""
CAMERA_GROUP = "video"
HOT_C = 80.0
"""A Raspberry Pi begins to slow down here."""


def examine_disk(config: Config) -> Iterable[Check]:
    """Is there room for as many windows as the store may keep?"""
    folder = _existing(config.store.path.parent)
    free_mb = shutil.disk_usage(folder).free / 1e6
    used_mb = _size_mb(config.store.path)
    detail = f"{free_mb:.0f} MB free at {folder}, the store takes up to {config.store.max_mb:.0f} MB"
    if free_mb < LITTLE_MB:
        yield failed("disk", detail, "make room: sudo apt clean; sudo journalctl --vacuum-size=50M")
    elif free_mb < config.store.max_mb - used_mb:
        yield warning("disk", detail, "make room, or lower store.max_mb")
    else:
        yield ok("disk", detail)


def _size_mb(path: Path) -> float:
    """0 also if this user may not ask: the warning then comes too early rather than never."""
    return path.stat().st_size / 1e6 if not is_barred(path) and path.is_file() else 0.0


def examine_permissions(config: Config) -> Iterable[Check]:
    """May the service's user write the store and read the cameras? Run as root, it checks that user, else the
    caller."""
    account = _account()
    shown = account or f"user {os.geteuid()}"
    yield _state_folder(account, shown, config.store.path.parent)
    source = config.camera.source
    if config.camera.backend in ("opencv", "picamera2") and "://" not in str(source):
        yield from _camera_nodes(account, shown)


def _state_folder(account: str | None, shown: str, folder: Path) -> Check:
    there = _existing(folder)
    owner = account or str(os.geteuid())
    if _is_read_only(there):
        return warning("permissions", f"{there} is mounted read-only: windows live in memory", "see docs/device.md")
    if _may(account, "-w", there):
        return ok("permissions", f"{shown} may write {folder}")
    if account is None and _is_the_services(there):
        fix = "run this with sudo: then that user is asked"  # chown would take the folder from the service
        return warning("permissions", f"{folder} belongs to {service.ACCOUNT}, and {shown} may not write it", fix)
    if there == folder:
        fix = f"sudo chown {owner} {folder}, or set store.path"
        return failed("permissions", f"{shown} may not write {folder}", fix)
    fix = f"sudo install -d -o {owner} {folder}, or set store.path"
    return failed("permissions", f"{folder} is not there, and {shown} may not make it", fix)


def _camera_nodes(account: str | None, shown: str) -> Iterable[Check]:
    barred = [node for node in sorted(Path("/dev").glob("video*")) if not _may(account, "-r", node)]
    if barred:
        names = ", ".join(map(str, barred))
        yield failed("permissions", f"{shown} may not read {names}", f"sudo usermod -aG {CAMERA_GROUP} {shown}")


def examine_clock(_config: Config) -> Iterable[Check]:
    """Does the clock follow a reference? Windows say whether it did, and TLS needs it roughly right."""
    if kernel_clock_synchronised():
        yield ok("clock", "synchronised")
        return
    fix = "timedatectl set-ntp true; without a network fit a clock module, or accept windows marked as unsynchronised"
    yield warning("clock", "not synchronised: times may be wrong, and TLS may refuse the broker", fix)


def examine_temperature(_config: Config) -> Iterable[Check]:
    """Is it cool enough, and does a Raspberry Pi get the current it needs?"""
    celsius, reasons = temperature_c(), throttling()
    if celsius is None:
        yield ok("temperature", "this machine does not tell")
    elif celsius >= HOT_C:
        yield warning("temperature", f"{celsius:.0f} degrees Celsius: it slows down", "a heat sink, a fan, or shade")
    else:
        yield ok("temperature", f"{celsius:.0f} degrees Celsius")
    if reasons is not None:
        yield _throttling(reasons)


def _throttling(reasons: Mapping[str, bool]) -> Check:
    """Undervoltage is the most frequent fault of a Raspberry Pi, and it looks like any other fault."""
    present = [name.replace("_", " ") for name, here in reasons.items() if here]
    if not present:
        return ok("throttling", "none since boot")
    power = any("voltage" in name for name in present)
    fix = "the official power supply and a short thick cable" if power else "a heat sink, a fan, or shade"
    return warning("throttling", ", ".join(present), fix)


def _account() -> str | None:
    """The service's user, if we are root and may become it."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(service.ACCOUNT).pw_name
    except KeyError:
        return None


def _may(account: str | None, right: str, path: Path) -> bool:
    """``test -w path`` as the account, with its groups and without root's power to do anything."""
    if account is None:
        return os.access(path, os.W_OK if right == "-w" else os.R_OK)
    gid = pwd.getpwnam(account).pw_gid
    groups = {*os.getgrouplist(account, gid), *service.groups()}
    done = subprocess.run(["test", right, str(path)], user=account, group=gid, extra_groups=sorted(groups))
    return done.returncode == 0


def _is_the_services(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == pwd.getpwnam(service.ACCOUNT).pw_uid
    except KeyError:
        return False


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there and that this user may see."""
    while not os.access(folder, os.F_OK):
        folder = folder.parent
    return folder
