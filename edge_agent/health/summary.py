"""The periodic report on the device: one dictionary, for MQTT's ``health``."""

from __future__ import annotations

import time
from typing import Any

from edge_agent.config import Config
from edge_agent.health.counters import Counter, Health, HealthSnapshot, Latency
from edge_agent.host import machine
from edge_agent.host.clock import Clock
from edge_agent.live import Live
from edge_agent.message import SCHEMA
from edge_agent.store import Store, StoreStats
from edge_agent.types import ModelsState


def health_payload(
    config: Config, session: str, health: Health, *, store: Store, live: Live, clock: Clock
) -> dict[str, Any]:
    """The state of the device as docs/mqtt.md describes it; null for what cannot be known here."""
    snapshot, stats, state = health.snapshot(), store.stats(), live.state
    return {
        "schema": SCHEMA,
        "device": config.device.id,
        "session": session,
        "uptime_s": round(snapshot.uptime_s, 1),
        "clock_synced": clock.synchronised(),
        "camera": state.camera,
        "trouble": state.trouble,
        "model": _model(state.models),
        "frames": {**_counted(snapshot, "frames"), **_rates(snapshot)},
        "last_frame_age_s": _age(snapshot.gauges.get("last_frame_monotonic_s")),
        "latency_ms": {stage: _latency_ms(value) for stage, value in snapshot.latencies.items()},
        "store": _store(stats),
        "mqtt": _counted(snapshot, "mqtt"),
        "temperature_c": machine.temperature_c(),
        "throttling": machine.throttling(),
        "disk_free_mb": _mb(machine.disk_free_bytes(config.store.path.parent)),
        "rss_mb": _mb(machine.rss_bytes()),
    }


def _model(models: ModelsState | None) -> dict[str, Any] | None:
    if models is None:
        return None
    return {
        "name": models.name,
        "release": models.release,
        "channel": models.channel,
        "latest": models.latest,
        "improves": models.improves,
        "trying": models.trying,
        "held": models.held,
        "agreement": models.agreement,
    }


def _counted(snapshot: HealthSnapshot, section: str) -> dict[str, Any]:
    """The counters of one section of the message."""
    told: dict[str, Any] = {}
    for counter, value in snapshot.counters.items():
        first, *levels = counter.value.health.split(".")
        if first == section:
            place = told
            for level in levels[:-1]:
                place = place.setdefault(level, {})
            place[levels[-1]] = value
    return told


def _rates(snapshot: HealthSnapshot) -> dict[str, float]:
    return {
        name: round(snapshot.rates_hz[counter], 2)
        for name, counter in (
            ("captured_per_s", Counter.FRAMES_CAPTURED),
            ("processed_per_s", Counter.FRAMES_PROCESSED),
            ("dropped_per_s", Counter.FRAMES_DROPPED),
        )
    }


def _latency_ms(latency: Latency) -> dict[str, float]:
    return {
        name: round(value * 1000, 2)
        for name, value in (("p50", latency.p50_s), ("p95", latency.p95_s), ("p99", latency.p99_s))
    }


def _store(stats: StoreStats) -> dict[str, Any]:
    return {
        "windows": stats.rows,
        "bytes": stats.bytes,
        "pending": stats.pending,
        "oldest_pending_age_s": None if stats.oldest_pending_s is None else round(stats.oldest_pending_s, 1),
        "dropped": dict(stats.dropped),
        "in_memory": stats.in_memory,
    }


def _age(monotonic_s: float | None) -> float | None:
    return None if monotonic_s is None else round(time.monotonic() - monotonic_s, 2)


def _mb(count: int | None) -> float | None:
    return None if count is None else round(count / 1e6, 1)
