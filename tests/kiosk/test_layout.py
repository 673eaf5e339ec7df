"""The page on screens of all sizes and in all languages, in a real Chromium: nothing overflows, nothing is hidden."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from edge_agent.kiosk.language import available, load_language
from tests.support.broker import wait_until
from tests.support.kiosk_browser import WALL, Open, has_state
from tests.support.kiosk_stage import Stage, report_of

SIZES = {
    "320px": {"width": 320, "height": 640},
    "phone": {"width": 390, "height": 844},
    "touch": {"width": 800, "height": 480},
    "larger touch": {"width": 1024, "height": 600},
    "tablet": {"width": 1024, "height": 768},
    "laptop": {"width": 1366, "height": 768},
    "wall": WALL,
    "portrait": {"width": 1080, "height": 1920},
    "4k": {"width": 3840, "height": 2160},
}
ON_ONE_SCREEN = ("larger touch", "laptop", "wall", "portrait", "4k")
FIGURES_ON_ONE_SCREEN = ("touch", "tablet", *ON_ONE_SCREEN)


@pytest.mark.parametrize("letter", ["W", "Westflügel "])
def test_the_longest_name_and_id_are_shown_whole(browser: Browser, tmp_path: Path, letter: str):
    device = {"id": "W" * 64, "name": (letter * 64)[:64].strip()}
    page = browser.new_page()
    with Stage(tmp_path, device=device) as stage:
        page.goto(f"{stage.url}/?wall")
        stage.live.update(identified_monotonic_s=time.monotonic() + 600)
        expect(page.locator("#identify")).to_be_visible()
        for width, height in (*WALLS, *((size["width"], size["height"]) for size in SIZES.values())):
            page.set_viewport_size({"width": width, "height": height})
            boxes = page.evaluate("""[...document.querySelectorAll("#identify bdi")]
                .flatMap((e) => [...e.getClientRects()]).map((box) => [box.left, box.top, box.right, box.bottom])""")
            lefts, tops, rights, bottoms = zip(*boxes, strict=True)
            assert (min(lefts) > 0, min(tops) > 0) == (True, True), (width, height)
            assert (max(rights) < width, max(bottoms) < height) == (True, True), (width, height)
    page.close()


OVERFLOW = """() => {
  const wide = [...document.querySelectorAll("body *:not(symbol *):not(dialog *):not(.hidden)")]
    .filter((e) => e instanceof HTMLElement && e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
    .map((e) => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`);
  const cut = [...document.querySelectorAll("h1, h2, p, .name, .value, button, a")]
    .filter((e) => e.offsetWidth > 1 && !e.closest("dialog") && !e.classList.contains("skip"))
    .filter((e) => { const r = e.getBoundingClientRect(); return r.left < -1 || r.right > innerWidth + 1; })
    .map((e) => `outside: ${e.textContent.trim().slice(0, 40)}`);
  const root = document.documentElement;
  const bars = document.getElementById("range").getBoundingClientRect().bottom - innerHeight;
  const [width, height] = [root.scrollWidth - innerWidth, root.scrollHeight - innerHeight];
  return { bars, wide: [...wide, ...cut], width, height };
}"""


@pytest.mark.parametrize("language", available())
def test_no_language_overflows_on_any_screen(stage: Stage, opened: Open, language: str):
    page = opened(f"/?lang={language}", reduced_motion="reduce")
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    for name, size in SIZES.items():
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for state in ("live", "too_few"):
            stage.play(state)
            has_state(page, state)
            found = page.evaluate(OVERFLOW)
            assert found["wide"] == [], (name, state)
            assert found["width"] <= 0, (name, state)
            if name in FIGURES_ON_ONE_SCREEN:
                assert found["bars"] <= 0, (name, state)
            if name in ON_ONE_SCREEN:
                assert found["height"] <= 0, (name, state)


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose page has every remark."""
    with Stage(tmp_path_factory.mktemp("wall"), privacy={"acknowledged_use": False, "min_people": 1}) as running:
        running.remember(hours=1.2, step_s=120)
        yield running


WALLS = (
    (800, 480),
    (1024, 600),
    (1024, 768),
    (1280, 400),
    (1280, 720),
    (1366, 768),
    (1440, 900),
    (1920, 1080),
    (1080, 1920),
)


@pytest.mark.parametrize("language", available())
@pytest.mark.parametrize("distance", [1, 3, 5])
def test_a_wall_shows_everything_at_once(browser: Browser, talkative: Stage, language: str, distance: int):
    """Nobody scrolls there; the smallest is the Raspberry Pi's own display."""
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{talkative.url}/?wall&lang={language}&distance={distance}")
    states = ("live", "changed", "rolling", "too_few", "nobody", "camera_off", "stale")
    for state in states if distance == 3 else ("changed", "rolling"):
        talkative.play(state)
        has_state(page, {"rolling": "too_few", "changed": "live"}.get(state, state))
        for width, height in WALLS:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function("() => document.documentElement.scrollHeight <= innerHeight")
            found = page.evaluate(OVERFLOW)
            assert found["wide"] == [], (width, height, state)
            assert found["width"] <= 0, (width, height, state)
            assert found["height"] <= 0, (width, height, state)
            face = page.locator(".hero .face").bounding_box()
            assert face is not None
            assert face["height"] > 40, (width, height, state)
    assert page.locator(".remark").all_text_contents() == [load_language(language).texts["demo_note"]]
    page.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage whose store is empty and whose page has every remark."""
    with Stage(tmp_path_factory.mktemp("fresh"), privacy={"acknowledged_use": False, "min_people": 1}) as running:
        running.live.update(report=report_of(None))
        yield running


OVER_FOOT = """() => {
  const lowest = (e) => e.getBoundingClientRect().bottom;
  const foot = document.querySelector(".foot").getBoundingClientRect().top;
  return [...document.querySelectorAll("main *:not(.hidden)")]
    .filter((e) => e.checkVisibility() && !e.closest("symbol") && lowest(e) > foot + 0.5)
    .map((e) => `${e.tagName} #${e.id}: ${lowest(e) - foot}`);
}"""


@pytest.mark.parametrize("language", available())
@pytest.mark.parametrize("query", ["", "wall&"], ids=["page", "wall"])
def test_without_any_history_nothing_lies_over_the_remarks(browser: Browser, fresh: Stage, query: str, language: str):
    page = browser.new_page(reduced_motion="reduce")
    page.goto(f"{fresh.url}/?{query}lang={language}")
    expect(page.locator("#trend-empty")).to_have_text(load_language(language).texts["trend_empty"])
    expect(page.locator("#trend-empty")).not_to_have_attribute("hidden", "")
    for width, height in (*WALLS, *((size["width"], size["height"]) for size in SIZES.values())):
        page.set_viewport_size({"width": width, "height": height})
        # The chart is drawn again when it has its new size.
        wait_until(lambda: page.evaluate(OVER_FOOT) == [], 5, lambda: f"{width}x{height}: {page.evaluate(OVER_FOOT)}")  # noqa: B023
        if page.locator(".trend").is_visible():
            words, chart = page.locator("#trend-empty").bounding_box(), page.locator("#chart").bounding_box()
            assert words is not None
            assert chart is not None
            assert chart["y"] <= words["y"] < words["y"] + words["height"] <= chart["y"] + chart["height"]
    page.close()
