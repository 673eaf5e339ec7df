"""The same figures for Prometheus: one registry, on a separate port or behind the page.

https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_agent.config import Config
from edge_agent.health.counters import BOUNDS_S, Health, HealthSnapshot
from edge_agent.host import machine
from edge_agent.host.clock import Clock
from edge_agent.live import Live
from edge_agent.store import Store
from edge_agent.types import CameraState, Trouble

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class _Collector:
    """Reads everything when Prometheus asks."""

    def __init__(self, config: Config, live: Live, health: Health, *, store: Store, clock: Clock) -> None:
        self._config, self._live, self._health, self._store, self._clock = config, live, health, store, clock

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client for every scrape."""
        snapshot = self._health.snapshot()
        yield from self._from_counters(snapshot)
        yield self._stages(snapshot)
        yield from self._from_store()
        yield from self._from_machine(snapshot)
        yield from self._from_models()
        yield from self._from_latest_window()

    def _from_counters(self, snapshot: HealthSnapshot) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        for counter, value in snapshot.counters.items():
            told = counter.value
            labels = {"reason": told.reason} if told.reason else {}
            family = CounterMetricFamily(f"countenance_{counter.name.lower()}", told.text, labels=tuple(labels))
            family.add_metric(list(labels.values()), value)
            yield family

    def _stages(self, snapshot: HealthSnapshot) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily("countenance_stage_seconds", "Time that a stage takes", labels=["stage"])
        for stage, latency in snapshot.latencies.items():
            bounds = [str(bound) for bound in BOUNDS_S]
            buckets = [*zip(bounds, latency.buckets, strict=True), ("+Inf", latency.count)]
            family.add_metric([stage], buckets, latency.sum_s)
        return family

    def _from_store(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        stats = self._store.stats()
        yield _gauge("store_windows", "Windows in the store", stats.rows)
        yield _gauge("store_bytes", "Size of the store", stats.bytes)
        yield _gauge("store_in_memory", "1 while the disk does not take windows", int(stats.in_memory))
        yield _gauge("windows_pending", "Windows whose PUBACK has not come", stats.pending)
        yield _gauge("windows_oldest_pending_seconds", "Age of the oldest of them", stats.oldest_pending_s)
        dropped = CounterMetricFamily("countenance_windows_dropped", "Windows dropped undelivered", labels=["reason"])
        for reason, count in stats.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped

    def _from_machine(self, snapshot: HealthSnapshot) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        yield _gauge("uptime_seconds", "Time since the agent started", snapshot.uptime_s)
        frame_s = snapshot.gauges.get("last_frame_monotonic_s")
        age_s = snapshot.uptime_s if frame_s is None else time.monotonic() - frame_s
        yield _gauge("last_frame_age_seconds", "Age of the newest frame; time since the start before the first", age_s)
        yield self._camera()
        yield _gauge("clock_synchronised", "1 when the clock follows a reference", int(self._clock.synchronised()))
        yield _gauge("temperature_celsius", "The hottest thermal zone", machine.temperature_c())
        yield _gauge("resident_memory_bytes", "Memory of the agent", machine.rss_bytes())
        free = machine.disk_free_bytes(self._config.store.path.parent)
        yield _gauge("disk_free_bytes", "Room where the store is", free)
        throttled = GaugeMetricFamily("countenance_throttled", "Raspberry Pi's throttling", labels=["reason"])
        for reason, active in (machine.throttling() or {}).items():
            throttled.add_metric([reason], int(active))
        yield throttled

    def _camera(self) -> Metric:
        """Each state from the start on, so that an alert can fire before the first frame."""
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "countenance_camera_state",
            "1 for what the camera is doing, or what its faces suffer from",
            labels=["state"],
        )
        now = self._live.state.camera_state
        for name in (*(each.value for each in (*CameraState, *Trouble)), "paused"):
            family.add_metric([name], int(name == now))
        return family

    def _from_models(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        models = self._live.state.models
        family = GaugeMetricFamily(
            "countenance_model_info", "1 for the models in use", labels=["name", "release", "channel"]
        )
        if models is not None:
            family.add_metric([models.name, models.release or "", models.channel], 1)
        yield family
        offered = None if models is None else int(models.update_offered)
        yield _gauge("model_update_offered", "1 while there is a release that is not in use", offered)
        trying = None if models is None else int(models.trying is not None)
        yield _gauge("model_update_trying", "1 while a release is tried beside the one in use", trying)
        agreement = None if models is None else models.agreement
        yield _gauge("model_agreement_percent", "Of shares, from the last try that was judged", agreement)

    def _from_latest_window(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily("countenance_share_percent", "Latest window's shares of people", labels=["emotion"])
        state, familiar = self._live.state, None
        shares = None if state.report is None or state.is_trial else state.report.shares
        age_s, stale_after_s = state.report_age_s(time.monotonic()), state.stale_after_s
        if shares is not None and age_s is not None and stale_after_s is not None and age_s <= stale_after_s:
            for emotion, share in shares.percentages.items():
                family.add_metric([emotion], share)
            familiar = shares.familiar
        yield family
        yield _gauge("familiar", "How likely the faces are read like those the model was measured on, 0 to 1", familiar)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """A family without a sample if the value is not known: a missing figure is not zero."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"countenance_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


def make_registry(
    config: Config, live: Live, health: Health, *, store: Store, clock: Clock | None = None
) -> CollectorRegistry:
    """Everything that Prometheus may ask for; ``prometheus_client.generate_latest(registry)`` renders it."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(config, live, health, store=store, clock=clock or Clock()))
    return registry
