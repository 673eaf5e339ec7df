"""Debian 13: a newer systemd, Python 3.13 and the other runtime of the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from edge_agent.cli.demo import make_film
from tests.support.container import Container
from tests.support.programs import require
from tests.support.releases import (
    CONFIG,
    REPLAY,
    UNIT,
    binds,
    check_that_restarts_slow_down,
    install,
    journal,
    make_release,
    one_message,
    wait_for_broker,
)
from tests.support.trees import ROOT, SYSTEM, debian_tree

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    require("systemd-nspawn", "systemd-container")
    work = tmp_path_factory.mktemp("newest")
    release = make_release(work / "release", python="3.13")
    shown = [(make_film(work / "film"), "/film"), *binds("release", release)]
    with Container(debian_tree("trixie", "amd64", SYSTEM), work / "console.log", shown) as container:
        wait_for_broker(container)
        yield container
    shutil.rmtree(work, ignore_errors=True)


def test_it_runs_under_the_newer_systemd_with_the_newer_runtime(device: Container) -> None:
    """LiteRT works without memory that is both writable and executable, too."""
    device.run("mkdir -p /etc/countenance")
    device.write(CONFIG, REPLAY)
    code, said = install(device, "release", "--camera", "network-camera")
    assert code == 0, said + journal(device)
    assert one_message(device, "countenance/porch/emotions")["device"] == "porch"
    assert "runtime=litert" in journal(device)


def test_restarts_come_slower_and_slower(device: Container) -> None:
    check_that_restarts_slow_down(device)


@pytest.mark.parametrize("drop_in", sorted(path.stem for path in ROOT.glob("systemd/drop-ins/*.conf")))
def test_the_newer_systemd_finds_nothing_to_say_about_a_drop_in(device: Container, drop_in: str) -> None:
    folder = f"/run/verify/{drop_in}"
    device.run(f"mkdir -p {folder}/{UNIT}.d && cp /release/systemd/{UNIT} {folder}/")
    device.run(f"cp /release/systemd/drop-ins/{drop_in}.conf {folder}/{UNIT}.d/")
    assert device.run(f"systemd-analyze verify --man=no {folder}/{UNIT}") == ""
