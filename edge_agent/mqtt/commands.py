"""The commands from the broker: each request is checked, carried out and answered, whatever its content."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_agent.config import WINDOW_S
from edge_agent.errors import CountenanceError
from edge_agent.host.redaction import redact
from edge_agent.mqtt.payloads import response_payload

log = logging.getLogger(__name__)

MAX_BYTES = 1024
"""Bytes; a longer request is refused without reading it."""
MAX_TRANSACTION = 128
"""Characters of a transaction that are echoed."""


class Controls(Protocol):
    """What commands control; the agent implements it. Every method returns at once and is thread-safe."""

    def pause(self) -> None:
        """Stop looking: no frame is read until :meth:`resume`. If the store is on a disk, this survives restarts."""

    def resume(self) -> None:
        """Look again."""

    def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigError: it is wrong; the agent continues with the old one.
        """

    def identify(self) -> None:
        """Show people which device this is."""

    def set_window(self, seconds: float) -> None:
        """Change the length of the windows until the next start, 1 to 3600 seconds."""

    def update(self) -> None:
        """Ask for what the channel of models offers.

        Raises:
            ConfigError: there is no channel.
        """


class _RefusedError(Exception):
    """A request that was refused; the message says why."""


class Commands:
    """Carries out one request after the other."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._actions: dict[str, Callable[[dict[str, Any]], Mapping[str, Any]]] = {
            "pause": self._pause,
            "resume": self._resume,
            "reload": self._reload,
            "identify": self._identify,
            "set_window": self._set_window,
            "update": self._update,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the commands."""
        return tuple(self._actions)

    def answer(self, name: str, payload: bytes, *, retained: bool) -> dict[str, Any]:
        """Carry out one request and describe the result; no input from outside makes it raise.

        Args:
            name: last level of the topic.
            payload: a JSON object, or nothing; see docs/mqtt.md.
            retained: whether the broker had stored it: such a request is old, and would be repeated at every connect.
        """
        transaction = None
        try:
            if name not in self._actions:
                raise _RefusedError(f"unknown command; there are {', '.join(self._actions)}")
            request = _read(payload)
            transaction = _transaction(request)
            if retained:
                raise _RefusedError(
                    "retained commands are refused: publish without the retain flag, and delete this one "
                    "(over MQTT 3.1.1, where the deletion counts as a command, while the device is off)"
                )
            data = self._actions[name](request)
        except (_RefusedError, CountenanceError) as error:
            log.warning("command %r refused: %s", name[:64], error)
            return response_payload(name[:64], transaction, error=redact(str(error)))
        except Exception:
            log.exception("defect in command %s", name)
            return response_payload(name, transaction, error="a defect of the agent; its log has the details")
        log.info("command %s carried out", name)
        return response_payload(name, transaction, data=data)

    def _pause(self, request: dict[str, Any]) -> Mapping[str, Any]:
        paused = request.pop("on", True)
        if not isinstance(paused, bool):
            raise _RefusedError("'on' must be true or false")
        _nothing_else(request)
        self._controls.pause() if paused else self._controls.resume()
        return {"paused": paused}

    def _resume(self, request: dict[str, Any]) -> Mapping[str, Any]:
        _nothing_else(request)
        self._controls.resume()
        return {"paused": False}

    def _reload(self, request: dict[str, Any]) -> Mapping[str, Any]:
        _nothing_else(request)
        self._controls.reload()
        return {}

    def _identify(self, request: dict[str, Any]) -> Mapping[str, Any]:
        _nothing_else(request)
        self._controls.identify()
        return {}

    def _update(self, request: dict[str, Any]) -> Mapping[str, Any]:
        _nothing_else(request)
        self._controls.update()
        return {}

    def _set_window(self, request: dict[str, Any]) -> Mapping[str, Any]:
        seconds = request.pop("seconds", None)
        _nothing_else(request)
        low, high = WINDOW_S
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not low <= seconds <= high:
            raise _RefusedError(f"'seconds' must be a number from {low:g} to {high:g}")
        self._controls.set_window(float(seconds))
        return {"window_s": float(seconds)}


def _nothing_else(request: dict[str, Any]) -> None:
    """A mistyped field must not be ignored without a word."""
    if request:
        raise _RefusedError(f"unknown field {min(request)[:64]!r}")


def _read(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_BYTES:
        raise _RefusedError(f"longer than {MAX_BYTES} bytes")
    if not payload.strip():
        return {}
    try:
        request = json.loads(payload.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _RefusedError("not JSON in UTF-8") from None
    if not isinstance(request, dict):
        raise _RefusedError('not a JSON object; {} or nothing will do, e.g. {"transaction": "42"}')
    return request


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _transaction(request: dict[str, Any]) -> str | int | None:
    """Take out the transaction, which is echoed."""
    value = request.pop("transaction", None)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53):
        return value
    if isinstance(value, str) and len(value) <= MAX_TRANSACTION:
        return value
    raise _RefusedError(f"'transaction' must be a text of at most {MAX_TRANSACTION} characters or a whole number")
