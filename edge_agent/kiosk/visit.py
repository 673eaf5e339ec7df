"""How a visitor wants to see a page, from its address: ``?lang=de&theme=dark``, or ``?wall`` for a screen in public."""

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
    """``light``, ``dark``, or empty for that of the visitor's system."""
    wall: bool = False
    """On a screen that people pass: without links, and a minute after the last touch it is as before."""
    query: str = ""
    """The part of the address that links to the other page keep: empty or ``?lang=...``."""


def visit_of(request: Request, language: str) -> Visit:
    """The language and theme of the address, else ``language`` and the theme of the visitor's system."""
    asked = request.query_params
    wanted = asked.get("lang", "")
    query = urlencode([(key, asked[key]) for key in ("lang", "theme") if key in asked])
    return Visit(
        load_language(wanted if wanted in available() else language),
        asked.get("theme", ""),
        wall="wall" in asked,
        query=query and f"?{query}",
    )
