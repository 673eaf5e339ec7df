"""A candidate reads the same pictures as the present model; what comes of it, and what is told of it."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Config
from edge_agent.shares.window import Window
from edge_agent.types import Frame, Shares
from edge_agent.updates import updater
from edge_agent.updates.news import Verdict, news_path, read_news
from edge_agent.updates.release import Rollout
from edge_agent.updates.releases import MOST_STARTS, PROBATION_S, Releases, in_use
from edge_agent.updates.shadow import WARM_UP, apart
from edge_agent.updates.updater import Wish
from edge_agent.vision.pipeline import Pipeline
from tests.support.model_releases import (
    SHIPPED,
    TINY,
    Owned,
    UpdatedDevice,
    crowd,
    make_device,
    make_repository,
    with_json,
)

PEOPLE = 12
SECTIONS: dict[str, Any] = {
    "detector": {"kind": "built_in", "looks_per_s": 0.2},  # a busy machine is no slow model
    "faces": {"still_s": 0},
    "privacy": {"min_people": 3, "acknowledged_use": True},
}


class Site:
    """A device before a crowd: what the agent's loop does, without its waiting."""

    def __init__(self, device: UpdatedDevice) -> None:
        self.device, self.releases = device, Releases(device.config)
        self.used, classifier, detector = self.releases.open()
        self.releases.__enter__()
        self._window = Window(device.config.window, device.config.privacy, classifier.share_estimator())
        self._pipeline = Pipeline(
            detector, classifier, self._window, observe=lambda _stage, _s: None, limits=device.config.faces
        )
        self._now_s, self._picture = time.monotonic(), crowd()

    def window(self, took_s: float = 0.01) -> Shares | None:
        """Four pictures, and the window ends."""
        for _ in range(4):
            self._now_s += 0.2
            frame = Frame(self._picture, self._now_s)
            self._pipeline.process(frame)
            self.releases.saw(frame, took_s)
        report = self._window.close(self._now_s)
        self.releases.closed(report, self._now_s)
        return report.shares

    def verdict(self, name: str) -> Verdict | None:
        return read_news(news_path(self.device.config)).verdicts.get(name)

    def windows_until_judged(self, name: str) -> int:
        for number in range(1, 40):
            assert self.window() is not None, "the crowd is found and published"
            verdict = self.verdict(name)
            if verdict is not None and verdict.passed is not None:
                return number
        raise AssertionError("never judged")


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Owned:
    """Releases that are good, angry at everybody, and that answer otherwise than they state."""
    folder = tmp_path_factory.mktemp("owned")
    owned = make_repository(folder)

    def angry(info: dict[str, Any]) -> None:
        for head in info["heads"].values():
            head["bias"][info["labels"].index("angry")] += 12.0

    def odd(info: dict[str, Any]) -> None:
        for heads in info["self_test"]["outputs"].values():
            heads["ferplus"][0][0] += 90

    owned.release("good", TINY, least_agreement=60.0)
    owned.release("angry", with_json(folder / "angry", SHIPPED, angry), least_agreement=60.0)
    owned.release("odd", with_json(folder / "odd", SHIPPED, odd))
    return owned


@pytest.fixture
def device(owned: Owned, tmp_path: Path, request: pytest.FixtureRequest) -> UpdatedDevice:
    return make_device(tmp_path / "porch", owned, **SECTIONS)


def takes(device: UpdatedDevice, name: str, monkeypatch: pytest.MonkeyPatch, **wish: bool) -> None:
    """The updater fetches and verifies it; the self-test has its own test."""
    with monkeypatch.context() as patched:
        patched.setattr(updater, "try_out", lambda _folder, _runtime: None)
        device.updater.pin(name, Wish(**wish))
        device.updater.unpin()


