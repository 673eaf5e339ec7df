"""Commands: carried out, refused or answered, and never a crash, whatever the payload holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.message import encode
from edge_agent.mqtt.commands import MAX_BYTES, Commands
from tests.support.schemas import schema, validate

NAMES = ("pause", "resume", "reload", "identify", "set_window", "update")


class Recorder:
    """Remembers calls; ``fault`` is raised by reload."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.calls: list[Any] = []
        self.fault = fault

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def reload(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.calls.append("reload")

    def identify(self) -> None:
        self.calls.append("identify")

    def set_window(self, seconds: float) -> None:
        self.calls.append(("set_window", seconds))

    def update(self) -> None:
        self.calls.append("update")


def ask(
    name: str, payload: object = b"", retained: bool = False, fault: Exception | None = None
) -> tuple[Any, list[Any]]:
    recorder = Recorder(fault)
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    answer = Commands(recorder).answer(name, data, retained=retained)
    validate("response", json.loads(encode(answer)))
    return answer, recorder.calls


@pytest.mark.parametrize("name", ["pause", "resume", "reload", "identify", "update"])
@pytest.mark.parametrize("payload", [b"", b"  ", b"{}", b'{"transaction": "a"}'])
def test_a_bare_command_needs_no_payload(name: str, payload: bytes) -> None:
    answer, calls = ask(name, payload)
    assert (answer["status"], calls) == ("ok", [name])


def test_pause_takes_on_and_off_as_a_switch_sends_it() -> None:
    assert ask("pause", {"on": True})[1] == ["pause"]
    assert ask("pause", {"on": False})[1] == ["resume"]


@pytest.mark.parametrize("seconds", [1, 3600, 12.5])
def test_a_window_within_the_bounds_is_set(seconds: float) -> None:
    answer, calls = ask("set_window", {"seconds": seconds})
    assert (answer["data"], calls) == ({"window_s": float(seconds)}, [("set_window", float(seconds))])


@pytest.mark.parametrize("seconds", [0, 0.99, 3601, -5, True, "10", None, [10], 10**30])
def test_a_window_outside_them_is_refused(seconds: object) -> None:
    answer, calls = ask("set_window", {"seconds": seconds})
    assert (answer["status"], calls) == ("error", [])
    assert "from 1 to 3600" in answer["error"]


@pytest.mark.parametrize("transaction", ["abc", "", 0, -7, "\ud800", "ä" * 128])
def test_the_transaction_is_echoed(transaction: str | int) -> None:
    assert ask("identify", {"transaction": transaction})[0]["transaction"] == transaction


def test_the_transaction_is_echoed_when_the_command_is_refused() -> None:
    answer, calls = ask("pause", {"transaction": "x", "of": True})
    assert (answer["status"], answer["transaction"], calls) == ("error", "x", [])
    assert "'of'" in answer["error"]


@pytest.mark.parametrize(
    "payload",
    [
        b"ON",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"on": NaN}',
        b'{"a": 1',
        b"[" * 1000,
        b'{"transaction": 1.5}',
        b'{"transaction": {"a": 1}}',
        b'{"transaction": true}',
        json.dumps({"transaction": "x" * 129}).encode(),
        b" " * (MAX_BYTES + 1),
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_a_malformed_request_is_refused_and_nothing_happens(payload: bytes) -> None:
    answer, calls = ask("pause", payload)
    assert (answer["status"], calls) == ("error", [])


def test_a_retained_command_is_refused() -> None:
    answer, calls = ask("pause", {"transaction": 1}, retained=True)
    assert (answer["status"], answer["transaction"], calls) == ("error", 1, [])


def test_an_unknown_command_is_answered_with_the_known_ones() -> None:
    assert all(name in ask("explode")[0]["error"] for name in NAMES)


def test_a_refusal_of_the_agent_is_told_and_a_defect_is_hidden() -> None:
    assert ask("reload", fault=ConfigError("window.seconds: wrong"))[0]["error"] == "window.seconds: wrong"
    answer = ask("reload", fault=ConfigError("camera.source: 'rtsp://admin:hunter2@camera/s' is wrong"))[0]
    assert "hunter2" not in answer["error"], "a password in a camera's address"
    answer = ask("reload", fault=RuntimeError("secret detail"))[0]
    assert (answer["status"], "secret" in answer["error"]) == ("error", False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["transaction", "seconds", "on"]) | st.text(max_size=8)
REQUESTS = st.dictionaries(FIELDS, JSON, max_size=4).map(lambda value: json.dumps(value).encode())


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(NAMES) | st.text(), st.binary(max_size=2000) | REQUESTS, st.booleans())
def test_nothing_that_comes_from_outside_crashes_a_command(name: str, payload: bytes, retained: bool) -> None:
    answer, calls = ask(name, payload, retained)
    assert len(calls) <= 1
    assert (answer["status"] == "ok") == bool(calls)
    if retained:
        assert not calls


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), REQUESTS)
def test_what_is_carried_out_is_valid_by_the_schema(name: str, payload: bytes) -> None:
    """The shipped schema is no stricter than the agent: an accepted request is a valid one."""
    answer, _ = ask(name, payload)
    if answer["status"] == "ok":
        validate("command", json.loads(payload))


def test_the_schema_names_every_field_that_a_command_takes() -> None:
    assert set(schema("command")["properties"]) == {"transaction", "on", "seconds"}
