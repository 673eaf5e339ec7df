"""Server-sent events: one thread waits for the agent, every open page gets the same few hundred bytes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from edge_agent.live import Live, LiveState

PING_S = 10.0
"""A page that hears nothing for a few of these concludes that the agent is gone."""
MAX_PAGES = 200
_RETRY_MS = 2000


class Feed:
    """Sends changes of :class:`Live` to all open pages; slow ones skip to the newest state."""

    def __init__(self, live: Live, look: Callable[[LiveState], Awaitable[dict[str, Any]]]) -> None:
        self._live = live
        self._look = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: set[asyncio.Event] = set()
        self._stopped = threading.Event()

    @property
    def pages(self) -> int:
        """How many are open."""
        return len(self._news)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch, waking pages on ``loop``."""
        self._loop = loop
        threading.Thread(target=self._watch, name="kiosk-feed", daemon=True).start()

    def stop(self) -> None:
        """End all streams; callable from any thread."""
        self._stopped.set()
        self._call(self._wake)

    async def events(self) -> AsyncIterator[bytes]:
        """The stream of one page, the current state first."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            yield f"retry: {_RETRY_MS}\n".encode() + await self._event()
            while not self._stopped.is_set():
                try:
                    await asyncio.wait_for(news.wait(), PING_S)
                except asyncio.TimeoutError:
                    yield b"event: ping\ndata:\n\n"
                    continue
                news.clear()
                if not self._stopped.is_set():
                    yield await self._event()
        finally:
            self._news.discard(news)

    async def _event(self) -> bytes:
        return b"event: figures\ndata: " + json.dumps(await self._look(self._live.state)).encode() + b"\n\n"

    def _watch(self) -> None:
        version = self._live.state.version
        while not self._stopped.is_set():
            state = self._live.wait(version, timeout_s=1.0)
            if state.version != version:
                version = state.version
                self._call(self._wake)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _wake(self) -> None:
        for news in self._news:
            news.set()
