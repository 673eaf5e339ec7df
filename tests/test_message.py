"""What leaves the device: one form, valid against the schemas that the package ships."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from edge_agent.config import StoreConfig
from edge_agent.live import LiveState
from edge_agent.message import encode, utc_text, window_payload
from edge_agent.mqtt.payloads import response_payload, status_payload, will_payload
from edge_agent.store import open_store
from edge_agent.types import CameraState, Trouble, WindowReport
from tests.support.schemas import undocumented, validate
from tests.support.windows import LABELS, make_report


def payload_of(report: WindowReport, tmp_path: Path, historical: bool = False) -> dict[str, object]:
    store = open_store(StoreConfig(path=tmp_path / "w.sqlite"), "s1", "m1")
    try:
        return json.loads(encode(window_payload(store.append(report), "hall", historical=historical)))
    finally:
        store.close()


@pytest.mark.parametrize("people", [5, 0, None], ids=["people", "nobody", "suppressed"])
def test_every_kind_of_window_is_valid_and_documented(tmp_path: Path, people: int | None) -> None:
    payload = payload_of(make_report(1, people=people), tmp_path)
    validate("emotions", payload)
    assert not undocumented("emotions", payload)


def test_percentages_are_numbers_of_all_seven_and_sum_to_100(tmp_path: Path) -> None:
    percentages = payload_of(make_report(1), tmp_path)["percentages"]
    assert isinstance(percentages, dict)
    assert tuple(percentages) == LABELS
    assert sum(round(value * 10) for value in percentages.values()) == 1000


def test_a_suppressed_window_says_nothing_of_the_people(tmp_path: Path) -> None:
    payload = payload_of(make_report(1, people=None), tmp_path)
    withheld = ("faces", "people", "gated", "quality", "percentages", "percentages_raw", "intervals", "method")
    assert payload["suppressed"] is True
    assert all(payload[name] is None for name in withheld)


def test_an_empty_window_has_null_and_not_zero_percent(tmp_path: Path) -> None:
    payload = payload_of(make_report(1, people=0), tmp_path)
    assert (payload["people"], payload["percentages"]) == (0, None)


def test_the_schema_refuses_figures_in_a_suppressed_window(tmp_path: Path) -> None:
    payload = payload_of(make_report(1), tmp_path)
    with pytest.raises(jsonschema.ValidationError):
        validate("emotions", {**payload, "suppressed": True})


def test_times_are_utc_with_milliseconds_wherever_they_come_from() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert utc_text(datetime(2026, 3, 1, 17, 30, 0, 5000, tzinfo=east)) == "2026-03-01T12:00:00.005Z"


def test_numbers_that_json_cannot_say_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"share": float("nan")})


def test_status_is_valid() -> None:
    validate("status", will_payload("s1"))
    live = LiveState(camera=CameraState.GONE, trouble=Trouble.UPSIDE_DOWN)
    for state in ("online", "stopped"):
        validate("status", json.loads(encode(status_payload(state, "s1", live, paused=False))))


def test_a_response_is_valid_and_ok_only_without_an_error() -> None:
    for response in (response_payload("pause", "42"), response_payload("x", 7, error="unknown")):
        validate("response", response)
        assert (response["status"] == "ok") == (response["error"] is None)


def test_every_schema_is_a_valid_schema_and_describes_its_fields() -> None:
    files = [f for f in (resources.files("edge_agent") / "schemas").iterdir() if f.name.endswith(".json")]
    assert len(files) == 6
    for file in files:
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))
