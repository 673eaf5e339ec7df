"""*Try it alone*: one person on the page, nothing in the store, on MQTT or in the metrics, and it ends by itself."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from edge_agent.cli.main import main
from edge_agent.first_start.trial import TRIAL_S, begin_trial, trial_ends_s, trial_folder
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber, free_port, wait_until


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user who runs the agent by hand."""
    monkeypatch.setattr("edge_agent.first_start.trial.os.geteuid", lambda: 1000)
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def test_it_lasts_a_quarter_of_an_hour_and_an_end_of_another_boot_is_none(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    now_s = time.monotonic()
    assert trial_ends_s(now_s, environ) is None
    begin_trial(trial_folder(environ))
    assert trial_ends_s(now_s, environ) == pytest.approx(now_s + TRIAL_S, abs=2.0)
    assert trial_ends_s(now_s + TRIAL_S + 2.0, environ) is None
    assert trial_ends_s(now_s - 3600.0, environ) is None, "this clock has not been running for so long"
    (tmp_path / "countenance" / "alone").write_text("for ever")
    assert trial_ends_s(now_s, environ) is None


def test_who_may_not_begin_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("edge_agent.first_start.trial.os.geteuid", lambda: 1000)
    assert main(["try-alone"]) == 3
    assert "run this with sudo" in capsys.readouterr().err


def test_one_person_is_shown_on_the_page_and_nowhere_else(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    path = configure(
        tmp_path, mqtt={"port": broker.port}, privacy={"min_people": 3}, kiosk={"enabled": True, "port": port}
    )
    home = tmp_path / "home"
    (home / "countenance").mkdir(parents=True)
    trial = home / "countenance" / "alone"
    trial.write_text(f"{time.monotonic() + 60}")

    def current() -> dict:
        try:
            return dict(client.get("/api/current").json())
        except httpx.TransportError:
            return {"state": "", "people": None, "doubt": None}

    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        Subscriber(broker.port, "countenance/#") as subscriber,
        AgentProcess("run", "-c", path, folder=tmp_path, environ={"XDG_RUNTIME_DIR": str(home)}) as agent,
    ):
        wait_until(lambda: current()["people"] == 1, 120, lambda: agent.log)
        seen = current()
        assert (seen["state"], seen["doubt"], seen["seq"]) == ("live", "alone", None)
        page = client.get("/?wall").text
        assert "neither stored nor sent" in page
        metrics = client.get("/metrics").text
        assert "countenance_share_percent{" not in metrics
        assert not subscriber.of("/emotions"), "nothing was sent"
        trial.unlink()  # as its end does
        window = subscriber.wait_for("/emotions", 1, 60)[0].json
        assert (window["seq"], window["suppressed"], window["percentages"]) == (1, True, None)
        assert window["rolling"]["percentages"] is None
        wait_until(lambda: current()["state"] == "too_few", 60)
        assert agent.stop() == 0
    assert "tried alone for a while" in agent.log
    assert "no longer tried alone" in agent.log
