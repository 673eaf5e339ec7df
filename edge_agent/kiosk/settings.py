"""Settings of the page that need its files or the model to be checked; the packages that serve it are not needed."""

from __future__ import annotations

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


def check_logo(path: Path | None) -> Path | None:
    """The logo's file.

    Raises:
        ConfigError: it is missing or of a type that browsers do not show.
    """
    if path is None:
        return None
    if path.suffix.lower() not in (".svg", ".png", ".webp", ".jpg", ".jpeg"):
        raise ConfigError(f"kiosk.logo: {path} must be an SVG, PNG, WebP or JPEG file")
    if is_barred(path) or not path.is_file():
        raise ConfigError(f"kiosk.logo: {path} does not exist, or this user may not read it")
    return path
