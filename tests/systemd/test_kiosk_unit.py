"""The unit that shows the page: its own command line, run by a real cage on a display that is not there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.broker import wait_until
from tests.support.kiosk_stage import Stage, free_port
from tests.support.programs import require

NOBODY = 65534
UNIT = Path(__file__).parents[2] / "systemd" / "countenance-kiosk.service"
WATCH = UNIT.parent / "kiosk-watch.sh"


def setting(name: str) -> str:
    """The value of a key that is in the unit once, with continued lines joined."""
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


@contextmanager
def screen(home: Path, stage: Stage, log: Path, lost_s: int = 120) -> Iterator[subprocess.Popen[bytes]]:
    """The unit's own command with the page on it; ``lost_s`` instead of its two minutes of patience."""
    require("cage", "cage")
    require("chromium", "chromium")
    display = {"WLR_BACKENDS": "headless", "WLR_LIBINPUT_NO_DEVICES": "1", "WLR_RENDERER": "pixman"}
    # What the login session says of the runtime folder is out of the unit's reach; here as there.
    environment = {**os.environ, **display, "XDG_RUNTIME_DIR": "/run/user/closed", "HOME": str(home)}
    # In containers, where tests run, Chromium often cannot sandbox itself.
    environment["CHROMIUM_FLAGS"] = "--no-sandbox"
    (home / "countenance-kiosk").mkdir()
    if os.geteuid() == 0:
        os.chown(home / "countenance-kiosk", NOBODY, NOBODY)
    watch, port, patience, *run = command("ExecStart", stage.config.kiosk.port, home)
    assert (watch, patience) == ("/opt/countenance/current/systemd/kiosk-watch.sh", "120")
    run = [shutil.copy(WATCH, home), port, str(lost_s), *run]
    with log.open("wb") as said:
        cage = subprocess.Popen(run, env=environment, stdout=said, stderr=said, **as_anybody())
    try:
        wait_until(lambda: stage.kiosk._site.feed.pages or cage.poll() is not None, 60, "the page on the screen")
        assert stage.kiosk._site.feed.pages == 1, log.read_text(errors="replace")
        yield cage
    finally:
        cage.terminate()
        cage.wait(20)


def test_the_page_is_shown_by_cage_and_chromium_as_the_unit_starts_them(home: Path, tmp_path: Path):
    with Stage(tmp_path) as stage:
        stage.play("live")
        with screen(home, stage, tmp_path / "log") as cage:
            assert cage.poll() is None


def test_the_unit_s_command_ends_when_the_page_s_process_is_killed(home: Path, tmp_path: Path):
    """Chromium would show an error for ever, and the unit restarts only what has ended."""
    with Stage(tmp_path) as stage:
        stage.play("live")
        with screen(home, stage, tmp_path / "log", lost_s=15) as cage:
            for process in psutil.Process(cage.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "--type=renderer" in process.cmdline():
                        process.kill()
            wait_until(lambda: stage.kiosk._site.feed.pages == 0, 10, "the page's end")
            assert cage.wait(100) is not None
    assert "the browser has lost it" in (tmp_path / "log").read_text(errors="replace")


def test_it_goes_on_while_the_agent_is_away():
    """The page says so itself, and connects again by itself."""
    watched = subprocess.Popen([WATCH, str(free_port()), "1", "sleep", "60"])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            watched.wait(12)
    finally:
        watched.terminate()
        watched.wait(5)


def test_shellcheck_has_nothing_to_say_about_the_watch():
    done = subprocess.run([require("shellcheck", "shellcheck"), WATCH], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_start_waits_until_the_page_answers(tmp_path: Path):
    with Stage(tmp_path) as stage:
        wait = command("ExecStartPre", stage.config.kiosk.port, tmp_path)
        assert subprocess.run(wait, timeout=10, check=True).returncode == 0
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(wait, timeout=2.5, check=True)


def test_it_runs_under_an_account_that_the_installer_makes():
    installer = (UNIT.parent / "parts.sh").read_text(encoding="utf-8")
    assert f"KIOSK_ACCOUNT={setting('User')}" in installer


def test_it_shows_the_page_for_walls():
    """The one without links: nobody downloads anything onto the wall, or reads a picture there."""
    assert re.search(r"^Environment=PAGE_PORT=\d+ PAGE_PATH=/\?wall$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_s_port_is_the_configuration_s_default():
    from edge_agent.config import Config

    assert f"PAGE_PORT={Config().kiosk.port} " in UNIT.read_text(encoding="utf-8")
