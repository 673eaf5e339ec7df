"""Several cameras side by side: this one's figures, and those that other agents on this machine show on their pages.

Each agent has one camera. The server of one page asks the others' servers, so a browser asks one address alone.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

log = logging.getLogger(__name__)

KEPT_S = 1.0
"""Answers are kept that long, so that fifty screens ask each agent once a second."""
_ANSWER_S = 2.0
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Place:
    """One camera's figures."""

    id: str
    """``device.id`` of its agent; its port until it has answered once."""
    name: str
    """What people read."""
    figures: Mapping[str, Any] | None
    """As its ``/api/current`` gave them; None where it does not answer."""

    def as_dict(self) -> dict[str, Any]:
        """As ``/api/cameras`` tells it."""
        return {"id": self.id, "name": self.name, "figures": self.figures}


class OtherPlaces:
    """What the agents on these ports of this machine show.

    Args:
        ports: of their pages.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._known = {port: Place(str(port), str(port), None) for port in ports}
        self._asked_s = -KEPT_S
        self._turn = asyncio.Lock()

    async def look(self) -> Sequence[Place]:
        """The other cameras, at most :data:`KEPT_S` old."""
        async with self._turn:
            if time.monotonic() - self._asked_s >= KEPT_S:
                await asyncio.gather(*(run_in_threadpool(self._ask, port) for port in self._known))
                self._asked_s = time.monotonic()
        return tuple(self._known.values())

    def _ask(self, port: int) -> None:
        known = self._known[port]
        try:
            self._known[port] = _own_place(port)
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            if known.figures is not None:
                log.warning("no answer of the camera's page on port %d: %s", port, error)
            self._known[port] = replace(known, figures=None)


def _own_place(port: int) -> Place:
    """The first camera in the other server's answer: its own. It need not ask others for it."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        link.request("GET", "/api/cameras?own")
        answer = link.getresponse()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return Place(**json.loads(answer.read(_MOST_BYTES))["cameras"][0])
    finally:
        link.close()
