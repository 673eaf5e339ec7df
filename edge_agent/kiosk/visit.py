"""How a visitor wants to see a page, from its address: ``?lang=de&theme=dark``, or ``?wall&distance=5`` in public."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request

from edge_agent.kiosk.language import Language, available, load_language

DISTANCES = ("1", "3", "5")


@dataclass(frozen=True, slots=True)
class Visit:
    """How one visitor wants to see a page."""

    language: Language
    theme: str = ""
    """``light``, ``dark``, or empty for that of the visitor's system."""
    wall: bool = False
    """On a screen that people pass: without links, and a minute after the last touch it is as before."""
    distance_m: int = 1
    """From how far the page is read: 1 metre, except on a wall."""
    query: str = ""
    """The part of the address that links to the other page keep: empty or ``?lang=...``."""


def visit_of(request: Request, language: str, *, distance_m: int = 1) -> Visit:
    """What the address asks for, else ``language``, ``distance_m`` on a wall, and the theme of the visitor's system."""
    asked = request.query_params
    wanted, distance = asked.get("lang", ""), asked.get("distance", "")
    far_m = int(distance) if distance in DISTANCES else distance_m
    query = urlencode([(key, asked[key]) for key in ("lang", "theme") if key in asked])
    return Visit(
        load_language(wanted if wanted in available() else language),
        asked.get("theme", ""),
        wall="wall" in asked,
        distance_m=far_m if "wall" in asked else 1,
        query=query and f"?{query}",
    )
