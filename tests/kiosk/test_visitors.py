"""What passers-by do with the page in a real Chromium: hand in pictures, open things, and go away."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.broker import wait_until
from tests.support.kiosk_browser import Open, has_state, write_picture
from tests.support.kiosk_stage import Stage
from tests.support.windows import LABELS

# -- reading a picture ----------------------------------------------------------------------------------------------


def test_a_chosen_picture_is_shown_with_a_box_around_the_face_and_its_shares(opened: Open, tmp_path: Path):
    page = opened("/predict")
    page.set_input_files("#picture", write_picture(tmp_path))
    expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)
    image, box = page.locator(".picture img").bounding_box(), page.locator(".picture .box").bounding_box()
    assert image is not None
    assert box is not None
    nose = image["x"] + image["width"] * 225 / 512, image["y"] + image["height"] * 120 / 512
    assert box["x"] < nose[0] < box["x"] + box["width"]
    assert box["y"] < nose[1] < box["y"] + box["height"]
    assert box["width"] < image["width"] / 3
    first = page.locator(".findings .bar").first
    expect(first.locator(".name")).to_have_text("Happy")
    assert page.locator(".findings .bar").count() == len(LABELS)
    assert page.evaluate("document.activeElement.id") == "found"


def test_several_faces_are_numbered_and_read_one_by_one(opened: Open, tmp_path: Path):
    twice = cv2.hconcat([cv2.imread(str(write_picture(tmp_path)))] * 2)
    cv2.imwrite(str(tmp_path / "two.png"), twice)
    page = opened("/predict")
    page.set_input_files("#picture", tmp_path / "two.png")
    expect(page.locator("#found")).to_have_text("Faces found: 2", timeout=60_000)
    assert page.locator(".tag-words").all_text_contents() == ["1", "2"]
    cards = page.locator(".strip li").all_text_contents()
    assert [card.split()[:2] for card in cards] == [["1", "Happy"], ["2", "Happy"]]
    assert page.locator(".findings .bar").count() == len(LABELS)


def test_no_tag_is_cut_off_or_covers_another(opened: Open, tmp_path: Path):
    """Faces that touch the upper edge and each other, as in a group photograph."""
    her = cv2.imread(str(write_picture(tmp_path)))[42:242, 130:310]
    cv2.imwrite(str(tmp_path / "group.png"), cv2.vconcat([cv2.hconcat([her] * 4)] * 2))
    page = opened("/predict")
    page.set_input_files("#picture", tmp_path / "group.png")
    expect(page.locator("#found")).to_have_text(re.compile(r"[5-8]$"), timeout=60_000)
    boxes = """name => [...document.querySelectorAll(name)].map((e) => e.getBoundingClientRect())
      .map((box) => [box.left, box.top, box.right, box.bottom])"""
    tags, (frame,) = page.evaluate(boxes, ".tag"), page.evaluate(boxes, ".picture img")
    assert len(tags) == page.locator(".picture .box").count()
    for number, (left, top, right, bottom) in enumerate(tags):
        assert (left >= frame[0] - 1, top >= frame[1] - 1) == (True, True)
        assert (right <= frame[2] + 1, bottom <= frame[3] + 1) == (True, True)
        for other in tags[:number]:
            assert right <= other[0] + 1 or other[2] <= left + 1 or bottom <= other[1] + 1 or other[3] <= top + 1


def test_several_pictures_are_read_and_saved_as_csv_and_as_a_picture(opened: Open, tmp_path: Path):
    (tmp_path / "note.txt").write_text("hello", encoding="utf-8")
    cv2.imwrite(str(tmp_path / "=two.png"), cv2.hconcat([cv2.imread(str(write_picture(tmp_path)))] * 2))
    page = opened("/predict")
    page.set_input_files("#picture", [tmp_path / "=two.png", tmp_path / "note.txt", tmp_path / "her.jpg"])
    expect(page.locator("#found")).to_have_text("Faces found: 3", timeout=60_000)
    expect(page.locator("article.read")).to_have_count(3)
    expect(page.locator("article .error")).to_have_text("This is not a JPEG, PNG or WebP picture.")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(saving.value.path().read_text(encoding="utf-8").splitlines()))
    assert [(row["picture"], row["face"], row["emotion"]) for row in rows] == [
        ("'=two.png", "1", "happy"),
        ("'=two.png", "2", "happy"),
        ("her.jpg", "1", "happy"),
    ]
    assert all(sum(float(row[label]) for label in LABELS) == pytest.approx(100, abs=0.5) for row in rows)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save this picture").last.click()
    assert saving.value.suggested_filename == "her-countenance.png"
    saved, plain = cv2.imread(str(saving.value.path())), cv2.imread(str(tmp_path / "her.jpg"))
    assert saved.shape[0] > plain.shape[0]
    changed = np.abs(saved[: plain.shape[0]].astype(int) - plain).max(axis=2) > 60
    assert 0.005 < changed.mean() < 0.15, "boxes and words lie over the picture"


def test_why_colours_what_the_answer_hangs_on(opened: Open, tmp_path: Path):
    page = opened("/predict")
    page.set_input_files("#picture", write_picture(tmp_path))
    expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)
    expect(page.locator(".heat")).to_have_count(0)
    page.locator(".why").click()
    expect(page.locator(".heat")).to_have_count(36, timeout=60_000)
    strong = page.eval_on_selector_all(".heat", "all => all.map(one => Number(one.getAttribute('fill-opacity')))")
    assert max(strong) > 0.2
    expect(page.locator(".why")).to_have_count(0)
    expect(page.locator("#reading")).to_contain_text("The stronger the colour")


def test_a_picture_can_be_dropped(opened: Open, tmp_path: Path):
    page = opened("/predict")
    data = list(write_picture(tmp_path).read_bytes())
    page.evaluate(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "her.jpg", { type: "image/jpeg" }));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
        }""",
        data,
    )
    expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)


