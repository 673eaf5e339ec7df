"""The page in a real Chromium: what people see, with keyboard, screen reader, small and huge screens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect
from skimage.data import astronaut

from edge_agent.kiosk.language import available, load_language
from tests.support.broker import free_port
from tests.support.kiosk_browser import WALL, Open, has_state, write_picture
from tests.support.kiosk_stage import TYPICAL, Stage, report_of, shares_of
from tests.support.windows import LABELS

MAX_PAGE_BYTES = 160_000
FIRST_PAINT_MS = 1000


# -- what is shown --------------------------------------------------------------------------------------------------


def test_figures_change_by_themselves_as_windows_close(stage: Stage, opened: Open):
    page = opened()
    expect(page.locator("#hero-number")).to_have_text("23")
    page.evaluate("window.same = true")
    stage.tell(report_of(shares_of({**TYPICAL, "sad": 200.0}, people=31)))
    expect(page.locator("html")).to_have_attribute("data-mood", "sad")
    expect(page.locator("#hero-number")).to_have_text("31")
    expect(page.locator("#hero-lead")).to_have_text("in the last 10 seconds")
    sad = page.locator(".bar[data-label=sad]")
    expect(sad.locator(".value")).to_have_text("68%")
    page.wait_for_function(
        "() => document.getAnimations().length === 0 || document.getAnimations().every((a) => a.animationName)"
    )
    track, fill, value = (sad.locator(part).bounding_box() for part in (".track", ".fill", ".value"))
    assert track is not None
    assert fill is not None
    assert value is not None
    assert fill["width"] / track["width"] == pytest.approx(0.68, abs=0.02)
    assert value["x"] == pytest.approx(track["x"] + 0.83 * track["width"], abs=0.02 * track["width"]), "beside its bar"
    assert page.evaluate("window.same")


def test_the_headline_tells_a_change_and_else_that_none_is_known(stage: Stage, opened: Open):
    """The same with and without script; and never the first bar again."""
    for state, texts in (
        ("live", ("23", "People counted", "in the last 10 seconds", "No difference known. Compared with: an hour ago")),
        ("changed", ("", "Sad", "more often than an hour ago", r"50% in the last 15 minutes, \d% then")),
    ):
        stage.play(state)
        for javascript in (True, False):
            page = opened(java_script_enabled=javascript)
            stage.play(state)
            for name, words in zip(("number", "word", "lead", "text"), texts, strict=True):
                expect(page.locator(f"#hero-{name}")).to_have_text(re.compile(words) if name == "text" else words)


def test_every_state_looks_different(stage: Stage, opened: Open):
    page = opened()
    seen: set[tuple[str | None, ...]] = set()
    for state in ("live", "nobody", "too_few", "paused", "camera_off", "starting", "stale"):
        stage.play(state)
        has_state(page, state)
        words = page.locator("#chip").text_content(), page.locator("#hero-face").get_attribute("href")
        seen.add((*words, page.locator("#hero-word").text_content()))
        expect(page.locator(".value").first).to_have_text("46%" if state in ("live", "stale") else "–")
    assert len(seen) == 7


def test_a_stale_page_greys_out(stage: Stage, opened: Open):
    page = opened()
    stage.tell(report_of(shares_of(TYPICAL), age_s=34.0))
    has_state(page, "live")
    assert page.evaluate("getComputedStyle(document.querySelector('.hero')).filter") == "none"
    has_state(page, "stale")
    assert page.evaluate("getComputedStyle(document.querySelector('.hero')).filter") == "grayscale(1)"
    expect(page.locator("#last")).to_contain_text("Figures from")
    for words in ("#hero-lead", "#people"):  # "right now" and "in the last 10 seconds" would contradict it
        expect(page.locator(words)).to_be_empty()


def test_the_rolling_estimate_is_labelled_as_such(stage: Stage, opened: Open):
    page = opened()
    stage.play("rolling")
    has_state(page, "too_few")
    expect(page.locator("#hero-number")).to_have_text("41")
    expect(page.locator("#hero-lead")).to_have_text("in the last 15 minutes")


def test_unfamiliar_faces_are_named_in_words(stage: Stage, opened: Open):
    """Beside the figures, as soon as a window says so, and no longer than that; also without script."""
    page = opened()
    expect(page.locator("#range")).to_have_text(re.compile("^Outlined: best"))
    stage.tell(report_of(replace(shares_of(TYPICAL), familiar=0.1)))
    expect(page.locator("#range")).to_have_text(re.compile("unlike those this device was tested on"))
    expect(opened(java_script_enabled=False).locator("#range")).to_have_text(re.compile("unlike those"))
    stage.tell(report_of(shares_of(TYPICAL)))
    expect(page.locator("#range")).to_have_text(re.compile("^Outlined: best"))


def test_the_device_shows_its_name_when_asked(stage: Stage, opened: Open):
    page = opened()
    expect(page.locator("#identify")).to_be_hidden()
    stage.live.update(identified_monotonic_s=time.monotonic())
    expect(page.locator("#identify")).to_be_visible()
    expect(page.locator("#identify")).to_contain_text("Entrance hall")
    stage.live.update(identified_monotonic_s=None)
    expect(page.locator("#identify")).to_be_hidden()


def test_an_open_page_loads_itself_anew_after_an_update(stage: Stage, opened: Open, monkeypatch: pytest.MonkeyPatch):
    page = opened()
    page.evaluate("window.same = true")
    monkeypatch.setattr(stage.kiosk._site, "build", "newer")
    stage.tell(report_of(shares_of(TYPICAL, people=9)))
    page.wait_for_function("() => window.same === undefined")
    expect(page.locator("#hero-number")).to_have_text("9")


def test_an_open_page_takes_a_changed_configuration_with_its_remarks(browser: Browser, tmp_path: Path):
    port = free_port()
    page = browser.new_page()
    with Stage(tmp_path, port, privacy={"acknowledged_use": False, "min_people": 1}) as stage:
        stage.play("live")
        page.goto(stage.url)
        has_state(page, "live")
        expect(page.locator(".remark")).to_have_count(2)
    has_state(page, "agent_down")
    changed = {"title": "Foyer", "language": "de", "emotions": ["happy", "sad"]}
    with Stage(tmp_path, port, privacy={"acknowledged_use": True, "min_people": 5}, kiosk=changed) as stage:
        stage.play("too_few")
        expect(page.locator("h1")).to_have_text("Foyer", timeout=15_000)
        expect(page.locator("#hero-text")).to_contain_text("ab 5 Personen")
        expect(page.locator(".remark")).to_have_count(0)
        assert page.locator(".bar .value").all_text_contents() == ["–", "–"]
    page.close()


def test_withheld_figures_leave_nothing_drawn(stage: Stage, opened: Open):
    """No part of a bar of the window before."""
    page = opened()
    drawn = """[...document.querySelectorAll(".bar")].map((bar) =>
      [...bar.querySelectorAll("rect, .push")].map((part) => part.getAttribute("width")))"""
    nothing = [["0%"] * 4] * len(LABELS)
    assert all(widths != nothing[0] for widths in page.evaluate(drawn))
    stage.play("too_few")
    has_state(page, "too_few")
    assert page.evaluate(drawn) == nothing
    page.goto(stage.url)
    assert page.evaluate(drawn) == nothing


def test_a_bar_that_the_agent_no_longer_reports_is_emptied(stage: Stage, opened: Open, monkeypatch: pytest.MonkeyPatch):
    """In the moment before such a page reloads itself, and as long as it cannot."""
    page = opened()
    monkeypatch.setattr(stage.kiosk._site, "_shown", ("happy", "sad"))
    stage.play("live")
    expect(page.locator(".bar[data-label=neutral] .value")).to_have_text("–")
    assert page.locator(".bar[data-label=neutral] .fill").get_attribute("width") == "0%"


def test_the_trend_grows_with_what_there_is(stage: Stage, opened: Open):
    """From minutes on; the longest time of which a quarter is known, until somebody chooses."""
    page = opened("/healthz")
    known_s = [0.0]

    def answer(route: Route) -> None:
        body = route.fetch().json()
        first = datetime.now(timezone.utc) - timedelta(seconds=known_s[0])
        route.fulfill(json={**body, "first": first.isoformat()})

    page.route("**/api/history*", answer)
    for known_s[0], span in ((60.0, "minutes"), (1000.0, "hour"), (22_000.0, "day"), (160_000.0, "week")):
        page.goto(stage.url)
        expect(page.locator(f"[data-span={span}]")).to_have_attribute("aria-pressed", "true")
        page.wait_for_selector("#chart .column")
    assert page.locator("[data-span]:visible").count() == 4


def test_the_trend_has_a_scale_a_legend_and_room_for_its_columns(opened: Open):
    page = opened()
    page.wait_for_selector("#chart .column")
    assert page.locator("#chart .column").count() >= 25
    assert page.locator("#chart .scale").all_text_contents() == ["100%", "50%", "0%"]
    assert "Happy" in page.locator("#chart .key").all_text_contents()
    assert re.match(r"\d\d:(00|15|30|45)$", page.locator("#chart text:not([class])").first.text_content() or "")
    page.get_by_role("button", name="15 minutes").click()
    page.wait_for_function("() => document.querySelectorAll('#chart .column').length < 25")
    edges = page.evaluate(
        """[document.querySelector("#chart"), ...document.querySelectorAll("#chart .column")]
             .map((e) => e.getBoundingClientRect()).map((box) => [box.left, box.right])"""
    )
    left, right = edges[0]
    assert all(left - 1 <= start < end <= right + 1 for start, end in edges[1:])


def test_without_script_the_current_figures_are_there(opened: Open):
    page = opened(java_script_enabled=False)
    assert page.locator("#hero-number").text_content() == "23"
    assert page.locator(".bar[data-label=happy] .fill").get_attribute("width") == "46.0%"
    assert page.locator(".trend").is_hidden()
    box = page.locator(".bar[data-label=happy] .fill").bounding_box()
    assert box is not None
    assert box["width"] > 100


# -- the real agent -------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Starts ``edge-agent run`` over a film of one face, without a broker."""
    film = tmp_path / "film"
    film.mkdir()
    cv2.imwrite(str(film / "her.png"), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    port = free_port()
    settings = {
        "camera": {"backend": "replay", "source": str(film), "fps": 5},
        "faces": {"still_s": 0},  # the film is one photograph
        "window": {"seconds": 1, "rolling_s": 0},
        "privacy": {"min_people": 1},
        "mqtt": {"enabled": False},
        "store": {"path": str(tmp_path / "windows.sqlite")},
        "kiosk": {"enabled": True, "port": port},
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.yaml")]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                httpx.get(f"{url}/healthz")
                return url, running[-1]
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError("the agent's page did not come up")

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_the_page_survives_the_agent_s_death_and_return(
    browser: Browser, agent: Callable[[], tuple[str, subprocess.Popen[bytes]]]
):
    url, process = agent()
    page = browser.new_page()
    page.goto(url)
    has_state(page, "live")
    page.evaluate("window.same = true")
    expect(page.locator("html")).to_have_attribute("data-mood", "happy")
    os.kill(process.pid, signal.SIGKILL)
    has_state(page, "agent_down")
    assert page.locator("html").get_attribute("data-stale") is not None
    expect(page.locator("#hero-word")).to_have_text("No connection")
    expect(page.locator("#last")).to_contain_text("Figures from")
    process.wait()
    agent()
    expect(page.locator("html")).to_have_attribute("data-state", "live", timeout=15_000)
    assert page.locator("html").get_attribute("data-stale") is None
    assert page.evaluate("window.same")
    page.close()


# -- for everyone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(stage: Stage, opened: Open, theme: str, tmp_path: Path):
    """WCAG 2.1 A and AA and axe's best practices, in states that differ in kind, with the table, and with a picture."""
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
    page = opened(f"/?theme={theme}", reduced_motion="reduce")
    for state in ("live", "nobody", "camera_off", "stale"):
        stage.play(state)
        has_state(page, state)
        results = Axe().run(page, options=options)
        assert results.violations_count == 0, results.generate_report()
    page.get_by_role("button", name="As a table").click()
    results = Axe().run(page, options=options)
    assert results.violations_count == 0, results.generate_report()
    page = opened(f"/predict?theme={theme}", reduced_motion="reduce")
    page.set_input_files("#picture", write_picture(tmp_path))
    page.wait_for_selector(".findings", timeout=60_000)
    results = Axe().run(page, options=options)
    assert results.violations_count == 0, results.generate_report()


def test_everything_works_by_keyboard(opened: Open):
    page = opened()
    page.wait_for_selector("#chart .column")
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
    assert reached == [
        "Skip to the figures",
        "15 minutes",
        "Hour",
        "As a table",
        "Read a picture",
        "Download CSV",
    ]
    page.locator("[data-span=minutes]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-span=minutes]")).to_have_attribute("aria-pressed", "true")
    page.locator("#table-open").focus()
    page.keyboard.press("Space")
    expect(page.locator("#table")).to_be_visible()
    assert page.locator("#table-body tbody tr").count() >= 1
    page.keyboard.press("Escape")
    expect(page.locator("#table")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "table-open"


def test_a_screen_reader_hears_states_at_once_and_figures_politely(stage: Stage, opened: Open):
    page = opened()
    status = page.get_by_role("status").first
    expect(page.locator("#status")).to_have_text("Live: Happy 46%")
    stage.tell(report_of(shares_of({**TYPICAL, "sad": 200.0})))
    expect(page.locator("html")).to_have_attribute("data-mood", "sad")
    expect(page.locator("#status")).to_have_text("Live: Happy 46%")
    stage.play("paused")
    expect(page.locator("#status")).to_have_text("Paused")
    assert status is not None


INTERVALS = {
    "ar": ("٤٦٪", "بين ٢٨٪ و٦٤٪"),
    "de": ("46 %", "zwischen 28 % und 64 %"),
    "en": ("46%", "between 28% and 64%"),
    "es": ("46 %", "entre 28 % y 64 %"),
    "fr": ("46 %", "entre 28 % et 64 %"),
    "tr": ("%46", "%28 ile %64 arasında"),
}


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("language", available())
def test_who_does_not_see_the_pale_part_is_told_the_interval(opened: Open, language: str, javascript: bool):
    page = opened(f"/?lang={language}", java_script_enabled=javascript)
    spoken = (
        page.locator("#bars").aria_snapshot().replace("\N{NO-BREAK SPACE}", " ").replace("\N{ARABIC LETTER MARK}", "")
    )
    name = load_language(language).emotion("happy")
    assert " ".join((name, *INTERVALS[language])) in spoken


def test_the_spoken_interval_follows_the_figures(stage: Stage, opened: Open):
    page = opened()
    sad = page.locator(".bar[data-label=sad]")
    stage.tell(report_of(shares_of({**TYPICAL, "sad": 200.0}, people=31)))
    expect(sad).to_have_text("Sad68% between 54% and 83%")
    stage.play("too_few")
    expect(sad).to_have_text("Sad– ")


def test_the_table_has_the_bars_with_their_intervals_while_they_are_of_now(stage: Stage, opened: Open):
    page = opened()
    for state, span in (("live", "in the last 10 seconds"), ("rolling", "in the last 15 minutes")):
        stage.play(state)
        has_state(page, "live" if state == "live" else "too_few")
        page.get_by_role("button", name="As a table").click()
        cells = page.locator("#table-body tbody tr").first.locator("th, td")
        expect(cells.first).to_have_text(span)
        expect(cells.nth(1)).to_have_text(re.compile(r"^46%between \d+% and \d+%$"))
        assert cells.count() == 1 + len(LABELS)
        page.keyboard.press("Escape")
    for state in ("too_few", "stale"):
        stage.play(state)
        has_state(page, state)
        page.get_by_role("button", name="As a table").click()
        expect(page.locator("#table-body tbody th").first).to_have_text(re.compile(r"^\d\d:\d\d$"))
        page.keyboard.press("Escape")


def test_nothing_moves_for_those_who_ask_for_it(opened: Open):
    page = opened(reduced_motion="reduce")
    for selector in (".fill", ".hero", ".lamp"):
        style = page.evaluate(
            f"(s => [s.transitionProperty, s.animationName])(getComputedStyle(document.querySelector('{selector}')))"
        )
        assert style == ["none", "none"]


def test_the_theme_follows_the_system_unless_the_address_says_otherwise(stage: Stage, opened: Open):
    def paper(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light, dark = "rgb(251, 245, 234)", "rgb(22, 19, 29)"
    page = opened(color_scheme="light")
    assert paper(page) == light
    page.emulate_media(color_scheme="dark")
    assert paper(page) == dark
    page.goto(f"{stage.url}/?theme=light")
    assert paper(page) == light
    page.emulate_media(color_scheme="light")
    page.goto(f"{stage.url}/?theme=dark")
    assert paper(page) == dark


def test_the_trend_does_not_call_itself_empty_before_it_has_asked(opened: Open):
    page = opened("/healthz")
    page.route("**/api/history*", lambda route: None)
    page.goto(page.url.replace("/healthz", "/"))
    expect(page.locator("#chart .scale")).to_have_count(3)
    expect(page.locator("#trend-empty")).to_be_hidden()


def test_script_writes_numbers_as_the_server_does(stage: Stage, opened: Open):
    """Without script and with it the same digits, by our language file and by the browser's Intl."""
    page = opened()
    for language in available():
        server = re.findall(r'class="value">([^<]*)<', httpx.get(f"{stage.url}/?lang={language}").text)
        page.goto(f"{stage.url}/?lang={language}")
        page.evaluate("document.querySelectorAll('.value, #hero-number').forEach((e) => { e.textContent = ''; })")
        stage.play("live")
        page.wait_for_function("() => document.querySelector('.value').textContent !== ''")
        assert page.locator(".bar .value").all_text_contents() == server
        assert load_language(language).number(23) in (page.locator("#hero-number").text_content() or "")


# -- cost -----------------------------------------------------------------------------------------------------------


def visit(browser: Browser, url: str) -> tuple[float, dict[str, int]]:
    """A first visit with an empty cache: (milliseconds to the first paint, bytes of each answer)."""
    answers: list[Any] = []
    with browser.new_context(viewport=WALL) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.on("response", lambda answer: answers.append(answer))
        page.goto(url)
        page.wait_for_selector("#chart .column")
        page.evaluate("document.fonts.ready.then(() => true)")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        sizes = {answer.url: len(answer.body()) for answer in list(answers) if "/api/events" not in answer.url}
    return float(paint), sizes


@pytest.mark.parametrize("language", ["en", "tr", "ar"])
def test_the_page_paints_within_a_second_and_weighs_little(browser: Browser, stage: Stage, language: str):
    """The fastest of three visits: what else the machine does is not the page's doing."""
    stage.play("live")
    visits = [visit(browser, f"{stage.url}/?lang={language}") for _ in range(3)]
    sizes = visits[0][1]
    assert any("woff2" in url for url in sizes)
    assert sum(sizes.values()) < MAX_PAGE_BYTES, sizes
    assert min(paint for paint, _ in visits) < FIRST_PAINT_MS


@pytest.mark.parametrize("language", available())
def test_the_notice_stands_on_both_pages(stage: Stage, language: str):
    for path in ("/", "/predict"):
        page = httpx.get(f"{stage.url}{path}?lang={language}").text
        assert f"<strong>{load_language(language).texts['notice']}</strong>" in page
