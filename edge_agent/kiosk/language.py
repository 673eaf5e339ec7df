"""The page's words: one JSON file per language in ``languages/``, so that anybody can add one without code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge_agent.errors import ConfigError

DIRECTORY = Path(__file__).parent / "languages"


@dataclass(frozen=True, slots=True)
class Language:
    """The texts of one language and how it writes numbers."""

    tag: str
    """Its BCP 47 tag, the name of its file."""
    texts: Mapping[str, str]

    def text(self, key: str, **values: object) -> str:
        """The text of ``key`` with its ``{places}`` filled; a missing key is a defect, so a KeyError."""
        return self.texts[key].format(**values)

    def emotion(self, label: str) -> str:
        """The word for a model's label; a label without a translation is shown as it is."""
        return self.texts.get(f"emotion_{label}", label.replace("_", " ").capitalize())

    def number(self, value: float, decimals: int = 0) -> str:
        """``value`` rounded half up in this language's digits, as ``Intl.NumberFormat`` writes it on the page."""
        scaled = int(value * 10**decimals + 0.5 + 1e-9)
        whole, fraction = divmod(scaled, 10**decimals)
        text = f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
        table = str.maketrans(
            {**dict(zip("0123456789", self.texts["digits"], strict=True)), ".": self.texts["decimal"]}
        )
        return text.translate(table)

    def percent(self, value: float) -> str:
        """A whole percentage such as ``43 %``."""
        return self.texts["percent"].format(n=self.number(value))


def available() -> tuple[str, ...]:
    """Tags of the languages that have a file."""
    return tuple(sorted(path.stem for path in DIRECTORY.glob("*.json")))


@cache
def load_language(tag: str) -> Language:
    """The language of ``tag``; ``de-AT`` falls back to ``de``.

    Raises:
        ConfigError: there is no file for it.
    """
    for name in (tag, tag.split("-", 1)[0]):
        if name in available():
            return Language(name, json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8")))
    raise ConfigError(
        f"kiosk.language: no language '{tag}'; choose one of {', '.join(available())}, or add {DIRECTORY}/{tag}.json"
    )
