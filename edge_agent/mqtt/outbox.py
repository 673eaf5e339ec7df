"""Which window goes to the broker next, and which have arrived: one :class:`Outbox` per connection.

A window is sent live if it closed while this connection was up and is still fresh. Every other one goes to the history
topic, oldest first and no faster than the rate. Only a PUBACK settles a window. An access list may allow one of
the two topics and not the other, so a refusal on one holds up that one alone.

First occurrences ascend within each topic and session. An example, with windows 1 to 5 of one session::

    live      1  2  .  4        the link was lost while 3 was under way: it follows as history
    history            3        not before the store has written that 1 and 2 arrived
    killed                      before the store wrote that 4 arrived: the next run tells 4 as history, and 5
    history   4  5              had 1 and 2 been forgotten, too, they would now come behind 3
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.health.counters import Counter, Health
from edge_agent.message import encode, window_payload
from edge_agent.mqtt.topics import Topics
from edge_agent.store import Store
from edge_agent.types import StoredWindow

log = logging.getLogger(__name__)

FRESH_S = 10.0
"""Age after its close at which a window is no longer live."""
HISTORY_IN_FLIGHT = 20
"""History is sent only while fewer windows than this are unacknowledged, with the live ones."""
ALL_IN_FLIGHT = 40
"""With this many unacknowledged windows a live one is not sent either; it follows as history."""
BURST = 20
"""Windows of history that may go at once after a lull; from then on the rate holds."""
REFUSED_S = 60.0
"""Pause of a topic after the broker refused a window on it."""
SKIPPED_S = 3600.0
"""What the broker does not take is tried again after so long."""

Publish = Callable[[str, bytes], int | None]
"""Returns the number of the message, None if the broker takes none like it."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    window: StoredWindow
    live: bool


class Outbox:
    """Not thread-safe: the publisher's thread owns it. Times are seconds of :func:`time.monotonic`."""

    def __init__(
        self,
        store: Store,
        session: str,
        device_id: str,
        *,
        topics: Topics,
        publish: Publish,
        health: Health,
        rate_hz: float,
    ) -> None:
        self._store, self._session, self._device_id, self._topics = store, session, device_id, topics
        self._publish, self._health, self._rate_hz = publish, health, rate_hz
        self._live_after = store.last_place
        self._has_live_news = False
        self._backlog: deque[StoredWindow] = deque()
        self._in_flight: dict[int, _InFlight] = {}
        self._tokens = 1.0
        self._filled_s = time.monotonic()
        self._live_held_until_s = self._history_held_until_s = 0.0
        self._taken = False
        self._skipped_to, self._skipped_until_s = 0, float("inf")

    def acknowledge(self, pubacks: list[tuple[int, str]]) -> None:
        """Settle the windows whose PUBACKs came; a refused one is sent again later. Other numbers are ignored."""
        arrived = []
        for mid, refusal in pubacks:
            sent = self._in_flight.pop(mid, None)
            if sent is None:
                continue
            if refusal:
                self._refused(sent, refusal)
            else:
                arrived.append(sent.window)
                self._has_live_news = self._has_live_news or sent.live
        if arrived:
            self._taken = True
            self._store.mark_delivered(arrived)
            self._health.count(Counter.WINDOWS_DELIVERED, len(arrived))

    def send(self, now_s: float, *, history: bool = True) -> float:
        """Send what may go now; seconds until there may be more, infinity when nothing waits."""
        self._send_live(now_s)
        return self._send_history(now_s) if history else float("inf")

    @property
    def live_is_done(self) -> bool:
        """Whether no live window waits and nothing is under way."""
        return not self._in_flight and not self._store.pending(after=self._live_after, limit=1)

    @property
    def has_begun(self) -> bool:
        """Whether the broker has taken a window of those that wait; or none waits that could be sent."""
        return self._taken or not self._in_flight

    def _send_live(self, now_s: float) -> None:
        """What cannot go live now is left to history, also while the broker refuses the live topic."""
        for window in self._store.pending(after=self._live_after):
            self._live_after = window.place
            room = now_s >= self._live_held_until_s and len(self._in_flight) < ALL_IN_FLIGHT
            if room and self._is_fresh(window, now_s):
                self._send(window, live=True)

    def _is_fresh(self, window: StoredWindow, now_s: float) -> bool:
        closed_s = window.report.start_monotonic_s + window.report.window_s
        return window.session == self._session and now_s - closed_s <= FRESH_S

    def _send_history(self, now_s: float) -> float:
        self._tokens = min(BURST, self._tokens + (now_s - self._filled_s) * self._rate_hz)
        self._filled_s = now_s
        if now_s < self._history_held_until_s:
            return self._history_held_until_s - now_s
        if now_s > self._skipped_until_s:
            self._skipped_to, self._skipped_until_s = 0, float("inf")
        while True:
            self._fill_backlog()
            if not self._backlog or len(self._in_flight) >= HISTORY_IN_FLIGHT:
                return float("inf")  # the next PUBACK or window wakes us
            if self._tokens < 1.0:
                return (1.0 - self._tokens) / self._rate_hz
            self._tokens -= 1.0
            self._keep_order(self._backlog[0])
            self._send(self._backlog.popleft(), live=False)

    def _keep_order(self, window: StoredWindow) -> None:
        """After a kill no live window that arrived before this one may be told as history behind it."""
        if self._has_live_news and window.session == self._session:
            self._store.flush(at_once=True)
            self._has_live_news = False

    def _fill_backlog(self) -> None:
        """Nothing above a live window that is still under way: if it is lost, its turn comes before theirs."""
        if self._backlog:
            return
        under_way = {each.window.place for each in self._in_flight.values()}
        live = [each.window.place for each in self._in_flight.values() if each.live]
        before = min([*live, self._live_after + 1])
        self._backlog.extend(
            each for each in self._store.pending(self._skipped_to, before) if each.place not in under_way
        )

    def _send(self, window: StoredWindow, *, live: bool) -> None:
        """Without its rolling estimate if the broker takes none so long; what is still too long waits in the store."""
        topic = self._topics.live if live else self._topics.history
        for rolling in (True, False):
            payload = window_payload(window, self._device_id, historical=not live, rolling=rolling)
            number = self._publish(topic, encode(payload))
            if number is not None:
                self._in_flight[number] = _InFlight(window, live)
                return
        if not live:
            self._skipped_to = window.place
            self._skipped_until_s = min(self._skipped_until_s, time.monotonic() + SKIPPED_S)

    def _refused(self, sent: _InFlight, refusal: str) -> None:
        log.error(
            "the broker refused window %d: %s; its access list or quota must allow %s; trying that again in %d s",
            sent.window.seq, refusal, self._topics.live if sent.live else self._topics.history, REFUSED_S,
        )  # fmt: skip
        self._health.count(Counter.WINDOWS_REFUSED)
        held_until_s = time.monotonic() + REFUSED_S
        if sent.live:
            self._live_held_until_s = held_until_s
        else:
            self._history_held_until_s = held_until_s
        self._backlog.clear()  # the refused one goes first
        self._skipped_to = 0
