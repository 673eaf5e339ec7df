"""From the code to live figures: a booted Debian, a real browser in its network, a network camera, its own broker."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.programs import require
from tests.support.releases import CONFIG, UNIT, binds, install, make_release, wait_for_broker
from tests.support.trees import ROOT, SYSTEM, debian_tree

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)

SETUP = "countenance-setup.service"
ADDRESS = "10.9.8.7"
"""Of the device in its network, so that the browser is not on the device."""
CAMERA_PORT = 8090
CAMERA = f"""
import time
import numpy as np
from tests.support.faces import astronaut_bgr
from tests.support.mjpeg import MjpegCamera, noisy
camera = MjpegCamera({CAMERA_PORT}, fps=10)
swaying = [np.roll(astronaut_bgr(), round(6 * np.sin(step / 4)), axis=1) for step in range(25)]
camera.pictures = [picture for scene in swaying for picture in noisy(scene, 1)]
camera.start()
time.sleep(1800)
"""
"""A person who sways: a photograph would be left out as still."""
THINK_S, TYPE_MS = 8.0, 250.0
"""How long a person reads a question, and takes for a letter on a telephone."""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """An installed release whose setup was never done, and a camera in its network."""
    require("systemd-nspawn", "systemd-container")
    work = tmp_path_factory.mktemp("device")
    release = make_release(work / "first")
    with Container(
        debian_tree("bookworm", "amd64", SYSTEM), work / "console.log", binds("first", release)
    ) as container:
        wait_for_broker(container)
        container.enter_network("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
        camera = subprocess.Popen(container.in_network(sys.executable, "-c", CAMERA), cwd=ROOT)
        code, said = install(container, "first", "--camera", "network-camera")
        assert code == 0, said
        yield container
        camera.terminate()
        camera.wait()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="module")
def phone(device: Container, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser in the device's network."""
    program = require("chromium", "chromium")
    wrapper = tmp_path_factory.mktemp("phone") / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(device.in_network(program))} "$@"\n')
    wrapper.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(wrapper), args=["--no-sandbox"])
        # Its owner has compared the fingerprint and continues.
        context = browser.new_context(viewport={"width": 360, "height": 740}, ignore_https_errors=True, has_touch=True)
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_three_minutes_from_the_code_to_live_figures(device: Container, phone: Page, tmp_path: Path) -> None:
    said = device.run("edge-agent setup --code")
    code = re.search(r"^code (\d{4}-\d{4})$", said, re.M)[1]  # type: ignore[index]
    fingerprint = re.search(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", said)
    assert fingerprint is not None, said
    assert re.search(r"^open http://[\w-]+\.local:8765/setup$", said, re.M), said
    wait_until(lambda: device.show(SETUP, "ActiveState") == "active", 60, "the setup's server")
    assert device.show(UNIT, "ActiveState") == "inactive", "camera and port are the setup's"
    wait_until(lambda: device.attempt("bash -c ': </dev/tcp/127.0.0.1/8765'").returncode == 0, 60, "its port")

    began_s = time.monotonic()
    machine_s = 0.0

    def think() -> None:
        time.sleep(THINK_S)

    phone.goto(f"http://{ADDRESS}:8765/setup")
    think()
    phone.get_by_role("link", name="Continue, encrypted").tap()
    think()
    phone.locator("#code").press_sequentially(code, delay=TYPE_MS)
    phone.get_by_role("button", name="Continue").tap()
    phone.wait_for_selector("#questions")
    think()
    phone.get_by_text("A museum or an exhibition").tap()
    think()
    phone.locator("#address").press_sequentially(f"http://127.0.0.1:{CAMERA_PORT}/", delay=TYPE_MS)
    asked_s = time.monotonic()
    phone.get_by_role("button", name="Show the picture").tap()
    phone.wait_for_selector("#live:not([hidden])")
    machine_s += time.monotonic() - asked_s
    expect(phone.locator("#faces-seen")).to_contain_text("upright and well lit", timeout=60_000)
    think()
    phone.locator("#name").fill("")
    phone.locator("#name").press_sequentially("Foyer", delay=TYPE_MS)
    think()
    phone.get_by_text("The one on this device", exact=True).tap()
    expect(phone.locator("#broker-words")).to_contain_text("takes this device's messages", timeout=60_000)
    think()
    phone.get_by_text("Every machine in the network").tap()
    think()
    phone.get_by_text("show the figures of one person").tap()
    sent_s = time.monotonic()
    phone.get_by_role("button", name="Write and start").tap()
    phone.wait_for_url(f"http://{ADDRESS}:8765/setup/wait", timeout=120_000)
    phone.wait_for_url(f"http://{ADDRESS}:8765/", timeout=120_000)
    expect(phone.locator("html")).to_have_attribute("data-state", "live", timeout=120_000)
    machine_s += time.monotonic() - sent_s
    total_s = time.monotonic() - began_s
    phone.screenshot(path=tmp_path / "live.png")
    log.info("%.0f s in all, of which %.0f s waiting for the device; %s", total_s, machine_s, tmp_path / "live.png")
    expect(phone.locator("#hero-text")).to_contain_text("neither stored nor sent")
    assert total_s < 180


def test_the_setup_is_off_for_good(device: Container, phone: Page) -> None:
    assert device.show(UNIT, "ActiveState") == "active"
    assert device.show(SETUP, "ActiveState") == "inactive"
    assert device.attempt("ls /etc/countenance/setup_code /etc/countenance/setup.pem").returncode != 0
    answer = phone.goto(f"http://{ADDRESS}:8765/setup")
    assert answer is not None
    assert answer.status == 404
    device.run(f"systemctl start {SETUP}")
    assert device.show(SETUP, "ActiveState") == "inactive", "its condition: no code"
    kept = device.run("ls /etc/countenance").split()
    assert "agent.yaml.before-setup" in kept


def test_what_it_wrote_is_commented_and_passes_config_check(device: Container) -> None:
    assert "good" in device.run(f"edge-agent config check {CONFIG}")
    text = device.run(f"cat {CONFIG}")
    assert 'name: "Foyer"' in text
    assert text.count("#") > 8
    assert device.run(f"stat -c '%a %U %G' {CONFIG}").split() == ["640", "root", "countenance"]


def test_nothing_of_the_trial_is_sent_and_no_boot_begins_it(device: Container) -> None:
    topic = "countenance/+/emotions"
    heard = device.attempt(f"mosquitto_sub -h 127.0.0.1 -t '{topic}' -C 1 -W 15")
    assert heard.stdout.strip() in ("", "Timed out"), "no window while it is tried alone"
    device.run("rm /run/countenance/alone")  # as a boot does
    message = json.loads(device.run(f"mosquitto_sub -h 127.0.0.1 -t '{topic}' -C 1 -W 60", timeout_s=90))
    assert (message["seq"], message["suppressed"], message["percentages"]) == (1, True, None)


def test_the_agent_and_the_setup_cannot_write_the_configuration(device: Container) -> None:
    for unit in (UNIT, SETUP):
        paths = device.run(f"systemctl show -p ReadWritePaths --value {unit}")
        assert "/etc" not in paths
        assert device.show(unit, "User") == "countenance"
        assert device.show(unit, "ProtectSystem") == "strict"
    owner = device.run("stat -c '%a %U' /etc/countenance").split()
    assert owner == ["750", "root"]
