"""The Debian package, from a bare Debian to live figures, up, down, and away again; and the wheel by pipx.

The tests follow one another, as a device's days do. There is no network inside: what apt would fetch is there already.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent import __version__
from edge_agent.cli.demo import make_film
from scripts.deb import TARGETS, build
from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.programs import require
from tests.support.releases import CONFIG, REPLAY, UNIT, journal, one_message, use, wait_for_broker
from tests.support.trees import PACKAGE, build_wheel, debian_tree, stage_sources, wheelhouse

pytestmark = [pytest.mark.device, pytest.mark.timeout(1800)]

INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades"
SECOND = 1_790_000_000
HERE = "find /etc /opt /usr /var/lib -xdev 2>/dev/null | grep countenance | sort"


@dataclass
class Newcomer:
    """A booted Debian, and what somebody downloaded for it."""

    device: Container
    debian: str
    downloads: Path
    """The packages, outside."""
    old: str
    """The package of this version."""
    new: str
    """That of a later one."""


@pytest.fixture(scope="module", params=["deb12", "deb13"])
def newcomer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    require("systemd-nspawn", "systemd-container")
    (target,) = (target for target in TARGETS if target.name == f"{request.param}_amd64")
    tree = debian_tree(target.codename, "amd64", PACKAGE, "package")
    work = tmp_path_factory.mktemp(target.debian)
    packages = []
    for name, version in (("old", ""), ("new", "9.1+")):
        sources, wheels = stage_sources(work / name), work / f"{name}-wheel"
        module = sources / "edge_agent" / "__init__.py"
        module.write_text(module.read_text().replace('__version__ = "', f'__version__ = "{version}'))
        build_wheel(sources, wheels)
        (wheel,) = wheels.glob("*.whl")
        packages.append(build(target, wheel, sources, to=work / "debs", second=SECOND, compression=1))
    # Beside the package's, since pipx brings its own numpy.
    house = wheelhouse(target.python, "x86_64", next((work / "old-wheel").glob("*.whl")))
    shown = [(make_film(work / "film"), "/film"), (work / "debs", "/debs"), (work / "old-wheel", "/wheel")]
    with Container(tree, work / "console.log", [*shown, (house, "/wheels")]) as device:
        wait_for_broker(device)
        yield Newcomer(device, target.debian, work / "debs", *(f"/debs/{package.name}" for package in packages))
    shutil.rmtree(work, ignore_errors=True)


def test_one_command_brings_a_setup_to_open(newcomer: Newcomer) -> None:
    """Also for a root whose files nobody else may read."""
    device = newcomer.device
    said = device.run(f"umask 077; {INSTALL} {newcomer.old}")
    assert re.search(r"^open http://\S+\.local:8765/setup$", said, re.MULTILINE), said
    assert re.search(r"^code \S+$", said, re.MULTILINE), said
    wait_until(lambda: device.show("countenance-setup.service", "ActiveState") == "active", 60, "the setup")
    assert device.run("edge-agent --version").split()[-1] == __version__
    assert "dist-packages" in device.run("/usr/lib/countenance/bin/python3 -c 'import numpy; print(numpy.__file__)'")


def test_figures_arrive_and_nobody_needs_rights(newcomer: Newcomer) -> None:
    """With a configuration from elsewhere, a second installation starts the service at once."""
    device = newcomer.device
    device.run("apt-get purge -y countenance && mkdir -p /etc/countenance")
    device.write(CONFIG, REPLAY)
    said = device.run(f"{INSTALL} {newcomer.old}")
    assert device.show(UNIT, "ActiveState") == "active", said + journal(device)
    assert one_message(device, "countenance/porch/emotions")["device"] == "porch", journal(device)
    device.run("cp /film/000.jpg /run/face.jpg && runuser -u nobody -- edge-agent predict /run/face.jpg")


def test_it_runs_as_strictly_as_the_installers_service(newcomer: Newcomer) -> None:
    device = newcomer.device
    exposure = device.run(f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 2.0, exposure
    pid = device.show(UNIT, "MainPID")
    assert device.run(f"stat -c %U /proc/{pid}").strip() == "countenance"
    assert "CapEff:\t0000000000000000" in device.run(f"cat /proc/{pid}/status")
    for unit in ("countenance.service", "countenance-kiosk.service"):
        said = device.attempt(f"systemd-analyze verify --man=no /usr/lib/systemd/system/{unit}").stdout
        assert [line for line in said.splitlines() if "chromium" not in line and "cage" not in line] == []


def test_two_cameras_have_an_id_a_store_and_sensors_each_and_one_page(newcomer: Newcomer) -> None:
    device = newcomer.device
    device.run("install -d -m 0750 -g countenance /etc/countenance/door")
    door = REPLAY.replace("porch", "door") + "store: {path: /var/lib/countenance/door/windows.sqlite}\n"
    device.write("/etc/countenance/door/agent.yaml", door + "kiosk: {enabled: true, port: 8766}\n")
    use(device, REPLAY + "kiosk: {enabled: true, cameras: [8766]}\n")
    device.run("systemctl -q enable --now countenance@door", timeout_s=100)
    for name in ("porch", "door"):
        assert one_message(device, f"countenance/{name}/emotions")["device"] == name
        announced = one_message(device, f"homeassistant/device/{name}/config")
        assert f"ctn_{name}_happy" in str(announced)
    ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8765/api/cameras').read().decode())"
    cameras = json.loads(device.run(f'python3 -c "{ask}"'))["cameras"]
    assert [camera["id"] for camera in cameras] == ["porch", "door"]
    assert all(camera["figures"]["window_end"] for camera in cameras), cameras
    assert recorded(device, "/etc/countenance/door/agent.yaml") != recorded(device)
    exposure = device.run("systemd-analyze security --no-pager countenance@door").splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 2.0, exposure
    device.run("systemctl -q disable --now countenance@door")
    use(device, REPLAY)


def recorded(device: Container, config: str = CONFIG) -> list[str]:
    """Every window on the device, as CSV."""
    windows = device.run(f"edge-agent export -c {config}").splitlines()[1:]
    assert windows
    return windows


def test_a_later_version_keeps_configuration_and_windows(newcomer: Newcomer) -> None:
    device = newcomer.device
    before = recorded(device)
    device.run(f"{INSTALL} {newcomer.new}")
    assert "9.1" in device.run("edge-agent --version")
    assert device.run(f"cat {CONFIG}") == REPLAY
    one_message(device, "countenance/porch/emotions")
    assert recorded(device)[: len(before)] == before


def test_going_back_keeps_them_too(newcomer: Newcomer) -> None:
    device = newcomer.device
    before = recorded(device)
    device.run(f"{INSTALL} {newcomer.old}")
    assert device.run("edge-agent --version").split()[-1] == __version__
    assert device.show(UNIT, "ActiveState") == "active"
    one_message(device, "countenance/porch/emotions")
    assert recorded(device)[: len(before)] == before


def test_a_version_that_cannot_start_says_why_and_how_to_go_back(newcomer: Newcomer) -> None:
    """apt itself stays usable: a half-configured package would stop every later command."""
    device = newcomer.device
    device.write(CONFIG, REPLAY.replace("fps: 5", "fps: fast"))
    said = device.run(f"{INSTALL} {newcomer.new}")
    assert "camera.fps" in said
    assert "--allow-downgrades" in said
    assert f"{__version__}+{newcomer.debian}" in said, "the version that was there"
    use(device, REPLAY)
    one_message(device, "countenance/porch/emotions")


def test_the_same_wheels_make_the_same_package(newcomer: Newcomer, tmp_path: Path) -> None:
    work = newcomer.downloads.parent
    (target,) = (target for target in TARGETS if target.name == f"{newcomer.debian}_amd64")
    (wheel,) = (work / "old-wheel").glob("*.whl")
    again = build(target, wheel, work / "old", to=tmp_path, second=SECOND, compression=1)
    assert again.read_bytes() == (newcomer.downloads / again.name).read_bytes()


def test_a_service_that_was_switched_off_stays_off(newcomer: Newcomer) -> None:
    device = newcomer.device
    device.run(f"systemctl -q disable --now {UNIT} && {INSTALL} {newcomer.old}")
    assert device.show(UNIT, "ActiveState") == "inactive"
    assert device.attempt(f"systemctl is-enabled {UNIT}").stdout.strip() == "disabled"
    device.run(f"systemctl -q enable --now {UNIT}")


def test_purging_leaves_no_trace_and_removing_keeps_what_was_recorded(newcomer: Newcomer) -> None:
    device = newcomer.device
    device.run("apt-get remove -y countenance")
    kept = device.run(HERE)
    assert "/etc/countenance/agent.yaml" in kept
    assert "/var/lib/countenance/windows.sqlite" in kept
    assert [line for line in kept.splitlines() if line.startswith("/usr/")] == []
    device.run("apt-get purge -y countenance")
    left = [line for line in device.run(f"{HERE} || true").splitlines() if not line.startswith("/var/lib/apt/")]
    assert left == []
    assert device.attempt("getent passwd countenance").returncode != 0


def test_it_is_refused_beside_the_installers_service(newcomer: Newcomer) -> None:
    """Two services would fight for the camera."""
    device = newcomer.device
    device.run("mkdir -p /opt/countenance/current")
    done = device.attempt(f"{INSTALL} {newcomer.old}")
    assert done.returncode != 0
    assert "--uninstall" in done.stdout
    device.run("rmdir -p --ignore-fail-on-non-empty /opt/countenance/current")


def test_pipx_installs_the_wheel(newcomer: Newcomer) -> None:
    device = newcomer.device
    device.run(
        "PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels pipx install --pip-args='-q' /wheel/countenance-*.whl", timeout_s=600
    )
    device.run("cp /film/000.jpg /run/face.jpg && /root/.local/bin/edge-agent predict /run/face.jpg")
