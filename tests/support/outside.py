"""Which tests need more than this process: a broker, a browser, a child process or long computing.

``make check`` leaves them out, and fails a test that starts a program without being named here.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

FIXTURES = {"broker", "browser", "opened", "small_disk"}
MODULES = {
    "tests/fleet/test_api.py",
    "tests/fleet/test_collecting.py",
    "tests/fleet/test_database.py",
    "tests/fleet/test_deployment.py",
    "benchmarks/tests/test_prevalence.py",
    "benchmarks/tests/test_sd_card.py",
    "benchmarks/tests/test_tracking.py",
    "tests/cameras/test_cameras.py",
    "tests/cameras/test_films.py",
    "tests/cameras/test_live.py",
    "tests/cli/test_bench.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_doctor.py",
    "tests/cli/test_predict.py",
    "tests/config/test_fuzz.py",
    "tests/host/test_children.py",
    "tests/host/test_rights.py",
    "tests/host/test_sockets.py",
    "tests/kiosk/test_connections.py",
    "tests/kiosk/test_cost.py",
    "tests/kiosk/test_layout.py",
    "tests/kiosk/test_page.py",
    "tests/kiosk/test_predict_page.py",
    "tests/kiosk/test_server.py",
    "tests/kiosk/test_visitors.py",
    "tests/mqtt/test_commands.py",
    "tests/mqtt/test_docs.py",
    "tests/mqtt/test_faults.py",
    "tests/mqtt/test_mosquitto_configs.py",
    "tests/mqtt/test_publisher.py",
    "tests/quantization/test_calibrated_heads.py",
    "tests/quantization/test_quantization.py",
    "tests/store/test_damage.py",
    "tests/store/test_damage_everywhere.py",
    "tests/store/test_export.py",
    "tests/store/test_disk.py",
    "tests/store/test_kill.py",
    "tests/store/test_states.py",
    "tests/systemd/test_install.py",
    "tests/systemd/test_kiosk_unit.py",
    "tests/systemd/test_units.py",
    "tests/test_agent.py",
    "tests/test_docs.py",
    "tests/test_makefile.py",
    "tests/test_privacy.py",
    "tests/training/test_data.py",
    "tests/updates/test_attacks.py",
    "tests/updates/test_killed.py",
    "tests/updates/test_shadow.py",
    "tests/vision/test_stillness.py",
    "tests/mqtt/test_limits.py",
}
TESTS = {
    "test_a_fresh_process_logs_to_stderr",
    "test_a_plain_check_imports_nothing_heavy",
    "test_the_agent_serves_metrics_without_broker_and_page",
    "test_throttling_is_read_from_the_kernel_and_else_from_raspberry_pis_program",
}
STARTS = {"subprocess.Popen", "os.posix_spawn", "os.fork"}


def mark(items: list[pytest.Item]) -> None:
    """Give them the marker ``outside``."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        module, _, name = item.nodeid.partition("::")
        if module in MODULES or fixtures & FIXTURES or name.partition("[")[0] in TESTS:
            item.add_marker(pytest.mark.outside)


class NoPrograms:
    """Fails a test that starts a program, while a run leaves the marker ``outside`` out."""

    def __init__(self) -> None:
        self._inside = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if self._inside and event in STARTS:
            pytest.fail("it starts a program: name it in tests/support/outside.py")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        self._inside = True
        try:
            return (yield)
        finally:
            self._inside = False
