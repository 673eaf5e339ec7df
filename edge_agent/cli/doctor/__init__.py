"""``edge-agent doctor``: checks everything the agent needs, and says what is wrong and how to fix it.

Nothing is changed and no picture is kept. Its messages go to ``<prefix>/<device>/doctor``, and once the announcement to
Home Assistant as the agent makes it; none is retained.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from edge_agent.cli.doctor import broker, camera, machine, packages, privacy, seeing
from edge_agent.cli.doctor.check import Check, Status, failed
from edge_agent.config import Config
from edge_agent.errors import CountenanceError
from edge_agent.host.redaction import redact

log = logging.getLogger(__name__)

Examination = Callable[[Config], Iterable[Check]]

EXAMINATIONS: tuple[tuple[str, Examination], ...] = (
    ("privacy", privacy.examine),
    ("packages", packages.examine),
    ("model", seeing.examine_model),
    ("detector", seeing.examine_detector),
    ("camera", camera.examine),
    ("broker", broker.examine),
    ("disk", machine.examine_disk),
    ("permissions", machine.examine_permissions),
    ("clock", machine.examine_clock),
    ("temperature", machine.examine_temperature),
)


def run(config: Config, examinations: Iterable[tuple[str, Examination]] = EXAMINATIONS) -> Iterator[Check]:
    """Make one check after the other, and yield each as soon as it is known; the camera takes seconds."""
    for name, examine in examinations:
        yield from _guarded(name, examine, config)


def report(
    checks: Iterable[Check],
    *,
    as_json: bool,
    write: Callable[[str], object],
    onward: Callable[[Sequence[Check]], list[str]] = lambda _checks: [],
) -> int:
    """Write the checks, a line each as they come, or as one JSON object.

    Args:
        checks: as :func:`run` makes them.
        as_json: one object.
        write: takes each line.
        onward: says what to do next, of all checks; these are the last lines.

    Returns:
        The exit code: 0, or 1 if any check failed.
    """
    done = []
    for check in checks:
        done.append(check)
        if not as_json:
            write(str(check))
    bad = any(check.status is Status.FAILED for check in done)
    steps = onward(done)
    if as_json:
        write(json.dumps({"ok": not bad, "checks": [check.as_dict() for check in done], "next": steps}, indent=2))
    else:
        for step in steps:
            write(f"next     {step}")
    return int(bad)


def _guarded(name: str, examine: Examination, config: Config) -> Iterator[Check]:
    """A broken part of the machine must not prevent the other checks."""
    try:
        yield from examine(config)
    except CountenanceError as error:
        problem, _, fix = str(error).partition("; ")
        yield failed(name, redact(problem), redact(fix) or "see docs/device.md")
    except Exception as error:  # the boundary between examinations: it is reported as a failed check
        log.debug("doctor failed", exc_info=True)
        yield failed(name, redact(f"{type(error).__name__}: {error}"), "a defect of the doctor: please report it")
