"""The page on a screen: the kiosk's own unit under a real systemd, with a real cage and Chromium, Debian 12 and 13."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.cli.demo import make_film
from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.programs import require
from tests.support.releases import CONFIG, REPLAY, binds, install, make_release, wait_for_broker
from tests.support.trees import SCREEN, debian_tree

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

KIOSK = "countenance-kiosk.service"
PORT = 8765
# All that a container lacks, and nothing else.
NO_SCREEN_HERE = """\
[Unit]
# There is no virtual console,
ConditionPathExists=
[Service]
# so the login session has no terminal.
TTYPath=
TTYReset=no
TTYVHangup=no
TTYVTDisallocate=no
StandardInput=null
UtmpIdentifier=
# There is no graphics card with a screen, no GPU to draw with, and no keyboard.
Environment=WLR_BACKENDS=headless WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1
"""
IN_SESSION = "XDG_RUNTIME_DIR=/run/countenance-kiosk WAYLAND_DISPLAY=wayland-0"
# docs/kiosk.md gives these for a screen that lies on its side, with HDMI-A-1 instead of HEADLESS-1.
ON_ITS_SIDE = {
    "bookworm": "[Service]\nEnvironment=CAGE_OPTIONS=-r\n",
    "trixie": f"[Service]\nExecStartPost=/bin/sh -c 'until {IN_SESSION} wlr-randr --output HEADLESS-1 --transform 90; "
    "do sleep 1; done'\n",
}
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}


@pytest.fixture(scope="module", params=PYTHONS)
def debian(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def device(debian: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted system that has what `install.sh --kiosk` would fetch by apt."""
    require("systemd-nspawn", "systemd-container")
    work = tmp_path_factory.mktemp("screen")
    release = make_release(work / "release", python=PYTHONS[debian])
    shown = [(make_film(work / "film"), "/film"), *binds("release", release)]
    with Container(debian_tree(debian, "amd64", SCREEN, "screen"), work / "console.log", shown) as container:
        wait_for_broker(container)
        container.run(f"mkdir -p /etc/countenance /etc/systemd/system/{KIOSK}.d")
        container.write(CONFIG, REPLAY + "kiosk: {enabled: true}\n")
        container.write(f"/etc/systemd/system/{KIOSK}.d/container.conf", NO_SCREEN_HERE)
        yield container
    shutil.rmtree(work, ignore_errors=True)


def watches_the_page(device: Container) -> bool:
    """Whether Chromium, under the kiosk's account, holds the connection over which the page gets its news."""
    account = device.run("id -u countenance-kiosk").strip()
    rows = [line.split() for line in device.run("cat /proc/net/tcp").splitlines()[1:]]
    there = any(row[2].endswith(f":{PORT:04X}") and row[3] == "01" and row[7] == account for row in rows)
    return there and "chromium" in device.attempt("ps -u countenance-kiosk -o comm=").stdout


def screen(device: Container) -> NDArray[np.uint8]:
    """What is on the screen, as the eye sees it: RGB of shape (height, width, 3)."""
    ppm = base64.b64decode(device.run(f"{IN_SESSION} grim -t ppm - | base64 -w 0"))
    _magic, width, height, _maximum = ppm[:32].split()[:4]
    size = int(width) * int(height) * 3
    return np.frombuffer(ppm[-size:], np.uint8).reshape(int(height), int(width), 3)


def is_filled(device: Container) -> bool:
    """Whether the page, which is nowhere black, fills the screen."""
    return bool((screen(device) > 0).any(axis=2).all())


def test_the_page_is_on_the_screen_after_the_installation(device: Container, debian: str) -> None:
    code, said = install(device, "release", "--camera", "network-camera", "--kiosk")
    assert code == 0, said
    wait_until(lambda: watches_the_page(device), 60, "Chromium on the page")
    assert device.show(KIOSK, "ActiveState") == "active"
    assert device.show(KIOSK, "NRestarts") == "0"
    height, width, _ = screen(device).shape
    assert width > height
    if debian != "bookworm":  # the display in memory of wlroots 0.15 leaves black what was drawn before a window grew
        wait_until(lambda: is_filled(device), 30, "a page that fills the screen")


