"""How a visitor wants to see a page, from its address: ``?lang=de&theme=dark``."""

from __future__ import annotations

from starlette.requests import Request

from edge_agent.kiosk.language import available, load_language
from edge_agent.kiosk.pages import Visit


def visit_of(request: Request, language: str) -> Visit:
    """The language and theme that the address asks for, else ``language`` and the visitor's system's theme."""
    wanted = request.query_params.get("lang", "")
    return Visit(load_language(wanted if wanted in available() else language), request.query_params.get("theme", ""))
