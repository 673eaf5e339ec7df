"""How an operator wants the page to look: a file with colours, a logo, and whether there are faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.config.yaml_text import parse_yaml
from edge_agent.errors import ConfigError
from edge_agent.host.rights import is_barred

LEAST_CONTRAST = 4.5
"""Of text and what it stands on (WCAG 2.1, 1.4.3)."""

Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Colours(BaseModel):
    """What is not named keeps its colour."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    paper: Colour | None = None
    """Behind everything."""
    card: Colour | None = None
    """Behind buttons and the table."""
    ink: Colour | None = None
    """Text and outlines."""
    soft: Colour | None = None
    """Less important text."""
    line: Colour | None = None
    """Thin lines."""
    link: Colour | None = None
    angry: Colour | None = None
    contempt: Colour | None = None
    disgust: Colour | None = None
    fear: Colour | None = None
    happy: Colour | None = None
    neutral: Colour | None = None
    sad: Colour | None = None
    surprise: Colour | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scheme: Literal["light", "dark"] = "light"
    colours: Colours = Colours()
    logo: Path | None = None
    faces: bool = True


_PAGE = ("paper", "card", "ink", "soft", "line", "link")
_BASE = {
    "light": {"paper": "#fbf5ea", "card": "#fffcf5", "ink": "#2b2438", "soft": "#655c75", "link": "#5a3fa8"},
    "dark": {"paper": "#16131d", "card": "#1f1b29", "ink": "#f6f0e4", "soft": "#b9b0c6", "link": "#cbb8ff"},
}
"""As in ``static/kiosk.css``."""


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme that was read; the default is the page as it comes."""

    scheme: str = ""
    """``light`` or ``dark``; empty: that of the visitor's system."""
    css: str = ""
    """A style sheet for behind that of the page."""
    logo: Path | None = None
    faces: bool = True


@lru_cache(1)
def read_theme(path: Path | None) -> Theme:
    """The theme of a YAML file, as docs/kiosk.md describes it; kept until ``read_theme.cache_clear()``.

    Raises:
        ConfigError: it cannot be read, a value is wrong, or text would be hard to read.
    """
    if path is None:
        return Theme()
    if is_barred(path) or not path.is_file():
        raise ConfigError(f"kiosk.theme: {path} does not exist, or this user may not read it")
    try:
        file = _File.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {})
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kiosk.theme: {path} cannot be read: {error}") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"kiosk.theme: {path}: {'; '.join(faults)}") from None
    colours = file.colours.model_dump(exclude_none=True)
    _check_contrast(path, {**_BASE[file.scheme], **colours})
    logo = None if file.logo is None else path.parent / file.logo
    return Theme(file.scheme, _css(colours), logo, faces=file.faces)


def _check_contrast(path: Path, colours: dict[str, str]) -> None:
    for text in ("ink", "soft", "link"):
        for ground in ("paper", "card"):
            found = contrast(colours[text], colours[ground])
            if found < LEAST_CONTRAST:
                raise ConfigError(
                    f"kiosk.theme: {path}: colours.{text} {colours[text]} on {ground} {colours[ground]} has a contrast "
                    f"of {found:.1f}; people need {LEAST_CONTRAST} to read it"
                )


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.1, relative luminance)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _css(colours: dict[str, str]) -> str:
    page = " ".join(f"--{name}: {value};" for name, value in colours.items() if name in _PAGE)
    if "ink" in colours:
        page += f" --edge: {colours['ink']};"
    rules = [f":root:root:root {{ {page} }}"] if page else []
    rules += [
        f".e-{name}.e-{name}, [data-mood='{name}'][data-mood] {{ --c: {value}; }}"
        for name, value in colours.items()
        if name not in _PAGE
    ]
    return "\n".join(rules)
