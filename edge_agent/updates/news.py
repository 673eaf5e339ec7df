"""What the agent tells the updater: a request, and how releases did. The agent alone writes it, beside its store.

It holds figures about models and none about people. A systemd path unit watches the file and starts the updater.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edge_agent.config import Config
from edge_agent.host.files import write_atomically
from edge_agent.updates.folder import MOST_BYTES
from edge_agent.updates.release import ReleaseName, Strict

log = logging.getLogger(__name__)


class Verdict(Strict):
    """How a release does in this agent."""

    phase: Literal["shadow", "probation"]
    """Beside the present model, or in its place."""
    starts: int = 0
    """How often it was begun without a clean end."""
    passed: bool | None = None
    """None: not known yet."""
    why: str = ""
    """What is wrong with it."""
    people: int | None = None
    """In the published windows that both models read."""
    agreement: float | None = None
    """How far the shares agreed in them, percent; only once they were of at least 100 people."""
    ms: float | None = None
    """Milliseconds for one picture, 95 % of them took less."""
    ms_present: float | None = None
    """The same of the present model."""
    memory_mb: float | None = None
    """What it takes more."""


class News(Strict):
    """``updates.json``."""

    asked: str = ""
    """Names the last request for an update."""
    verdicts: dict[ReleaseName, Verdict] = Field(default_factory=dict)


def news_path(config: Config) -> Path:
    """Where it lies: the agent's own folder."""
    return config.store.path.parent / "updates.json"


def read_news(path: Path) -> News:
    """What the agent has told so far; a file that is damaged has told nothing, and releases are tried again."""
    try:
        with path.open("rb") as file:
            return News.model_validate_json(file.read(MOST_BYTES))
    except FileNotFoundError:
        return News()
    except (OSError, ValidationError) as error:
        log.warning("%s: cannot be read (%s); releases are tried again", path, str(error).splitlines()[0])
        return News()


def write_news(path: Path, news: News) -> bool:
    """Replace it; the updater's group may read it. False where the disk does not take it, with a line in the log."""
    try:
        write_atomically(path, news.model_dump_json(indent=1).encode() + b"\n", mode=0o640)
    except OSError as error:
        log.warning("%s: cannot be written: %s; the updater does not hear of it", path, error.strerror)
        return False
    return True
