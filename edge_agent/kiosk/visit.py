"""How a visitor wants to see a page, from its address: ``?lang=de&theme=dark``, and ``?wall`` on a wall."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request

from edge_agent.kiosk.language import Language, available, load_language


@dataclass(frozen=True, slots=True)
class Visit:
    """How one visitor wants to see a page."""

    language: Language
    theme: str = ""
    """``light``, ``dark``, or empty: as the visitor's system does."""
    wall: bool = False
    """On a screen that people pass: no ways out, and a minute after the last touch it is as it was."""
    query: str = ""
    """What links to the other page carry on of the address: empty or ``?lang=...``."""


def visit_of(request: Request, language: str) -> Visit:
    """The language and theme that the address asks for, else ``language`` and the visitor's system's theme."""
    asked = request.query_params
    wanted = asked.get("lang", "")
    query = urlencode([(key, asked[key]) for key in ("lang", "theme") if key in asked])
    return Visit(
        load_language(wanted if wanted in available() else language),
        asked.get("theme", ""),
        wall="wall" in asked,
        query=query and f"?{query}",
    )
