"""Structured logs on stderr: one event a line, ready for journald, without secrets and without floods.

Modules log an event and its fields, never a sentence with values in it::

    log = logging.getLogger(__name__)
    log.info("camera open", extra={"backend": "opencv", "width_px": 640})

which reads, by ``log.format``::

    text     2026-01-31T12:00:00Z info cameras.opencv: camera open backend=opencv width_px=640
    journal  <6>cameras.opencv: camera open backend=opencv width_px=640

Field names must not be attributes of :class:`logging.LogRecord` (``name``, ``module``, ``message``, ``args``, ...).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any, TextIO

from edge_agent.host.redaction import HIDDEN, is_secret_name, redact

HANDLER_NAME = "countenance"
REPEATS_BURST = 5
"""The same warning or error passes this often ..."""
REPEATS_PERIOD_S = 60.0
"""... in this many seconds; further ones are counted, and the next that passes says how many were left out."""
_MAX_KEYS = 256
_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# sd-daemon(3): the kernel's log levels.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


def setup(
    level: str = "info",
    *,
    form: str = "auto",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send everything that is logged in this process to ``stream`` (default: stderr); call it again to change it.

    ``level`` is for this project. Libraries log from warning on, and from info on when it is ``debug``.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.name = HANDLER_NAME
    handler.setFormatter(_formatter(form, stream, environ))
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if other.name != HANDLER_NAME] + [handler]
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
    logging.getLogger("edge_agent").setLevel(level.upper())
    logging.captureWarnings(True)


def _formatter(kind: str, stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    if kind == "auto":
        kind = "journal" if _is_journal(stream, environ) else "text"
    match kind:
        case "journal":
            return JournalFormatter()
        case _:
            return TextFormatter()


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """systemd.exec(5), ``$JOURNAL_STREAM``: the device and inode of the journal's socket, as connected to stderr."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def complain(message: str, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Write the message that ends a command to stderr; in the journal it is an error. Works before :func:`setup`."""
    stream = stream or sys.stderr
    priority = "<3>" if _is_journal(stream, environ) else ""
    stream.writelines(f"{priority}{line}\n" for line in redact(message).splitlines())


class TextFormatter(logging.Formatter):
    """``time level module: event key=value``, for people at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; fields are logfmt."""
        return f"{_time(record)} {record.levelname.lower()} {_line(record)}"


class JournalFormatter(logging.Formatter):
    """Text with the priority in front. journald removes it, and adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; fields are logfmt."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return f"<{priority}>{_line(record)}"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _module(record: logging.LogRecord) -> str:
    return record.name.removeprefix("edge_agent.")


def _line(record: logging.LogRecord) -> str:
    event = " ".join(redact(record.getMessage()).split())
    return " ".join(
        [f"{_module(record)}: {event}", *(f"{key}={_logfmt(value)}" for key, value in _fields(record).items())]
    )


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of ``extra``, plain and without secrets, then the exception and its traceback if there is one."""
    fields = {key: value for key, value in vars(record).items() if key not in _RECORD_ATTRIBUTES}
    plain = {key: HIDDEN if is_secret_name(key) else _plain(value) for key, value in fields.items()}
    if record.exc_info and record.exc_info[1] is not None:
        plain["exception"] = redact(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
        plain["traceback"] = redact(logging.Formatter().formatException(record.exc_info))
    return plain


def _plain(value: Any) -> Any:
    """A value for JSON; what JSON cannot hold becomes redacted text."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if value - value == 0 else str(value)
    if isinstance(value, Mapping):
        return {str(key): HIDDEN if is_secret_name(str(key)) else _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return redact(str(value))


def _logfmt(value: Any) -> str:
    if isinstance(value, str) and value and not any(char in ' ="\\' or not char.isprintable() for char in value):
        return value
    return json.dumps(value, ensure_ascii=False)


class RepeatLimit(logging.Filter):
    """Lets the same warning or error through :data:`REPEATS_BURST` times a period and counts the others.

    "The same" is the same text from the same module, with any fields; information always passes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[str, int, str], _Repeats] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes. The first that passes after others were left out gets the field ``left_out``."""
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        repeats = self._seen.setdefault(key, _Repeats(now))
        self._seen.move_to_end(key)
        if len(self._seen) > _MAX_KEYS:
            self._seen.popitem(last=False)
        return repeats.admit(record, now)


class _Repeats:
    """How often one event came in the current period."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._passed = 0
        self._left_out = 0

    def admit(self, record: logging.LogRecord, now_s: float) -> bool:
        if now_s - self._since_s >= REPEATS_PERIOD_S:
            self._since_s, self._passed = now_s, 0
        if self._passed >= REPEATS_BURST:
            self._left_out += 1
            return False
        self._passed += 1
        if self._left_out:
            record.left_out, self._left_out = self._left_out, 0
        return True
