"""Windows as devices send them to a fleet."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from edge_agent.message import encode, window_payload
from edge_agent.types import StoredWindow
from fleet.messages import Window, read_message
from tests.support.windows import make_report

MODEL = "emotion@0123456789ab"
START = datetime(2026, 11, 27, 9, 59, 30, tzinfo=timezone.utc)


def payload(device: str, seq: int, *, people: int | None = 5, synced: bool = True, session: str = "s1") -> bytes:
    """Window ``seq`` of a session that began at START, of ten seconds each."""
    report = make_report(seq, START + timedelta(seconds=10 * (seq - 1)), people=people)
    return encode(window_payload(StoredWindow(session, seq, report, synced, MODEL, "boot"), device))


def window(device: str, seq: int, **how: object) -> Window:
    """The same, read."""
    found = read_message(f"countenance/{device}/emotions", payload(device, seq, **how), "countenance")  # type: ignore[arg-type]
    assert isinstance(found, Window)
    return found
