"""Counters, latencies and what the machine says of itself."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.config import Config, MetricsConfig
from edge_agent.errors import ListenError
from edge_agent.health import counters as health_module
from edge_agent.health.counters import BOUNDS_S, Counter, Health, quantile
from edge_agent.health.prometheus import make_registry
from edge_agent.health.server import serve_metrics
from edge_agent.health.summary import health_payload
from edge_agent.host import machine
from edge_agent.host.clock import Clock, kernel_clock_synchronised
from edge_agent.live import Live
from edge_agent.message import encode
from edge_agent.store import Store, open_store
from edge_agent.types import CameraState, ModelsState, Trouble
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import free_port, wait_until
from tests.support.schemas import schema, undocumented, validate
from tests.support.windows import LABELS, make_report


def test_quantiles_are_by_nearest_rank() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert [quantile(hundred, q) for q in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert (quantile([7.0], 0.5), quantile([], 0.99)) == (7.0, 0.0)


def test_a_stage_has_quantiles_and_a_cumulative_histogram() -> None:
    health = Health()
    for milliseconds in (0.5, 1, 3, 30, 9000):
        health.observe("detect", milliseconds / 1000)
    latency = health.snapshot().latencies["detect"]
    assert (latency.p50_s, latency.p99_s, latency.count) == (0.003, 9.0, 5)
    assert dict(zip(BOUNDS_S, latency.buckets, strict=True))[0.001] == 2
    assert latency.buckets[-1] == 4, "what is beyond the last bound is only in +Inf"


def test_counting_from_many_threads_loses_nothing() -> None:
    health = Health()
    threads = [threading.Thread(target=lambda: [health.count(Counter.COMMANDS) for _ in range(5000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert health.snapshot().counters[Counter.COMMANDS] == 40_000


def test_a_rate_is_of_the_last_minute_and_not_of_all_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(health_module.time, "monotonic", lambda: now)
    health = Health()
    for second in range(300):
        now = 1000.0 + second
        health.count(Counter.FRAMES_PROCESSED, 10 if second < 200 else 2)
        rate = health.snapshot().rates_hz[Counter.FRAMES_PROCESSED]
    assert rate == pytest.approx(2.0, abs=0.1)


# -- the message -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(Config().store.model_copy(update={"path": tmp_path / "w.sqlite"}), "s1", "m1")
    yield store
    store.close()


def test_health_is_valid_and_counts_what_happened(store: Store) -> None:
    health = Health()
    health.observe("classify", 0.004)
    health.count(Counter.FRAMES_DROPPED, 3)
    health.gauge("last_frame_monotonic_s", time.monotonic() - 2)
    store.append(make_report(1))
    live = Live()
    live.update(models=ModelsState(name="emotion", release="2026.12", channel="canary", latest="2027.1"))
    payload = json.loads(encode(health_payload(Config(), "s1", health, store=store, live=live, clock=Clock())))
    validate("health", payload)
    assert (payload["model"]["release"], payload["model"]["channel"]) == ("2026.12", "canary")
    assert not undocumented("health", payload)
    assert payload["frames"]["dropped"] == {"slow": 3}
    assert payload["latency_ms"]["classify"]["p95"] == 4.0
    assert 2.0 <= payload["last_frame_age_s"] < 4.0
    assert (payload["store"]["windows"], payload["store"]["pending"]) == (1, 1)
    assert payload["rss_mb"] > 10
    assert payload["disk_free_mb"] > 0


@pytest.mark.parametrize("counter", [c for c in Counter if c.value.health], ids=lambda counter: counter.name)
def test_the_schema_says_of_a_counter_what_prometheus_says(counter: Counter) -> None:
    """One table feeds the message, the metrics and the schema."""
    place = schema("health")
    for level in counter.value.health.split("."):
        place = place["properties"][level]
    assert place["description"] == f"{counter.value.text}, since the start."


def test_health_of_an_idle_agent_is_valid(store: Store) -> None:
    validate(
        "health", json.loads(encode(health_payload(Config(), "s1", Health(), store=store, live=Live(), clock=Clock())))
    )


# -- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["50005", "0x50005", "throttled=0x50005"])
def test_a_raspberry_pis_throttling_is_decoded(text: str) -> None:
    decoded = machine.decode_throttled(text)
    assert decoded is not None
    assert {name for name, active in decoded.items() if active} == {
        "under_voltage",
        "throttled",
        "under_voltage_since_boot",
        "throttled_since_boot",
    }
    assert len(decoded) == 8


@pytest.mark.parametrize("text", ["", "VCHI initialization failed", "throttled="])
def test_what_is_no_throttling_is_none(text: str) -> None:
    assert machine.decode_throttled(text) is None


def test_throttling_is_read_from_the_kernel_and_else_from_raspberry_pis_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asked = machine.throttling(tmp_path)
    assert asked is not None
    assert asked["under_voltage"]
    file = tmp_path / machine.FIRMWARE_THROTTLED
    file.parent.mkdir(parents=True)
    file.write_text("0\n")
    assert not any((machine.throttling(tmp_path) or {"missing": True}).values())


def test_the_hottest_zone_counts_and_a_zone_that_is_off_does_not(tmp_path: Path) -> None:
    assert machine.temperature_c(tmp_path) is None
    for number, text in enumerate(["48312", "61000", "-256000", "garbage"]):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(f"{text}\n")
    assert machine.temperature_c(tmp_path) == 61.0


def test_room_on_the_disk_is_known_before_the_folder_exists(tmp_path: Path) -> None:
    assert (machine.disk_free_bytes(tmp_path / "not" / "yet") or 0) > 0


def test_the_kernel_answers_whether_the_clock_is_synchronised() -> None:
    import ctypes

    class Timex(ctypes.Structure):
        _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 400))

    libc = ctypes.CDLL(None)
    assert kernel_clock_synchronised() == (libc.adjtimex(ctypes.byref(Timex())) != 5)


# -- Prometheus ------------------------------------------------------------------------------------------------------


def scrape(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_same_figures(store: Store) -> None:
    health, port = Health(), free_port()
    health.observe("detect", 0.02)
    health.count(Counter.FRAMES_DROPPED, 4)
    health.count(Counter.MQTT_CONNECTS)
    stored, live = store.append(make_report(1)), Live()
    live.update(report=stored.report, models=ModelsState("emotion", release=None, channel="stable", latest="2027.1"))
    stop = serve_metrics(MetricsConfig(port=port), make_registry(Config(), live, health, store=store))
    try:
        read = scrape(port)
    finally:
        stop()
    assert read["countenance_stage_seconds_bucket", "0.025,detect"] == 1
    assert read["countenance_stage_seconds_count", "detect"] == 1
    assert read["countenance_frames_dropped_total", "slow"] == 4
    assert read["countenance_mqtt_connects_total", ""] == 1
    assert read["countenance_windows_pending", ""] == 1
    assert read["countenance_model_info", "stable,emotion,"] == 1
    assert read["countenance_model_update_offered", ""] == 1
    assert stored.report.shares is not None
    assert {label: read["countenance_share_percent", label] for label in LABELS} == stored.report.shares.percentages
    assert read["countenance_familiar", ""] == stored.report.shares.familiar


@pytest.mark.parametrize(
    ("people", "age_s", "window_s", "is_told"),
    [(5, 0, 10, True), (None, 0, 10, False), (0, 0, 10, False), (5, 46, 10, False), (5, 46, 60, True)],
    ids=["fresh", "withheld", "empty", "old", "before a longer one"],
)
def test_withheld_empty_and_old_windows_are_not_told(
    store: Store, people: int | None, age_s: float, window_s: float, is_told: bool
) -> None:
    live = Live()
    live.update(report=make_report(1, people=people, age_s=age_s), window_s=window_s)
    registry = make_registry(Config(), live, Health(), store=store)
    told = [registry.get_sample_value("countenance_share_percent", {"emotion": label}) for label in LABELS]
    assert told.count(None) == (0 if is_told else len(LABELS))
    assert (registry.get_sample_value("countenance_familiar") is not None) == is_told


def test_an_alert_about_the_camera_can_fire_from_the_start(store: Store) -> None:
    live = Live()
    registry = make_registry(Config(), live, Health(), store=store)

    def states() -> dict[str, float | None]:
        names = ("starting", "running", "stalled", "gone", "ended", "paused")
        return {name: registry.get_sample_value("countenance_camera_state", {"state": name}) for name in names}

    assert registry.get_sample_value("countenance_last_frame_age_seconds") is not None
    assert states() == {"starting": 1, "running": 0, "stalled": 0, "gone": 0, "ended": 0, "paused": 0}
    live.camera_changed(CameraState.GONE, "unplugged")
    assert states()["gone"] == 1
    live.update(paused=True)
    assert states() == {"starting": 0, "running": 0, "stalled": 0, "gone": 0, "ended": 0, "paused": 1}


def test_what_most_faces_suffer_from_is_a_state_of_the_camera(store: Store) -> None:
    live = Live()
    live.update(camera=CameraState.RUNNING, trouble=Trouble.UPSIDE_DOWN)
    registry = make_registry(Config(), live, Health(), store=store)
    assert registry.get_sample_value("countenance_camera_state", {"state": "upside_down"}) == 1
    assert registry.get_sample_value("countenance_camera_state", {"state": "running"}) == 0


def test_a_window_of_an_earlier_run_is_not_told(store: Store) -> None:
    """It is in the store, and may be hours old by an unknown clock."""
    store.append(make_report(1))
    registry = make_registry(Config(), Live(), Health(), store=store)
    assert registry.get_sample_value("countenance_share_percent", {"emotion": "happy"}) is None


def test_the_agent_serves_metrics_without_broker_and_page(tmp_path: Path) -> None:
    port = free_port()
    config = configure(tmp_path, metrics={"enabled": True, "port": port}, mqtt={"enabled": False})
    with AgentProcess("run", "-c", config, folder=tmp_path) as agent:
        read = wait_until(lambda: _windows_read(port), 30, lambda: f"a window in the metrics; {agent.log}")
        assert agent.stop() == 0
    assert read["countenance_frames_captured_total", ""] > 0
    assert {stage for name, stage in read if name == "countenance_stage_seconds_count"} >= {"detect", "window"}


def _windows_read(port: int) -> dict[tuple[str, str], float] | None:
    try:
        read = scrape(port)
    except OSError:
        return None
    return read if read["countenance_store_windows", ""] and read["countenance_frames_captured_total", ""] else None


def test_a_port_that_is_taken_is_a_clear_error(store: Store) -> None:
    port, registry = free_port(), make_registry(Config(), Live(), Health(), store=store)
    stop = serve_metrics(MetricsConfig(port=port), registry)
    try:
        with pytest.raises(ListenError, match=rf"metrics\.port: {port} is in use on 127\.0\.0\.1"):
            serve_metrics(MetricsConfig(port=port), registry)
    finally:
        stop()