def test_a_good_candidate_passes_and_is_switched_to_between_two_windows(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(device)
    site.window()
    takes(device, "good", monkeypatch)
    number = site.windows_until_judged("good")
    assert number >= WARM_UP + 100 // PEOPLE, "nothing is told of fewer than 100 people"
    verdict = site.verdict("good")
    assert verdict is not None
    assert verdict.passed
    assert verdict.people is not None
    assert verdict.agreement is not None
    assert verdict.people >= 100
    assert 60 <= verdict.agreement < 100
    assert verdict.ms is not None
    assert verdict.ms > 0
    assert not site.releases.restart_due
    assert device.updater.scheduled().current == "good"
    site.window()
    assert site.releases.restart_due
    after = Site(device)
    assert after.releases.release == "good"
    assert after.used.model.path == device.folder.release("good") / "classifier.tflite"
    assert in_use(device.config) == after.used, "predict and calibrate use it, too"


def test_a_bad_candidate_is_caught_although_its_self_test_is_right(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(device)
    takes(device, "angry", monkeypatch)
    before = site.window()
    site.windows_until_judged("angry")
    after = site.window()
    assert before is not None
    assert after is not None
    assert apart(before, after) < 3, "what is published is not touched"
    state = device.updater.scheduled()
    assert (state.current, state.candidate) == (None, None)
    assert "agree with the present ones in" in state.refused["angry"]
    site.window()
    assert not site.releases.restart_due
    assert site.verdict("angry") is None, "it may come again, and is judged again then"


def test_what_is_told_holds_figures_of_models_and_none_of_a_window(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(device)
    takes(device, "good", monkeypatch)
    site.windows_until_judged("good")
    told = json.loads(news_path(device.config).read_text())
    assert set(told) == {"asked", "verdicts"}
    assert set(told["verdicts"]["good"]) == {
        "phase", "starts", "passed", "why", "people", "agreement", "ms", "ms_present", "memory_mb",
    }  # fmt: skip
    assert sorted(path.name for path in device.config.store.path.parent.iterdir()) == [
        "models", "root.json", "updates.json",
    ]  # fmt: skip


def test_a_candidate_that_ends_the_agent_is_given_up(device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(device, "good", monkeypatch)
    for _ in range(MOST_STARTS):
        Site(device).window()  # and then it is gone, without a clean end
    assert device.updater.scheduled().candidate == "good"
    Site(device).window()
    state = device.updater.scheduled()
    assert "ended abnormally 3 times" in state.refused["good"]


def test_clean_ends_do_not_count(device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(device, "good", monkeypatch)
    for _ in range(MOST_STARTS + 2):
        site = Site(device)
        site.window()
        site.releases.__exit__(None, None, None)
    assert site.verdict("good") == Verdict(phase="shadow")


def test_a_release_in_use_that_is_slower_than_the_camera_is_left(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.updates.releases.LEAST_PICTURES", 20)
    takes(device, "good", monkeypatch, without_shadow=True)
    site = Site(device)
    for _ in range(5):
        assert not site.releases.restart_due
        site.window(took_s=10.0)
    assert site.releases.restart_due
    assert Site(device).releases.release is None, "also before the updater hears of it"
    assert in_use(device.config) == device.config
    state = device.updater.scheduled()
    assert state.current is None
    assert "slower than the camera: 10000 ms" in state.refused["good"]


def test_a_release_in_use_that_ends_the_agent_is_left(device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(device, "good", monkeypatch, without_shadow=True)
    used = [Site(device).releases.release for _ in range(MOST_STARTS + 1)]
    assert used == ["good"] * MOST_STARTS + [None]
    assert "ended abnormally" in device.updater.scheduled().refused["good"]


def test_a_release_that_proved_itself_is_not_counted_any_more(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(device, "good", monkeypatch, without_shadow=True)
    site = Site(device)
    real = time.monotonic
    monkeypatch.setattr("edge_agent.updates.releases.time.monotonic", lambda: real() + PROBATION_S)
    site.window()
    assert site.verdict("good") == Verdict(phase="probation", passed=True)
    assert [Site(device).releases.release for _ in range(MOST_STARTS + 1)] == ["good"] * (MOST_STARTS + 1)


def test_a_release_that_answers_otherwise_than_it_states_is_refused_by_the_updater(device: UpdatedDevice) -> None:
    state = device.updater.update()
    assert state.candidate is None
    assert "self-test failed" in state.refused["odd"]


def test_and_by_the_agent_which_falls_back(device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    takes(device, "odd", monkeypatch, without_shadow=True)
    site = Site(device)
    assert site.releases.release is None
    verdict = site.verdict("odd")
    assert verdict is not None
    assert "self-test failed" in verdict.why
    assert "self-test failed" in device.updater.scheduled().refused["odd"]


def test_a_calibrated_site_keeps_its_classifier_until_the_loss_is_accepted(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device.config.store.path.parent / "site.json").write_text("{}")
    with pytest.raises(updater.UpdateError, match="calibrated for, so the present one stays"):
        takes(device, "good", monkeypatch)
    assert device.state.candidate is None
    takes(device, "angry", monkeypatch)  # the same classifier's file
    assert device.state.candidate == "angry"
    takes(device, "good", monkeypatch, without_site=True)
    assert device.state.candidate == "good"


def test_models_that_the_configuration_names_are_not_replaced(owned: Owned, tmp_path: Path) -> None:
    device = make_device(tmp_path / "porch", owned, **SECTIONS, model={"path": str(TINY)})
    with pytest.raises(updater.UpdateError, match=r"model\.path names"):
        device.updater.update()


def test_a_damaged_state_means_the_packages_own_models_and_a_line(
    device: UpdatedDevice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    takes(device, "good", monkeypatch, without_shadow=True)
    (device.folder.path / "state.json").write_bytes(b"\0" * 40)
    assert Site(device).releases.release is None
    assert "damaged" in caplog.text
    assert isinstance(in_use(device.config), Config)


def test_the_whole_way_of_two_devices_a_canary_a_bad_model_and_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updater, "LOOK_AGAIN", timedelta())  # the timer comes at once

    def angry(info: dict[str, Any]) -> None:
        for head in info["heads"].values():
            head["bias"][info["labels"].index("angry")] += 12.0

    owned = make_repository(tmp_path / "owned")
    hall = make_device(tmp_path / "hall", owned, **SECTIONS, updates={"channel": "canary"})
    porch = make_device(tmp_path / "porch", owned, **SECTIONS)
    canary, stable = Site(hall), Site(porch)

    owned.release("bad", with_json(tmp_path / "angry", SHIPPED, angry), channel="canary", least_agreement=60.0)
    assert hall.updater.scheduled().candidate == "bad", "its own self-test finds nothing wrong with it"
    assert porch.updater.scheduled().latest is None, "other devices do not hear of it"
    canary.windows_until_judged("bad")
    assert "agree with the present ones" in hall.updater.scheduled().refused["bad"]
    canary.window()
    assert not canary.releases.restart_due

    owned.release("good", TINY, channel="canary", least_agreement=60.0)
    assert hall.updater.scheduled().candidate == "good"
    canary.window()
    canary.windows_until_judged("good")
    assert hall.updater.scheduled().current == "good"
    canary.window()
    assert canary.releases.restart_due
    assert Site(hall).releases.release == "good"

    owned.owner.roll_out("good", "stable", 0.0)
    held = porch.updater.scheduled()
    assert (held.candidate, held.held) == (None, "rolled out to 0 % of the devices so far, and not to this one")
    owned.owner.roll_out("good", "stable", 100.0)
    assert porch.updater.scheduled().candidate == "good"
    stable.window()
    stable.windows_until_judged("good")
    assert porch.updater.scheduled().current == "good"
    assert Site(porch).releases.release == "good"


def test_a_percentage_takes_about_so_many_devices_and_more_percent_only_adds_some() -> None:
    def taken(percent: float, release: str = "r1") -> set[int]:
        rollout = Rollout(release=release, percent=percent)
        return {number for number in range(2000) if rollout.includes(f"device-{number}")}

    assert not taken(0)
    assert len(taken(100)) == 2000
    assert 140 < len(taken(10)) < 260
    assert taken(10) < taken(30)
    assert taken(10) != taken(10, "r2"), "not always the same devices first"


def test_a_request_takes_a_release_that_is_not_rolled_out_to_this_device_yet(owned: Owned, tmp_path: Path) -> None:
    """Somebody pressed the button in Home Assistant; the timer alone would wait."""
    late = make_repository(tmp_path / "late")
    late.release("r1", percent=0.0)
    device = make_device(tmp_path / "porch", late, **SECTIONS)
    site = Site(device)
    site.window()
    assert device.updater.scheduled().candidate is None
    site.releases.ask()
    assert device.updater.scheduled().candidate == "r1"
    state = device.updater.scheduled()
    assert state.obeyed == read_news(news_path(device.config)).asked


def test_what_is_not_automatic_waits_for_somebody(owned: Owned, tmp_path: Path) -> None:
    device = make_device(tmp_path / "porch", owned, **SECTIONS, updates={"automatic": False})
    state = device.updater.scheduled()
    assert (state.latest, state.candidate) == ("odd", None)


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"agent": "99.0"}, "needs agent 99.0"),
        ({"boards": ["Raspberry Pi 5"]}, "is for Raspberry Pi 5, and this is"),
        ({"processors": ["riscv64"]}, "was made for .*riscv64, and this device runs"),
    ],
)
def test_a_release_that_does_not_fit_is_not_even_fetched(needs: dict[str, Any], why: str, tmp_path: Path) -> None:
    owned = make_repository(tmp_path / "owned")
    owned.release("r1", **needs)
    device = make_device(tmp_path / "porch", owned, **SECTIONS)
    state = device.updater.update()
    assert re.search(why, state.held)
    assert state.candidate is None
    assert not (device.folder.path / "releases").exists()
