"""Which cameras this machine has, as ``camera.backend`` and ``camera.source`` would name them. None is opened."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.cameras.opencv import can_capture
from edge_agent.host.children import environment, python

LISTING_S = 20.0
"""Seconds that picamera2's import and list may take; a Zero 2 W needs 5."""


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """One camera of this machine."""

    backend: Literal["opencv", "picamera2"]
    source: str
    """What ``camera.source`` must say; of a USB camera the name that stays the same over reboots."""
    name: str
    """What it calls itself."""


def found_cameras(root: Path = Path("/")) -> tuple[FoundCamera, ...]:
    """The cameras on the CSI ports of a Raspberry Pi, then the USB cameras."""
    return (*_csi_cameras(), *_usb_cameras(root))


def _usb_cameras(root: Path) -> list[FoundCamera]:
    """Nodes that capture. A Raspberry Pi's own decoders and camera ports have such nodes, too, and give no picture."""
    names = {str(link.resolve()): link for link in sorted((root / "dev/v4l/by-id").glob("*"))}
    found = []
    for entry in sorted((root / "sys/class/video4linux").glob("video*"), key=lambda path: int(path.name[5:] or 0)):
        node = root / "dev" / entry.name
        if "/usb" not in str(entry.resolve()) and "/virtual/" not in str(entry.resolve()):
            continue
        if not node.exists() or not can_capture(str(node)):
            continue
        name = (entry / "name").read_text(encoding="utf-8", errors="replace").strip()
        found.append(FoundCamera("opencv", str(names.get(str(node), node)), name))
    return found


def _csi_cameras() -> list[FoundCamera]:
    """In a child: libcamera keeps what it allocated, and prints as it likes."""
    if importlib.util.find_spec("picamera2") is None:
        return []
    try:
        done = subprocess.run(
            python("edge_agent.cameras.found"),
            capture_output=True,
            text=True,
            timeout=LISTING_S,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        return []
    return csi_cameras(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else []


def csi_cameras(listed: list[dict[str, Any]]) -> list[FoundCamera]:
    """Of what ``Picamera2.global_camera_info()`` lists, those on a CSI port; it lists USB cameras, too."""
    return [
        FoundCamera("picamera2", str(camera["Num"]), f"Raspberry Pi camera {camera['Model']}")
        for camera in listed
        if "/usb" not in camera["Id"]
    ]


def main() -> None:
    """The child: picamera2's list as one line of JSON, the last of its output."""
    from picamera2 import Picamera2

    print(json.dumps(Picamera2.global_camera_info()))  # noqa: T201


if __name__ == "__main__":
    main()