def test_its_account_sees_neither_camera_nor_store_nor_homes(device: Container) -> None:
    """Asked in the name space of the running unit."""
    pid = device.show(KIOSK, "MainPID")
    for folder in ("/var/lib/countenance", "/etc/countenance", "/home", "/root", "/run/user"):
        listed = device.attempt(f"nsenter -t {pid} -m setpriv --reuid countenance-kiosk --clear-groups ls {folder}/.")
        assert listed.returncode != 0, f"{folder}: {listed.stdout}"


def test_what_the_browser_writes_has_a_bound_of_its_own(device: Container) -> None:
    """Downloads pile up in its home: full of them, it leaves /run the room it had, and the page goes on."""
    pid = device.show(KIOSK, "MainPID")
    inside = f"nsenter -t {pid} -m setpriv --reuid countenance-kiosk --clear-groups"
    home = "/run/countenance-kiosk/home"
    assert "profile" in device.run(f"{inside} ls {home}")
    free = "df --output=avail -B1M /run | tail -1"
    before = int(device.run(free))
    filled = device.attempt(f"{inside} dd if=/dev/zero of={home}/download bs=1M count=200")
    assert "No space left on device" in filled.stdout, filled.stdout
    assert before - int(device.run(free)) < 20
    assert watches_the_page(device)
    device.run(f"{inside} rm {home}/download")


def test_it_comes_back_after_the_agent_and_after_itself(device: Container) -> None:
    device.run("systemctl restart countenance")
    wait_until(lambda: watches_the_page(device), 60, "the page again")
    device.run(f"systemctl kill -s KILL --kill-whom=main {KIOSK}")
    wait_until(lambda: device.show(KIOSK, "NRestarts") == "1", 30, "a restart")
    wait_until(lambda: watches_the_page(device), 60, "Chromium again")


def test_it_comes_back_after_a_crash_of_the_page_alone(device: Container) -> None:
    """Neither cage nor Chromium ends then: two minutes later the unit ends both."""
    restarts = int(device.show(KIOSK, "NRestarts"))
    renderers = "ps -u countenance-kiosk -o pid=,args= | awk '/--type=[r]enderer/ {print $1}'"
    device.run(f"kill -KILL $({renderers})")
    wait_until(lambda: not watches_the_page(device), 20, "the page's end")
    time.sleep(60)
    assert int(device.show(KIOSK, "NRestarts")) == restarts
    wait_until(lambda: int(device.show(KIOSK, "NRestarts")) == restarts + 1, 100, "a restart")
    wait_until(lambda: watches_the_page(device), 60, "the page again")


def test_a_screen_on_its_side_is_turned_as_documented(device: Container, debian: str) -> None:
    device.write(f"/etc/systemd/system/{KIOSK}.d/side.conf", ON_ITS_SIDE[debian])
    device.run(f"systemctl daemon-reload && systemctl restart {KIOSK}")
    wait_until(lambda: watches_the_page(device), 60, "Chromium on the page")
    wait_until(lambda: (shape := screen(device).shape)[0] > shape[1], 20, "an upright picture")


def test_purging_takes_the_screen_s_account_with_it_while_it_is_shown(device: Container) -> None:
    """The account's own systemd outlives the unit for a while, and userdel refuses a user who is logged in."""
    wait_until(lambda: watches_the_page(device), 60, "Chromium on the page")
    device.run("/release/systemd/install.sh --uninstall --purge")
    assert device.attempt("getent passwd countenance-kiosk countenance").returncode != 0
    assert device.attempt(f"systemctl cat {KIOSK}").returncode != 0