def test_a_picture_can_be_taken_with_the_browser_s_camera(opened: Open):
    """Chromium's fake camera shows a green screen without a face."""
    page = opened("/predict")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#found")).to_have_text("No face was found in this picture.", timeout=60_000)
    expect(page.locator("#booth")).to_be_hidden()


WATCH_CAMERAS = """() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.tracks = [];
  window.allow = Promise.resolve();
  navigator.mediaDevices.getUserMedia = async (wishes) => {
    await window.allow;
    const stream = await open(wishes);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
}"""
TRACKS = "window.tracks.map((track) => track.readyState)"


def test_no_camera_goes_on_however_often_it_was_asked_for(opened: Open):
    page = opened("/predict")
    page.evaluate(WATCH_CAMERAS)
    page.evaluate("for (let n = 0; n < 2; n++) document.getElementById('camera').click()")
    expect(page.locator("#booth")).to_be_visible()
    assert "live" in page.evaluate(TRACKS)
    expect(page.locator("#camera")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    assert set(page.evaluate(TRACKS)) == {"ended"}
    expect(page.locator("#camera")).to_be_focused()
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#booth")).to_be_visible()


def test_a_camera_that_is_allowed_once_the_page_was_left_is_ended_at_once(opened: Open):
    page = opened("/predict")
    page.evaluate(WATCH_CAMERAS)
    page.evaluate("() => { window.allow = new Promise((resolve) => { window.answer = resolve; }); }")
    page.get_by_role("button", name="Use the camera").click()
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    page.evaluate("window.answer()")
    wait_until(lambda: page.evaluate(TRACKS) == ["ended"], 5, "the camera to be opened and ended")
    expect(page.locator("#booth")).to_be_hidden()
    expect(page.locator("#error")).to_be_empty()


def test_a_camera_that_cannot_be_shown_is_ended_and_explained(opened: Open):
    page = opened("/predict")
    page.evaluate(WATCH_CAMERAS)
    page.evaluate("() => { HTMLVideoElement.prototype.play = () => Promise.reject(new DOMException()); }")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#error")).not_to_be_empty()
    assert page.evaluate(TRACKS) == ["ended"]


def test_bad_files_are_explained_in_the_page_s_language(opened: Open, tmp_path: Path):
    page = opened("/predict?lang=de")
    (tmp_path / "note.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "fake.jpg").write_bytes(b"hello")
    (tmp_path / "cut.jpg").write_bytes(write_picture(tmp_path).read_bytes()[:300])
    (tmp_path / "huge.png").write_bytes(bytes(20_000_001))
    for name, said in (
        ("note.txt", "kein JPEG"),
        ("fake.jpg", "kein JPEG"),
        ("cut.jpg", "lässt sich nicht lesen"),
        ("huge.png", "größer als 20 MB"),
    ):
        page.set_input_files("#picture", tmp_path / name)
        expect(page.locator("#error")).to_contain_text(said, timeout=60_000)
        page.evaluate("document.getElementById('error').textContent = ''")


def test_where_others_can_reach_it_the_page_asks_for_the_token(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COUNTENANCE_KIOSK_TOKEN", "open sesame")
    with Stage(tmp_path, kiosk={"host": "0.0.0.0", "predict": "always"}) as stage, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{stage.url}/predict")
        page.set_input_files("#picture", write_picture(tmp_path))
        expect(page.locator("#error")).to_have_text("The token is missing or wrong.")
        page.get_by_label("Token").fill("open sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)
        expect(page.locator("#error")).to_be_empty()


def test_a_form_works_without_script(opened: Open, tmp_path: Path):
    page = opened("/predict", java_script_enabled=False)
    page.set_input_files("#picture", write_picture(tmp_path))
    page.get_by_role("button", name="Read it").click(timeout=60_000)
    page.wait_for_selector(".shares .bar")
    assert page.locator(".shares .name").first.text_content() == "Happy"


# -- when nobody is there any more ----------------------------------------------------------------------------------


def opened_with_clock(opened: Open, path: str) -> Page:
    """A page whose time a test can move on."""
    page = opened("/healthz")
    page.clock.install()
    page.goto(page.url.replace("/healthz", path))
    return page


def with_picture(opened: Open, folder: Path, path: str = "/predict") -> Page:
    page = opened_with_clock(opened, path)
    page.set_input_files("#picture", write_picture(folder))
    expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)
    return page


def test_a_picture_that_is_left_alone_goes_after_a_minute_and_the_board_returns(opened: Open, tmp_path: Path):
    page = with_picture(opened, tmp_path, "/predict?theme=dark&lang=en")
    page.clock.fast_forward(41_000)
    expect(page.locator("#leaving")).to_contain_text("closes in 20 seconds")
    for _ in range(10):  # WCAG 2.2.1: time can be extended at least ten times
        page.clock.fast_forward(15_000)
        page.keyboard.press("Shift")
        expect(page.locator("#leaving")).to_be_empty()
        expect(page.locator(".picture")).to_be_visible()
        page.clock.fast_forward(41_000)
    page.clock.fast_forward(20_000)
    page.wait_for_url("**/?lang=en&theme=dark")
    has_state(page, "live")


@pytest.mark.parametrize("touch", ["pointer", "wheel", "focus", "scroll"])
def test_any_input_counts(opened: Open, touch: str):
    page = opened_with_clock(opened, "/predict")
    page.set_viewport_size({"width": 400, "height": 300})
    page.clock.fast_forward(50_000)
    {
        "pointer": lambda: page.mouse.move(50, 60),
        "wheel": lambda: page.mouse.wheel(0, 40),
        "focus": lambda: page.locator("#choose input").focus(),
        "scroll": lambda: page.evaluate("scrollBy(0, 30)"),
    }[touch]()
    expect(page.locator("#leaving")).to_be_empty()
    page.clock.fast_forward(39_000)
    expect(page.locator("#leaving")).to_be_empty()


def test_no_time_runs_out_while_a_picture_is_read(opened: Open, tmp_path: Path):
    page = opened_with_clock(opened, "/predict")
    held: list[Any] = []
    page.route("**/api/predict", lambda route: held.append(route))
    page.set_input_files("#picture", write_picture(tmp_path))
    expect(page.locator("#working")).not_to_be_empty()
    page.clock.fast_forward(300_000)
    expect(page.locator("#leaving")).to_be_empty()
    held[0].continue_()
    expect(page.locator("#found")).to_have_text("Faces found: 1", timeout=60_000)
    page.clock.fast_forward(61_000)
    page.wait_for_url("**/")


def test_a_late_answer_about_an_earlier_picture_is_not_shown(opened: Open, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "two.png"), cv2.hconcat([cv2.imread(str(write_picture(tmp_path)))] * 2))
    page = opened_with_clock(opened, "/predict")
    held: list[Any] = []
    page.route("**/api/predict", lambda route: held.append(route))
    for number, name in enumerate(("her.jpg", "two.png"), 1):
        page.set_input_files("#picture", tmp_path / name)
        while len(held) < number:
            page.wait_for_timeout(50)
    held[1].continue_()
    expect(page.locator("#found")).to_have_text("Faces found: 2", timeout=60_000)
    with page.expect_response("**/api/predict"):
        held[0].continue_()
    page.evaluate("fetch('/healthz')")
    expect(page.locator("#found")).to_have_text("Faces found: 2")
    expect(page.locator(".picture")).to_have_count(1)
    page.clock.fast_forward(61_000)
    page.wait_for_url("**/")


def test_an_answer_after_the_page_was_left_brings_no_picture_back(opened: Open, tmp_path: Path):
    page = opened_with_clock(opened, "/predict")
    held: list[Any] = []
    page.route("**/api/predict", lambda route: held.append(route))
    page.set_input_files("#picture", write_picture(tmp_path))
    expect(page.locator("#working")).not_to_be_empty()
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    expect(page.locator("#working")).to_be_empty()
    with page.expect_response("**/api/predict"):
        held[0].continue_()
    page.evaluate("fetch('/healthz')")
    expect(page.locator(".picture")).to_have_count(0)
    page.clock.fast_forward(61_000)
    page.wait_for_url("**/")


def test_no_time_runs_out_in_the_background(opened: Open, tmp_path: Path):
    page = with_picture(opened, tmp_path)
    turn = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(turn, True)
    page.clock.fast_forward(300_000)
    expect(page.locator(".picture")).to_be_visible()
    page.evaluate(turn, False)
    page.clock.fast_forward(41_000)
    expect(page.locator("#leaving")).not_to_be_empty()


def test_without_the_agent_the_picture_goes_and_the_page_waits_for_it(opened: Open, tmp_path: Path):
    """Rather than end on the browser's error page, from which nothing leads back."""
    page = with_picture(opened, tmp_path)
    page.route("**/healthz", lambda route: route.abort())
    page.clock.fast_forward(61_000)
    expect(page.locator(".picture")).to_have_count(0)
    assert page.url.endswith("/predict")
    page.unroute("**/healthz")
    page.clock.fast_forward(61_000)
    page.wait_for_url("**/")


def test_a_page_that_was_left_keeps_no_picture_for_the_way_back(opened: Open, tmp_path: Path):
    page = with_picture(opened, tmp_path)
    address = page.locator(".picture img").get_attribute("src")
    load = "(src) => Object.assign(new Image(), { src }).decode().then(() => 'there', () => 'gone')"
    assert page.evaluate(load, address) == "there"
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    expect(page.locator(".picture")).to_have_count(0)
    assert page.evaluate(load, address) == "gone"


def test_a_wall_has_no_ways_out_and_puts_itself_back(opened: Open):
    page = opened_with_clock(opened, "/?wall&lang=en")
    page.wait_for_selector("#chart .column")
    expect(page.locator("a:not(.skip)")).to_have_count(0)
    page.get_by_role("button", name="15 minutes").click()
    page.get_by_role("button", name="As a table").click()
    page.clock.fast_forward(50_000)
    expect(page.locator("#table")).to_be_visible()
    page.clock.fast_forward(11_000)
    expect(page.locator("#table")).to_be_hidden()
    expect(page.locator("[data-span=hour]")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.activeElement === document.body")
    assert not page.evaluate("dispatchEvent(new MouseEvent('contextmenu', { cancelable: true }))")


def test_elsewhere_a_reader_s_table_stays_open(opened: Open):
    page = opened_with_clock(opened, "/")
    page.wait_for_selector("#chart .column")
    page.get_by_role("button", name="As a table").click()
    page.clock.fast_forward(300_000)
    expect(page.locator("#table")).to_be_visible()
