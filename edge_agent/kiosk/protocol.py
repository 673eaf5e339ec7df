"""Connections to the page: a limited number, and none that stays open without asking. uvicorn alone limits neither.

A connection costs the agent a file. Enough open ones would cut it off from its broker and its store.
"""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 400
"""Open connections at a time: pages with their streams, and other requests."""
REQUEST_S = 10.0
"""Seconds from the connection, or from the first byte after an answer, to the end of a request's head."""
READ_S = 30.0
"""Seconds in which a client must read a part of its answer; the largest answers have many parts."""


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 by uvicorn. When there are too many connections, the one that has been silent longest is closed."""

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _waits_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a new connection, or close it if no other can be closed."""
        is_full = len(self.connections) >= CONNECTIONS and not self._make_room()
        super().connection_made(transport)
        self._expect_request()
        if is_full:
            self._give_up()

    def data_received(self, data: bytes) -> None:
        """Half a request keeps its time limit; a whole one ends it."""
        super().data_received(data)
        if not self._is_waiting():
            self._stop_deadline()
        elif self._deadline is None:
            self._expect_request()

    def pause_writing(self) -> None:
        """The client stopped reading: begin its time limit."""
        self._unread = self.loop.call_later(READ_S, self._give_up)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limits."""
        self._stop_deadline()
        self._stop_unread()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """From now on it is silent again; uvicorn closes it unless it asks within its keep-alive time."""
        self._waits_since_s = time.monotonic()
        super().on_response_complete()

    def _is_waiting(self) -> bool:
        """Whether no request is being answered: the next one's head has not come, or not all of it."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_request(self) -> None:
        self._waits_since_s = time.monotonic()
        self._deadline = self.loop.call_later(REQUEST_S, self._give_up)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _make_room(self) -> bool:
        waiting = [other for other in self.connections if isinstance(other, BoundedProtocol) and other._is_waiting()]
        if waiting:
            min(waiting, key=lambda other: other._waits_since_s)._give_up()
        return bool(waiting)

    def _give_up(self) -> None:
        self.connections.discard(self)  # now: the next new connection is counted before the loop reports the end
        self.transport.abort()
