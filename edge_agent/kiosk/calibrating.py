"""``/calibrate``: people who agreed are asked for each expression, one after the other, and the site learns from them.

On this machine only, and with the token: whoever calibrates decides how faces are read from then on. The page needs no
script; while somebody is asked it loads itself again every second.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from edge_agent.config import Config
from edge_agent.config.credentials import kiosk_token
from edge_agent.errors import InputError
from edge_agent.kiosk.guard import FRESH, is_loopback, is_token
from edge_agent.kiosk.pages import calibrate_page
from edge_agent.kiosk.reading.upload import given_token
from edge_agent.kiosk.visit import visit_of
from edge_agent.vision.sitting import Calibrator


class Calibrating:
    """The page over one agent's camera; off without a calibrator, without a token, and where others can reach it."""

    def __init__(self, config: Config, calibrator: Calibrator | None) -> None:
        self._config = config
        is_local = is_loopback(config.kiosk.host) and not config.kiosk.allowed_hosts
        self._calibrator = calibrator if is_local else None
        self._token: SecretStr | None = kiosk_token() if self._calibrator is not None else None

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/calibrate", self.page, methods=["GET"]),
            Route("/calibrate/begin", self.begin, methods=["POST"]),
            Route("/calibrate/clear", self.clear, methods=["POST"]),
            Route("/calibrate/finish", self.finish, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """How far the sitting is, and what can be done."""
        return self._refusal(request) or self._html(request)

    async def begin(self, request: Request) -> Response:
        """The next person."""
        return self._refusal(request) or self._then_page(lambda calibrator: calibrator.sitting.begin())

    async def clear(self, request: Request) -> Response:
        """Forget everybody."""
        return self._refusal(request) or self._then_page(lambda calibrator: calibrator.sitting.clear())

    async def finish(self, request: Request) -> Response:
        """Learn and write, or say why not."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        assert self._calibrator is not None
        try:
            site = await run_in_threadpool(self._calibrator.finish)
        except InputError as error:
            return self._html(request, error=str(error), status=409)
        words = visit_of(request, self._config.kiosk.language).language
        before, after = (words.number(error, 1) for error in (site.error_before, site.error_after))
        return self._html(request, result=words.text("calibrate_done", before=before, after=after))

    def _refusal(self, request: Request) -> Response | None:
        if self._calibrator is None or self._token is None:
            words = visit_of(request, self._config.kiosk.language).language
            return self._html(request, error=words.text("calibrate_off"), status=403)
        if not is_token(given_token(request), self._token):
            headers = {**FRESH, "www-authenticate": 'Basic realm="Countenance", charset="UTF-8"'}
            return HTMLResponse("", 401, headers=headers)
        return None

    def _then_page(self, act: Callable[[Calibrator], None]) -> Response:
        assert self._calibrator is not None
        act(self._calibrator)
        return RedirectResponse("/calibrate", 303, headers=FRESH)

    def _html(self, request: Request, *, error: str = "", result: str = "", status: int = 200) -> Response:
        progress = None if self._calibrator is None or self._token is None else self._calibrator.sitting.progress
        visit = visit_of(request, self._config.kiosk.language)
        return HTMLResponse(
            calibrate_page(self._config, visit, progress, error=error, result=result), status, headers=FRESH
        )
