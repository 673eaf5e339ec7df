"""The page in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from skimage.data import astronaut

from tests.support.kiosk_stage import Stage
from tests.support.programs import require

WALL = {"width": 1920, "height": 1080}
Open = Callable[..., Page]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser, with a camera that shows a test picture."""
    program = require("chromium", "chromium")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        running = playwright.chromium.launch(executable_path=program, args=arguments)
        yield running
        running.close()


@contextmanager
def pages_of(browser: Browser, stage: Stage) -> Iterator[Open]:
    """Opens pages of the stage; a script error, a broken policy or a request elsewhere fails the test at its end."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(path: str = "/", size: dict[str, int] = WALL, **options: Any) -> Page:
        context = browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda sent: _is_local(sent.url) or faults.append(f"request: {sent.url}"))
        page.goto(stage.url + path)
        return page

    stage.play("live")
    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:"))


def has_state(page: Page, state: str) -> None:
    expect(page.locator("html")).to_have_attribute("data-state", state, timeout=8000)


def write_picture(folder: Path) -> Path:
    path = folder / "her.jpg"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    return path
