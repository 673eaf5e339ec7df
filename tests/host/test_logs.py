"""Each test logs through the real root logger and reads the stream."""

import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from edge_agent.host import logs
from edge_agent.types import CameraState

log = logging.getLogger("edge_agent.cameras.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("edge_agent")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)


def start(kind: Literal["auto", "text", "journal"], level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.setup(level, form=kind, stream=stream)
    return stream


def test_text_is_an_event_and_its_fields() -> None:
    stream = start("text")
    log.info("camera open", extra={"backend": "opencv", "width_px": 640, "state": CameraState.RUNNING, "detail": "a b"})
    moment, _, rest = stream.getvalue().partition(" ")
    assert len(moment) == len("2026-01-31T12:00:00Z")
    assert moment.endswith("Z")
    assert rest == 'info cameras.test: camera open backend=opencv width_px=640 state=running detail="a b"\n'


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_journald_gets_the_priority_in_front(level: str, priority: int) -> None:
    stream = start("journal", "debug")
    getattr(log, level)("event")
    assert stream.getvalue() == f"<{priority}>cameras.test: event\n"


def test_auto_is_journal_only_where_stderr_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        status = os.fstat(stream.fileno())
        logs.setup(stream=stream, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log.info("in the journal")
        logs.setup(stream=stream, environ={"JOURNAL_STREAM": "1:1"})
        log.info("redirected")
        stream.seek(0)
        first, second = stream.readlines()
    assert first == "<6>cameras.test: in the journal\n"
    assert second.endswith("Z info cameras.test: redirected\n")


def test_what_ends_a_command_is_an_error_in_the_journal_and_plain_elsewhere(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        status = os.fstat(stream.fileno())
        logs.complain("one\ntwo rtsp://me:hunter2@cam", stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        logs.complain("three", stream, {})
        stream.seek(0)
        assert stream.read() == "<3>one\n<3>two rtsp://me:***@cam\nthree\n"


@pytest.mark.parametrize("kind", ["text", "journal"])
def test_an_exception_with_its_traceback_stays_on_one_line_without_secrets(
    kind: Literal["text", "journal"],
) -> None:
    stream = start(kind)
    try:
        raise OSError("cannot open rtsp://me:hunter2@cam\nsecond line")
    except OSError:
        log.exception("camera gone\nforged line", extra={"password": "hunter2", "source": {"token": "hunter2"}})
    assert stream.getvalue().count("\n") == 1
    assert "rtsp://me:***@cam" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()


def test_a_repeated_error_is_held_back_and_counted() -> None:
    now = 0.0
    stream = start("journal")
    logging.getLogger().handlers[-1].filters = [logs.RepeatLimit(lambda: now)]
    for now in range(100):
        log.error("broker refused us", extra={"attempt": int(now)})
        log.info("window closed")
    lines = stream.getvalue().splitlines()
    assert sum("window closed" in line for line in lines) == 100
    errors = [line for line in lines if "refused" in line]
    assert len(errors) == 2 * logs.REPEATS_BURST
    assert errors[logs.REPEATS_BURST].endswith("attempt=60 left_out=55")
    assert not any("left_out" in line for line in errors[logs.REPEATS_BURST + 1 :])


def test_the_memory_of_repeats_is_bounded() -> None:
    limit = logs.RepeatLimit()
    for number in range(10_000):
        limit.filter(logging.makeLogRecord({"levelno": logging.ERROR, "msg": f"event {number}"}))
    assert len(limit._seen) <= 256


def test_libraries_speak_from_warning_on() -> None:
    stream = start("text")
    logging.getLogger("paho.mqtt").info("sending PINGREQ")
    logging.getLogger("paho.mqtt").warning("caught exception")
    log.debug("not asked for")
    assert stream.getvalue().endswith("warning paho.mqtt: caught exception\n")
    assert stream.getvalue().count("\n") == 1


def test_python_warnings_become_events() -> None:
    stream = start("text")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old call", UserWarning, stacklevel=1)
    assert "old call" in stream.getvalue()


def test_setting_up_twice_does_not_double_the_lines() -> None:
    start("text")
    stream = start("text")
    log.info("once")
    assert stream.getvalue().count("once") == 1


def test_a_fresh_process_logs_to_stderr() -> None:
    code = (
        "import logging; from edge_agent.host import logs;"
        "logs.setup(); logging.getLogger('edge_agent.agent').info('ready', extra={'version': '1'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.endswith("info agent: ready version=1\n")
