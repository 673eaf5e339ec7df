"""Child processes of the agent: isolated, and without secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from edge_agent.cameras import open_camera
from edge_agent.config import CameraConfig
from edge_agent.host.children import environment, python
from tests.support.broker import free_port
from tests.support.mjpeg import MjpegCamera

SECRETS = {
    "COUNTENANCE_MQTT_PASSWORD": "hunter2",
    "COUNTENANCE_CAMERA__SOURCE": "rtsp://me:hunter2@cam",
    "COUNTENANCE_KIOSK_TOKEN": "hunter2",
    "CREDENTIALS_DIRECTORY": "/run/credentials/countenance.service",
    "NOTIFY_SOCKET": "/run/systemd/notify",
}


def test_a_module_of_the_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    (tmp_path / "edge_agent").mkdir()
    (tmp_path / "edge_agent" / "__init__.py").write_text("raise SystemExit('planted')")
    command = [*python("edge_agent"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_secret_is_in_a_child_s_environment() -> None:
    assert environment({**SECRETS, "PATH": "/bin", "HOME": "/root"}) == {"PATH": "/bin", "HOME": "/root"}


def test_the_camera_s_process_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children())
    server = MjpegCamera(free_port()).start()
    camera = open_camera(CameraConfig(backend="opencv", source=server.url.replace("//", "//me:hunter2@")))
    try:
        (child,) = set(psutil.Process().children()) - before
        assert "hunter2" not in f"{child.cmdline()} {child.environ()}"
    finally:
        camera.close()
        server.stop()
