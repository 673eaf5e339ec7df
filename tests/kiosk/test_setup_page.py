"""``/setup`` in a real Chromium: by touch on a small display, on a phone, for everyone, in every language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from edge_agent.config import load_config
from edge_agent.first_start.code import make_code
from edge_agent.kiosk.language import available
from tests.support.broker import free_port, wait_until
from tests.support.mjpeg import MjpegCamera
from tests.support.setup_stage import SetupStage

DISPLAY, PHONE = {"width": 800, "height": 480}, {"width": 360, "height": 740}
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
SLOW_MS = 60_000
"""A busy machine needs long to load the detector."""
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegCamera]:
    served = MjpegCamera(free_port()).start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetupStage]:
    with SetupStage(tmp_path_factory.mktemp("setup")) as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens pages; a script error, a broken policy or a request elsewhere fails the test at its end."""
    contexts, faults = [], list[str]()

    def open_page(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DISPLAY, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SLOW_MS)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def give_code(page: Page, code: str) -> None:
    page.fill("#code", code)
    page.click("[type=submit]")
    page.wait_for_selector("#questions")


def look(page: Page, camera: MjpegCamera) -> None:
    page.select_option("#camera", "network")
    page.fill("#address", camera.url)
    page.click("#look")
    page.wait_for_selector("#live:not([hidden])")


def has_room(page: Page) -> bool:
    """Whether nothing is wider than the display."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_by_touch_alone_on_the_device_s_own_small_display(tmp_path: Path, opened: Open, camera: MjpegCamera) -> None:
    """As the kiosk's browser opens it: the wall's address, and no keyboard."""
    with SetupStage(tmp_path) as stage:
        page = opened(f"{stage.url}/?wall", has_touch=True)
        for digit in stage.code.replace("-", ""):
            page.get_by_role("button", name=digit, exact=True).tap()
        expect(page.locator("[type=submit]")).to_be_in_viewport(ratio=1)
        page.locator("[type=submit]").tap()
        page.wait_for_selector("#questions")
        page.get_by_text("A school, or any place of education").tap()
        expect(page.locator("#place-error")).to_contain_text("banned in the EU")
        expect(page.locator("#send")).to_be_disabled()
        page.get_by_text("An event or a fair").tap()
        look(page, camera)
        expect(page.locator("#faces-seen li")).to_have_count(1)
        expect(page.locator("#faces-seen")).to_contain_text("upright and well lit")
        page.get_by_text("The one on this device", exact=True).tap()
        expect(page.locator("#broker-words")).not_to_be_empty()
        page.get_by_text("None: the page alone").tap()
        page.get_by_text("This device's own display").tap()
        page.locator("#send").tap()
        page.wait_for_url("**/setup/wait?wall")
        expect(page.get_by_role("link", name="Open the page")).to_have_attribute("href", "/?wall")
        config = load_config(stage.places.config / "agent.yaml", {})
        assert (config.kiosk.enabled, config.kiosk.host, config.mqtt.enabled) == (True, "127.0.0.1", False)
        wait_until(lambda: stage.process.poll() == 0, 60, "the end of the server")


def test_a_wrong_answer_is_told_and_the_rest_stays(stage: SetupStage, opened: Open) -> None:
    page = opened(f"{stage.url}/setup")
    page.fill("#code", "00000000")
    page.click("[type=submit]")
    expect(page.get_by_role("alert")).to_contain_text("not the code")
    give_code(page, make_code(stage.places))
    page.get_by_text("At home").check()
    page.get_by_text("Nobody", exact=True).check()
    page.select_option("#camera", "network")
    page.click("#send")
    expect(page.locator("#error")).to_contain_text("An answer is missing")
    page.fill("#address", "/etc/passwd")
    page.click("#send")
    expect(page.locator("#error-detail")).to_contain_text("must be a camera from the list")
    page.get_by_text("Another one", exact=True).check()
    page.fill("#host", "mqtt://hub:1883")
    page.press("#host", "Tab")
    expect(page.locator("#broker-detail")).to_contain_text("write host: hub, port: 1883")
    expect(page.get_by_label("At home")).to_be_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(stage: SetupStage, opened: Open, camera: MjpegCamera, scheme: str) -> None:
    page = opened(f"{stage.url}/setup", color_scheme=scheme, has_touch=True)
    for prepare in (lambda: None, lambda: give_code(page, make_code(stage.places)), lambda: look(page, camera)):
        prepare()
        results = Axe().run(page, options=AXE)
        assert results.violations_count == 0, results.generate_report()


def test_every_language_fits_a_display_and_a_phone(stage: SetupStage, opened: Open) -> None:
    page = opened(f"{stage.url}/setup?lang=de")
    assert has_room(page)
    give_code(page, make_code(stage.places))
    for tag in available():
        page.goto(f"{stage.url}/setup?lang={tag}")
        page.locator("[name=broker][value=other]").check()
        for size in (DISPLAY, PHONE):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            assert has_room(page), (tag, size)
        assert "setup_" not in page.locator("main").inner_text()
