"""How a visitor wants to see a page, from its address: ``?lang=de&theme=dark``, and ``?wall`` on a wall."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request

from edge_agent.kiosk.language import available, load_language
from edge_agent.kiosk.pages import Visit


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
