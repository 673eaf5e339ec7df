"""Which cameras are found; the machine's files are laid out as Linux lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cameras import found
from edge_agent.cameras.found import FoundCamera, csi_cameras, found_cameras


def lay_out(root: Path, number: int, name: str, device: str) -> None:
    """One node of V4L2, whose device is at this place below /sys/devices."""
    entry = root / "sys/devices" / device / f"video{number}"
    entry.mkdir(parents=True)
    (entry / "name").write_text(f"{name}\n")
    listing = root / "sys/class/video4linux"
    listing.mkdir(parents=True, exist_ok=True)
    (listing / entry.name).symlink_to(entry)
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev" / entry.name).touch()


def test_a_usb_camera_has_its_lasting_name_and_a_pi_s_decoders_are_no_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, 0, "HD Pro Webcam C920", "platform/scb/pci0000:00/usb1/1-1/1-1:1.0/video4linux")
    lay_out(tmp_path, 1, "its metadata", "platform/scb/pci0000:00/usb1/1-1/1-1:1.0/video4linux")
    lay_out(tmp_path, 2, "loopback", "virtual/video4linux")
    lay_out(tmp_path, 10, "bcm2835-codec-decode", "platform/bcm2835-codec/video4linux")
    links = tmp_path / "dev/v4l/by-id"
    links.mkdir(parents=True)
    (links / "usb-046d_C920-video-index0").symlink_to(tmp_path / "dev/video0")
    monkeypatch.setattr(found, "can_capture", lambda node: not node.endswith("video1"))
    monkeypatch.setattr(found, "_csi_cameras", list)
    assert found_cameras(tmp_path) == (
        FoundCamera("opencv", str(links / "usb-046d_C920-video-index0"), "HD Pro Webcam C920"),
        FoundCamera("opencv", str(tmp_path / "dev/video2"), "loopback"),
    )


def test_a_usb_camera_that_picamera2_lists_is_listed_once() -> None:
    """As libcamera names them on a Raspberry Pi."""
    listed = [
        {"Model": "imx708", "Num": 0, "Id": "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"},
        {"Model": "C920", "Num": 1, "Id": "/base/axi/pcie@1000120000/rp1/usb@200000-1:1.0-046d:082d"},
    ]
    assert csi_cameras(listed) == [FoundCamera("picamera2", "0", "Raspberry Pi camera imx708")]


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert found_cameras(tmp_path) == ()
