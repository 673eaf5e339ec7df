"""What to do after the doctor's checks: the last lines of its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_agent.cli.doctor import service
from edge_agent.cli.doctor.check import Check, Status
from edge_agent.config import Config
from edge_agent.first_start.answers import page_address


def next_steps(config: Config, file: Path | None, checks: Sequence[Check]) -> list[str]:
    """One step a line, each with its command as it must be typed.

    Args:
        file: what was given with ``-c``; None if nothing was.
        checks: all that were made.
    """
    failed = [check for check in checks if check.status is Status.FAILED]
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        return [f"fix what failed ({failed[0].name}: {failed[0].fix}{more}), then run the doctor again"]
    if file is None:
        return ["edge-agent setup    asks for camera, broker and page, and writes a configuration"]
    steps = []
    if service.is_running():
        steps.append(f"nothing is to be done: {service.UNIT} runs; after a change: sudo systemctl reload countenance")
    elif service.is_installed():
        steps.append("sudo systemctl restart countenance    starts the service")
    else:
        steps.append(f"edge-agent run -c {file}    starts it")
    if config.kiosk.enabled:
        steps.append(f"open the page: {page_address(config.kiosk)}")
    else:
        steps.append(f"the page is off; to see the figures in a browser, set kiosk.enabled: true in {file}")
    if config.mqtt.enabled:
        steps.append(f"edge-agent watch -c {file}    shows what arrives at the broker")
    return steps
