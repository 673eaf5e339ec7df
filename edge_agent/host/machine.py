"""The hardware's sensors, read from the kernel's files; a figure is None if its file does not exist."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

FIRMWARE_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_NOW_BITS = {"under_voltage": 0, "frequency_capped": 1, "throttled": 2, "soft_temperature_limit": 3}
_SINCE_BOOT_SHIFT = 16


_SERIAL_NUMBERS = ("proc/device-tree/serial-number", "etc/machine-id")


def mark(root: Path = Path("/")) -> str | None:
    """Six hexadecimal digits that tell this machine from others of the same name; None where nothing does.

    A board has its serial number; a card that was copied has another board's machine id. Hashed, since systemd wants
    that id told to nobody (https://www.freedesktop.org/software/systemd/man/machine-id.html).
    """
    for name in _SERIAL_NUMBERS:
        if number := (_read(root / name) or "").strip("\0"):
            return hashlib.sha256(f"countenance {number}".encode()).hexdigest()[:6]
    return None


def temperature_c(root: Path = Path("/")) -> float | None:
    """The hottest thermal zone in degrees Celsius."""
    readings = []
    for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        text = _read(zone)
        if text and text.lstrip("-").isdigit():
            readings.append(int(text) / 1000)
    # Some zones of a Jetson read -256 while their part is powered off.
    return max((value for value in readings if value > -55), default=None)


def throttling(root: Path = Path("/")) -> Mapping[str, bool] | None:
    """A Raspberry Pi's throttling, decoded: each reason now, and ``..._since_boot``."""
    text = _read(root / FIRMWARE_THROTTLED) or _ask_firmware()
    return None if text is None else decode_throttled(text)


def decode_throttled(text: str) -> Mapping[str, bool] | None:
    """Bits of ``50005``, ``0x50005`` or ``throttled=0x50005``; None when it is none of them."""
    try:
        bits = int(text.rpartition("=")[2], 16)
    except ValueError:
        return None
    now = {name: bool(bits >> bit & 1) for name, bit in _NOW_BITS.items()}
    earlier = {f"{name}_since_boot": bool(bits >> bit + _SINCE_BOOT_SHIFT & 1) for name, bit in _NOW_BITS.items()}
    return {**now, **earlier}


def _ask_firmware() -> str | None:
    """Without the kernel's file, Raspberry Pi's program has the answer."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "get_throttled"], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def rss_bytes(root: Path = Path("/")) -> int | None:
    """Memory of this process, without its children."""
    text = _read(root / "proc/self/statm")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") if text else None


def disk_free_bytes(path: Path) -> int | None:
    """Free space where ``path`` is or would be."""
    folder = next((parent for parent in (path, *path.absolute().parents) if parent.is_dir()), None)
    try:
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
