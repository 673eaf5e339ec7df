"""Counters, gauges and latencies of the running agent, fed by every stage, published on MQTT and for Prometheus.

The standard library only: :mod:`edge_agent.health.prometheus` turns a snapshot into Prometheus' format,
:mod:`edge_agent.host.machine` reads the hardware's sensors.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the histogram's buckets in seconds."""

RECENT = 1000
"""Observations per stage that quantiles are taken from."""

RATE_S = 60.0
"""Rates are over at least the last minute, once the agent has run that long."""


@dataclass(frozen=True, slots=True)
class Told:
    """How one counter is published."""

    unit: str
    """What is counted."""
    text: str
    """Description for Prometheus and for the JSON Schema of ``.../health``."""
    health: str = ""
    """Its place in ``.../health``, levels joined by dots; empty where only Prometheus has it."""
    reason: str = ""
    """Prometheus' label ``reason``, for counters that differ only in that."""


class Counter(Enum):
    """Everything that is counted since the start; the lower-case name is Prometheus'."""

    FRAMES_CAPTURED = Told("frames", "Frames that the camera delivered", "frames.captured")
    FRAMES_PROCESSED = Told("frames", "Frames that went through the pipeline", "frames.processed")
    FRAMES_DROPPED = Told("frames", "Frames that were not processed", "frames.dropped.slow", reason="slow")
    WINDOWS_DELIVERED = Told("windows", "Windows whose PUBACK came")
    WINDOWS_REFUSED = Told("windows", "Windows that the broker refused")
    MQTT_CONNECTS = Told("connections", "Connections that the broker accepted", "mqtt.connects")
    MQTT_DISCONNECTS = Told("connections", "Connections that ended", "mqtt.disconnects")
    MQTT_REFUSALS = Told("connections", "Connections that the broker did not accept", "mqtt.refusals")
    MQTT_THREAD_DEATHS = Told("threads", "Network threads that died and were replaced")
    MQTT_MESSAGES_DROPPED = Told("messages", "Messages from the broker beyond what can wait")
    COMMANDS = Told("commands", "Commands that were answered")


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a stage takes."""

    p50_s: float
    p95_s: float
    p99_s: float
    count: int
    """Observations since the start."""
    sum_s: float
    buckets: tuple[int, ...]
    """Observations at or below each of :data:`BOUNDS_S`, cumulative."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """One consistent look."""

    uptime_s: float
    counters: dict[Counter, int]
    """Every one of them, from the start on."""
    rates_hz: dict[Counter, float]
    """How fast each counter has grown lately, per second."""
    gauges: dict[str, float]
    latencies: dict[str, Latency]


@dataclass(slots=True)
class _Stage:
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def latency(self) -> Latency:
        ordered = sorted(self.recent)
        cumulative, running = [], 0
        for count in self.buckets:
            running += count
            cumulative.append(running)
        return Latency(
            p50_s=quantile(ordered, 0.50),
            p95_s=quantile(ordered, 0.95),
            p99_s=quantile(ordered, 0.99),
            count=running,
            sum_s=self.sum_s,
            buckets=tuple(cumulative[:-1]),
        )


class Health:
    """Thread-safe; cheap enough to be called for every frame."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._counters = dict.fromkeys(Counter, 0)
        self._gauges: dict[str, float] = {}
        self._stages: dict[str, _Stage] = {}
        self._earlier: deque[tuple[float, dict[Counter, int]]] = deque([(self._started_s, dict(self._counters))])

    def count(self, counter: Counter, n: int = 1) -> None:
        """Add ``n`` to a counter."""
        with self._lock:
            self._counters[counter] += n

    def total(self, counter: Counter, value: int) -> None:
        """Set a counter that another thread keeps, for example the camera's."""
        with self._lock:
            self._counters[counter] = value

    def gauge(self, name: str, value: float) -> None:
        """Set a value that goes up and down; its unit is in its name."""
        with self._lock:
            self._gauges[name] = value

    def observe(self, stage: str, seconds: float) -> None:
        """One pass through a stage took this long."""
        with self._lock:
            kept = self._stages.setdefault(stage, _Stage())
            kept.recent.append(seconds)
            kept.buckets[bisect_left(BOUNDS_S, seconds)] += 1
            kept.sum_s += seconds

    def snapshot(self) -> HealthSnapshot:
        """Everything as it is now."""
        with self._lock:
            now = time.monotonic()
            rates = self._rates(now)
            return HealthSnapshot(
                uptime_s=now - self._started_s,
                counters=dict(self._counters),
                rates_hz=rates,
                gauges=dict(self._gauges),
                latencies={name: stage.latency() for name, stage in self._stages.items()},
            )

    def _rates(self, now: float) -> dict[Counter, float]:
        """Growth since the youngest snapshot that is at least :data:`RATE_S` old."""
        while len(self._earlier) > 1 and now - self._earlier[1][0] >= RATE_S:
            self._earlier.popleft()
        since_s, before = self._earlier[0]
        if now - self._earlier[-1][0] >= 1.0:
            self._earlier.append((now, dict(self._counters)))
        elapsed = max(now - since_s, 1e-3)
        return {counter: (value - before[counter]) / elapsed for counter, value in self._counters.items()}


def quantile(ordered: Sequence[float], q: float) -> float:
    """Nearest-rank quantile (0 < q <= 1) of ascending values; 0.0 of none."""
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else 0.0
