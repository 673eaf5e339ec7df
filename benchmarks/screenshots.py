"""``make screenshots``: every state of the page, as docs/ and the README show them, taken by a real Chromium.

Run from the repository root: ``python -m benchmarks.screenshots [FOLDER]``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.kiosk_stage import Stage

TARGET = Path("docs/figures")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SETTLED_MS = 1400
WALL, PORTRAIT, PHONE, SMALL = (1920, 1080), (1080, 1920), (390, 844), (1280, 720)
TOUCH = 800, 480
"""The Raspberry Pi's own display, which has no room for the trend."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: the state that is played, and the size of the browser window."""

    name: str
    state: str = "live"
    size: tuple[int, int] = SMALL
    query: str = "theme=light"
    scale: float = 1.0


SHOTS = (
    Shot("page", size=WALL, scale=2 / 3),
    Shot("page-dark", size=WALL, scale=2 / 3, query="theme=dark"),
    Shot("page-wall", "changed", size=TOUCH, query="wall&theme=light"),
    Shot("page-far", "changed", size=WALL, scale=0.5, query="wall&theme=dark&distance=5"),
    Shot("page-portrait", size=PORTRAIT, scale=0.5),
    Shot("page-phone", size=PHONE, query="theme=dark"),
    Shot("page-arabic", query="theme=light&lang=ar"),
    *(
        Shot(f"page-{state}", state, query=f"theme={theme}", scale=0.5)
        for state, theme in (
            ("nobody", "light"),
            ("too_few", "light"),
            ("rolling", "dark"),
            ("paused", "light"),
            ("camera_off", "dark"),
            ("starting", "light"),
            ("stale", "light"),
            ("agent_down", "light"),
        )
    ),
)


def take(browser: Browser, shot: Shot, stage: Stage, *, target: Path) -> None:
    """Play the state and write ``<name>.png``; after ``agent_down`` the stage is over."""
    stage.play("live" if shot.state == "agent_down" else shot.state)
    page = open_page(browser, shot)
    page.goto(f"{stage.url}/?{shot.query}")
    page.wait_for_selector("#chart .column", state="attached")
    if shot.state == "agent_down":
        stage.kiosk.stop()
    page.wait_for_timeout(SETTLED_MS)
    write(page, shot, target)


def take_prediction(browser: Browser, target: Path) -> None:
    """The page that reads a picture, with the one that comes with scikit-image."""
    from skimage.data import astronaut

    shot = Shot("page-predict", size=(1280, 900), scale=0.6)
    with Stage() as stage, tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "astronaut.jpg"
        cv2.imwrite(str(picture), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
        page = open_page(browser, shot)
        page.goto(f"{stage.url}/predict?{shot.query}")
        page.set_input_files("#picture", picture)
        page.wait_for_selector(".findings", timeout=60_000)
        page.wait_for_timeout(SETTLED_MS)
        write(page, shot, target)


def open_page(browser: Browser, shot: Shot) -> Page:
    """A tab that shows ``shot.size`` CSS pixels."""
    width, height = shot.size
    return browser.new_context(viewport={"width": width, "height": height}).new_page()


def write(page: Page, shot: Shot, target: Path) -> None:
    """Save the tab, scaled down for the repository, and close it."""
    path = target / f"{shot.name}.png"
    page.screenshot(path=path)
    page.context.close()
    picture = cv2.imread(str(path))
    if shot.scale != 1.0:
        picture = cv2.resize(picture, None, fx=shot.scale, fy=shot.scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{path}  {picture.shape[1]} x {picture.shape[0]}  {path.stat().st_size // 1024} KB")


def main() -> None:
    """Take all, or those whose names contain an argument's text."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    wanted = sys.argv[2:] or [""]
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with Stage() as stage:
            stage.remember(hours=24)
            for shot in SHOTS:
                if any(text in shot.name for text in wanted):
                    take(browser, shot, stage, target=target)
        if any(text in "page-predict" for text in wanted):
            take_prediction(browser, target)
        browser.close()


if __name__ == "__main__":
    main()
