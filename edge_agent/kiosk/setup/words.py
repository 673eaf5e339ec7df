"""The words of ``/setup``, which are in files of their own: the board does not send them to anybody."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

from edge_agent.kiosk.language import DIRECTORY, Language, available, load_language

WORDS = DIRECTORY / "setup"


@cache
def setup_language(tag: str) -> Language:
    """The language of ``tag`` with the words of ``/setup``."""
    language = load_language(tag)
    own = json.loads((WORDS / f"{language.tag}.json").read_text(encoding="utf-8"))
    return replace(language, texts={**language.texts, **own})


def preferred(accepted: str) -> str:
    """The first language of an Accept-Language header that there is; browsers send them in their order."""
    for part in accepted.split(","):
        tag = part.split(";")[0].strip().split("-")[0].lower()
        if tag in available():
            return tag
    return "en"
