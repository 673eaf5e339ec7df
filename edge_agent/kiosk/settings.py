"""Settings of the page that need its files or the model to be checked; the packages that serve it are not needed."""

from __future__ import annotations

from datetime import time
from pathlib import Path

from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.host.rights import is_barred
from edge_agent.kiosk.view import display_order


def shown_labels(config: Config, labels: tuple[str, ...]) -> tuple[str, ...]:
    """``kiosk.emotions`` in their order, or all emotions.

    Raises:
        ConfigError: the model knows no such emotion.
    """
    unknown = [label for label in config.kiosk.emotions if label not in labels]
    if unknown:
        raise ConfigError(f"kiosk.emotions: the model does not know {', '.join(unknown)}; it has {', '.join(labels)}")
    return config.kiosk.emotions or display_order(labels)


def check_logo(path: Path | None, key: str = "kiosk.logo") -> Path | None:
    """The logo's file, which ``key`` names.

    Raises:
        ConfigError: it is missing or of a type that browsers do not show.
    """
    if path is None:
        return None
    if path.suffix.lower() not in (".svg", ".png", ".webp", ".jpg", ".jpeg"):
        raise ConfigError(f"{key}: {path} must be an SVG, PNG, WebP or JPEG file")
    if is_barred(path) or not path.is_file():
        raise ConfigError(f"{key}: {path} does not exist, or this user may not read it")
    return path


def quiet_until(hours: str | None, now: time) -> str | None:
    """When the quiet hours that ``now`` (local time) lies in end, as ``07:00``; None outside them.

    Args:
        hours: ``kiosk.quiet_hours``, such as ``22:00-07:00``.
        now: the time of the day.
    """
    if hours is None:
        return None
    start, end = (time.fromisoformat(part) for part in hours.split("-"))
    is_quiet = start <= now < end if start <= end else now >= start or now < end
    return f"{end:%H:%M}" if is_quiet else None
