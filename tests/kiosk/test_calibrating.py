"""``/calibrate``: on this machine, with the token, by at least five people; nothing is kept before the end."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from edge_agent.config import Config, DetectorConfig
from edge_agent.detectors import load_detector
from edge_agent.errors import InputError
from edge_agent.shares.site import LEAST_PEOPLE
from edge_agent.shares.window import Window
from edge_agent.types import Frame
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import Pipeline
from edge_agent.vision.site_file import read_site
from edge_agent.vision.sitting import APART_S, ASK_S, READY_S, Calibrator, Sitting
from tests.support.faces import astronaut_bgr
from tests.support.kiosk_stage import Stage
from tests.support.windows import LABELS

TOKEN = "let me calibrate"
CLASSES = len(LABELS)


class Hand:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def calibrator(tmp_path: Path) -> Calibrator:
    made = Calibrator(Classifier(load_model()), tmp_path / "site.json")
    made.sitting = Sitting(LABELS, Hand())
    return made


def sit(sitting: Sitting, rng: np.random.Generator, tilt: np.ndarray, sharp: float = 3.0) -> None:
    """One person shows everything that is asked for; the camera adds ``tilt`` to each answer."""
    clock: Hand = sitting._clock  # type: ignore[assignment]
    begun_s = clock.now_s
    sitting.begin()
    while clock.now_s < begun_s + ASK_S * CLASSES:
        if sitting.wants:
            logits = rng.normal(size=CLASSES) + tilt
            logits[int((clock.now_s - begun_s) / ASK_S)] += sharp
            sitting.take(logits.astype(np.float32))
        clock.now_s += 0.1


def test_faces_are_taken_apart_and_after_a_moment_to_change(calibrator: Calibrator):
    sitting = calibrator.sitting
    clock: Hand = sitting._clock  # type: ignore[assignment]
    assert not sitting.wants
    sitting.begin()
    assert sitting.progress.asked == LABELS[0]
    assert not sitting.wants
    clock.now_s += READY_S
    assert sitting.wants
    sitting.take(np.zeros(CLASSES, np.float32))
    assert not sitting.wants
    clock.now_s += APART_S
    assert sitting.wants
    clock.now_s += ASK_S - READY_S - APART_S
    assert sitting.progress.asked == LABELS[1]
    assert not sitting.wants


def test_a_sitting_becomes_a_calibration_with_five_people_and_is_forgotten(calibrator: Calibrator, tmp_path: Path):
    rng, tilt = np.random.default_rng(1), np.array([2.0, 0.0, -2.0, 0.0, 1.0, 0.0, -1.0])
    for number in range(LEAST_PEOPLE):
        assert calibrator.sitting.progress.people == number
        with pytest.raises(InputError, match=f"at least {LEAST_PEOPLE}"):
            calibrator.finish()
        sit(calibrator.sitting, rng, tilt)
    faces = calibrator.sitting.progress.faces
    site = calibrator.finish()
    assert site.error_after < site.error_before
    assert len(read_site(tmp_path / "site.json").reference.labels) == faces
    assert calibrator.sitting.progress.faces == 0


def test_who_shows_nothing_that_was_asked_for_teaches_nothing(calibrator: Calibrator, tmp_path: Path):
    rng = np.random.default_rng(2)
    for _ in range(LEAST_PEOPLE):
        sit(calibrator.sitting, rng, np.zeros(CLASSES), sharp=0.0)
    with pytest.raises(InputError, match="say nothing of what they were asked for"):
        calibrator.finish()
    assert not (tmp_path / "site.json").exists()
    assert calibrator.sitting.progress.people == LEAST_PEOPLE, "they may try again"


def test_the_page_leads_through_it(calibrator: Calibrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Refused without the token; then person after person, until it may be learnt from."""
    monkeypatch.setenv("COUNTENANCE_KIOSK_TOKEN", TOKEN)
    with Stage(tmp_path, calibrator=calibrator) as stage, httpx.Client(base_url=stage.url) as client:
        for method, path in (("GET", ""), ("POST", "/begin"), ("POST", "/finish"), ("POST", "/clear")):
            refused = client.request(method, f"/calibrate{path}", auth=("", "guess"))
            assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
        assert calibrator.sitting.progress.asked is None
        client.auth = ("", TOKEN)
        assert "At least 5 people are needed" in client.get("/calibrate").text
        begun = client.post("/calibrate/begin", follow_redirects=True)
        assert "Please show: Angry" in begun.text
        assert 'http-equiv="refresh"' in begun.text
        early = client.post("/calibrate/finish")
        assert (early.status_code, "at least 5 are needed" in early.text) == (409, True)
        client.post("/calibrate/clear")
        rng = np.random.default_rng(3)
        for _ in range(LEAST_PEOPLE):
            sit(calibrator.sitting, rng, np.array([2.0, 0.0, -2.0, 0.0, 1.0, 0.0, -1.0]))
        page = client.get("/calibrate")
        assert "Learn from them" in page.text
        assert "http-equiv" not in page.text
        done = client.post("/calibrate/finish", timeout=60)
        assert (done.status_code, "Done. Shares are" in done.text) == (200, True)
        assert (tmp_path / "site.json").exists()


@pytest.mark.parametrize(
    ("token", "kiosk"), [(None, {}), (TOKEN, {"allowed_hosts": ["wall.example"]}), (TOKEN, {"host": "0.0.0.0"})]
)
def test_it_is_off_without_a_token_and_where_others_can_reach_the_page(
    calibrator: Calibrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, kiosk: dict[str, object]
):
    monkeypatch.delenv("COUNTENANCE_KIOSK_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("COUNTENANCE_KIOSK_TOKEN", token)
    with Stage(tmp_path, kiosk=kiosk, calibrator=calibrator) as stage:
        url = f"http://127.0.0.1:{stage.config.kiosk.port}"
        refused = httpx.post(f"{url}/calibrate/begin", auth=("", TOKEN))
    assert (refused.status_code, "on the device itself only" in refused.text) == (403, True)
    assert calibrator.sitting.progress.asked is None


def test_only_somebody_alone_in_view_is_taken(tmp_path: Path):
    """Through the device's own pipeline; whoever else is in view did not agree."""
    config, sitting = Config(), Sitting(LABELS, clock := Hand())
    classifier = Classifier(load_model())
    window = Window(config.window, config.privacy, classifier.share_estimator())
    detector = load_detector(DetectorConfig())
    pipeline = Pipeline(
        detector, classifier, window, observe=lambda _stage, _s: None, limits=config.faces, sitting=sitting
    )
    one = astronaut_bgr()[40:300, 120:330]
    taken: dict[str, int] = {}
    for name, picture in (("nobody", np.zeros_like(one)), ("two", np.hstack([one, one])), ("one", one)):
        sitting.clear()
        sitting.begin()
        for number in range(10):
            clock.now_s += APART_S
            pipeline.process(Frame(picture, clock.now_s + number / 100))
        pipeline.forget()
        clock.now_s += ASK_S * CLASSES
        taken[name] = sitting.progress.faces
    assert taken["nobody"] == taken["two"] == 0
    assert taken["one"] > 0
