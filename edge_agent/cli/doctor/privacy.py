"""May faces be read here, and are groups large enough before figures are published?"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.cli.doctor.check import Check, ok, warning
from edge_agent.config import Config
from edge_agent.config.reminders import ACKNOWLEDGE_USE, USUAL_MIN_PEOPLE


def examine(config: Config) -> Iterable[Check]:
    """Only reminders: the owner decides about both settings."""
    if not config.privacy.acknowledged_use:
        problem, _, fix = ACKNOWLEDGE_USE.partition(": ")
        yield warning("place of use", problem, fix)
    detail = f"groups below {config.privacy.min_people} people are withheld"
    if config.privacy.min_people < USUAL_MIN_PEOPLE:
        fix = f"this is for demos: set privacy.min_people to {USUAL_MIN_PEOPLE} or more where people are in view"
        yield warning("small groups", detail, fix)
    else:
        yield ok("small groups", detail)
