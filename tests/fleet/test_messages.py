"""What a device says, as a value; and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.messages import MessageError, News, read_message
from tests.support.fleet import MODEL, payload, window


def test_a_window_is_read_whole() -> None:
    found, sent = window("hall", 3), json.loads(payload("hall", 3))
    assert (found.device, found.session, found.seq, found.people, found.model) == ("hall", "s1", 3, 5, MODEL)
    assert found.start_ms == 1_795_773_590_000
    assert dict(zip(found.labels, (value / 10 for value in found.published), strict=True)) == sent["percentages"]
    halves = [*sent["percentages_raw"].values(), *sent["percentages_even"].values()]
    assert [value / 10 for value in found.readings] == halves


def test_a_suppressed_window_has_no_figures() -> None:
    found = window("hall", 1, people=None)
    assert found.suppressed
    assert (found.people, found.readings, found.published) == (None, (), ())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"device": "door"}, "speaks only for itself"),
        ({"schema": 2}, "schema 2"),
        ({"seq": -1}, "no number of things"),
        ({"seq": 1e300}, "no number of things"),
        ({"people": True}, "no number of things"),
        ({"session": "x" * 300}, "no short text"),
        ({"session": "a\0b"}, "no short text"),
        ({"window_start": "yesterday"}, "no window"),
        ({"percentages_even": None}, "no window"),
        ({"percentages_raw": {"angry": float("nan")}}, "no window"),
        ({"familiar": 7}, "not between 0 and 1"),
        ({"gated": [1]}, "no window"),
    ],
)
def test_what_is_no_window_is_refused_with_the_reason(changes: dict[str, Any], what: str) -> None:
    sent = json.dumps(json.loads(payload("hall", 1)) | changes).encode()
    with pytest.raises(MessageError, match=what):
        read_message("countenance/hall/emotions", sent, "countenance")


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 70_000])
def test_what_is_no_json_object_is_refused(sent: bytes) -> None:
    with pytest.raises(MessageError):
        read_message("countenance/hall/emotions", sent, "countenance")


def test_news_and_topics_of_others() -> None:
    status = b'{"schema":1,"state":"online","session":"s1"}'
    assert read_message("countenance/hall/status", status, "countenance") == News("hall", "status", json.loads(status))
    assert read_message("countenance/hall/status", b"", "countenance") is None
    for topic in ("other/hall/status", "countenance/hall/response", "countenance", "countenance/hall/command/pause"):
        assert read_message(topic, status, "countenance") is None
