"""From messages to committed rows, whatever broker they come from.

A *source* hands over messages in batches and is told when a batch is safe. The collector reads them, keeps what is new
and only then acknowledges: a collector that is killed at any point loses nothing and counts nothing twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.errors import BrokerError, StoreError
from fleet.database import Database
from fleet.messages import MessageError, News, Window, read_message

log = logging.getLogger(__name__)

BATCH = 500
WAIT_S = 0.2
"""A batch is closed after so long, even if it is small."""
AGAIN_S = 3.0
"""Between two attempts while the database or the broker is away."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``handle`` is what its source needs to acknowledge it."""

    topic: str
    payload: bytes
    handle: object


class Source(Protocol):
    """A broker's side of the collector."""

    def take(self) -> Sequence[Message]:
        """Up to BATCH messages, after at most a second; raises BrokerError while the broker is away."""

    def done(self, messages: Sequence[Message]) -> None:
        """Acknowledge them; raises BrokerError, and then they come again."""

    def close(self) -> None:
        """Leave the broker; messages that were not acknowledged come again."""


@dataclass
class Tally:
    """What the collector has done since it started, for /metrics."""

    messages: int = 0
    windows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Messages that could not be read, by topic."""
    last_commit_s: float = 0.0


class Collector:
    """Runs until ``stop`` is set."""

    def __init__(self, source: Source, database: Database, prefix: str, *, tally: Tally | None = None) -> None:
        self._source, self._database, self._prefix = source, database, prefix
        self.tally = Tally() if tally is None else tally

    def run(self, stop: threading.Event) -> None:
        """Collect; the database or the broker may be away for any time."""
        try:
            while not stop.is_set():
                try:
                    self.step()
                except (BrokerError, StoreError) as error:
                    log.error("%s; trying again every %.0f s", error, AGAIN_S)
                    stop.wait(AGAIN_S)
        finally:
            self._source.close()

    def step(self) -> None:
        """One batch, committed and acknowledged. Raises BrokerError or StoreError; what was taken comes again."""
        messages = self._source.take()
        if not messages:
            return
        read = [self._read(message) for message in messages]
        windows = [item for item in read if isinstance(item, Window)]
        news = {(item.device, item.kind): item for item in read if isinstance(item, News)}
        self.tally.windows += self._database.add(windows, news.values(), now_ms=time.time_ns() // 1_000_000)
        self._source.done(messages)
        self.tally.messages += len(messages)
        self.tally.last_commit_s = time.time()

    def _read(self, message: Message) -> Window | News | None:
        try:
            return read_message(message.topic, message.payload, self._prefix)
        except MessageError as error:
            if not self.tally.refused[message.topic]:
                log.warning("%s: %s; it is left out, and so are more of its kind without a word", message.topic, error)
            self.tally.refused[message.topic] += 1
            return None
