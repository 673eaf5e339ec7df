"""The unit that shows the page: its own command line, run by a real cage on a display that is not there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kiosk_stage import Stage
from tests.programs import require

NOBODY = 65534
UNIT = Path(__file__).parent.parent / "systemd" / "countenance-kiosk.service"


def setting(name: str) -> str:
    """The value of a key that stands once in the unit, continued lines joined."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8").replace("\\\n", ""), re.MULTILINE)
    return str(value)


def command(name: str, port: int, runtime: Path) -> list[str]:
    """The unit's command as systemd would start it."""
    line = setting(name).replace("${PAGE_PORT}", str(port)).replace("${PAGE_PATH}", "/?wall&theme=dark")
    line = line.replace("$CAGE_OPTIONS", "")
    return shlex.split(line.replace("%t", str(runtime)))


def as_anybody() -> dict[str, Any]:
    """cage refuses to run as root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that cage and Chromium can reach and write in, which pytest's own are not for another user."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


def test_the_page_is_shown_by_cage_and_chromium_as_the_unit_starts_them(home: Path, tmp_path: Path):
    require("cage", "cage")
    require("chromium", "chromium")
    display = {"WLR_BACKENDS": "headless", "WLR_LIBINPUT_NO_DEVICES": "1", "WLR_RENDERER": "pixman"}
    # What the login session says of the runtime folder is out of the unit's reach; here as there.
    environment = {**os.environ, **display, "XDG_RUNTIME_DIR": "/run/user/closed", "HOME": str(home)}
    # In containers, where tests run, Chromium often cannot sandbox itself.
    environment["CHROMIUM_FLAGS"] = "--no-sandbox"
    with Stage(tmp_path) as stage:
        stage.play("live")
        (home / "countenance-kiosk").mkdir()
        if os.geteuid() == 0:
            os.chown(home / "countenance-kiosk", NOBODY, NOBODY)
        run = command("ExecStart", stage.config.kiosk.port, home)
        with (tmp_path / "log").open("wb") as log:
            cage = subprocess.Popen(run, env=environment, stdout=log, stderr=log, **as_anybody())
        try:
            deadline = time.monotonic() + 60
            while stage.kiosk._site.feed.pages == 0 and time.monotonic() < deadline and cage.poll() is None:
                time.sleep(0.1)
            assert stage.kiosk._site.feed.pages == 1, (tmp_path / "log").read_text(errors="replace")
        finally:
            cage.terminate()
            cage.wait(20)


def test_the_start_waits_until_the_page_answers(tmp_path: Path):
    with Stage(tmp_path) as stage:
        wait = command("ExecStartPre", stage.config.kiosk.port, tmp_path)
        assert subprocess.run(wait, timeout=10, check=True).returncode == 0
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(wait, timeout=2.5, check=True)


def test_it_runs_under_an_account_that_the_installer_makes():
    installer = (UNIT.parent / "install.sh").read_text(encoding="utf-8")
    assert f"KIOSK_ACCOUNT={setting('User')}" in installer


def test_it_shows_the_page_for_walls():
    """The one without links: nobody downloads anything onto the wall, or reads a picture there."""
    assert re.search(r"^Environment=PAGE_PORT=\d+ PAGE_PATH=/\?wall$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_s_port_is_the_configuration_s_default():
    from edge_agent.config import Config

    assert f"PAGE_PORT={Config().kiosk.port} " in UNIT.read_text(encoding="utf-8")
