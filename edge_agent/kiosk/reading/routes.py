"""``/predict`` and ``/api/predict``: they read a picture, for those who may ask."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from edge_agent.config import Config, KioskConfig
from edge_agent.config.credentials import kiosk_token
from edge_agent.errors import ConfigError
from edge_agent.kiosk.guard import FRESH, is_loopback, is_token
from edge_agent.kiosk.pages import predict_page
from edge_agent.kiosk.reading.refusal import RefusalError
from edge_agent.kiosk.reading.upload import discard, given_token, take
from edge_agent.kiosk.reading.worker import Worker
from edge_agent.kiosk.visit import visit_of

Mode = Literal["open", "token", "off"]
_UPLOADS = 3
"""Pictures that are held in memory at a time, from the request to the answer; more are refused at once."""


def predict_mode(kiosk: KioskConfig) -> Mode:
    """Who may have pictures read: everyone on this machine, everyone with the token, or nobody.

    A server with further names is behind a proxy, which makes strangers look local.
    """
    if kiosk.predict == "never":
        return "off"
    if is_loopback(kiosk.host) and not kiosk.allowed_hosts:
        return "open"
    return "token" if kiosk.predict == "always" else "off"


class Pictures:
    """The page and the API over one reading process.

    Raises:
        ConfigError: a token is needed and none is set.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.mode = predict_mode(config.kiosk)
        self._token: SecretStr | None = kiosk_token() if self.mode == "token" else None
        if self.mode == "token" and self._token is None:
            raise ConfigError(
                "kiosk.predict: always needs a token where others can reach the page; set COUNTENANCE_KIOSK_TOKEN "
                "or the systemd credential kiosk_token (docs/kiosk.md)"
            )
        self.worker = Worker(config)
        self._uploads = 0

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/predict", self.page, methods=["GET"]),
            Route("/predict", self.form, methods=["POST"]),
            Route("/api/predict", self.api, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """The page, or an explanation if it is off."""
        if self.mode == "off":
            return self._html(request, error="off", status=403)
        return self._html(request)

    async def form(self, request: Request) -> Response:
        """The page's answer to a browser without script."""
        try:
            return self._html(request, await self._read(request))
        except RefusalError as refusal:
            await discard(request)
            page = self._html(request, error=refusal.code, status=refusal.status)
            if refusal.code == "token":
                # A browser without script then asks for it by itself, as the password, and sends the form again.
                page.headers["www-authenticate"] = 'Basic realm="Countenance", charset="UTF-8"'
            return page

    async def api(self, request: Request) -> Response:
        """The answer as JSON, the same as ``edge-agent predict --json``; ``?why=1`` adds what it hangs on."""
        try:
            return JSONResponse(await self._read(request), headers=FRESH)
        except RefusalError as refusal:
            await discard(request)
            return JSONResponse(refusal.as_dict(), refusal.status, headers=FRESH)

    async def _read(self, request: Request) -> dict[str, Any]:
        if self.mode == "off":
            raise RefusalError("off")
        # Before a single byte of the picture is taken, and before it takes anybody's place.
        if self._token is not None and not is_token(given_token(request), self._token):
            raise RefusalError("token")
        if self._uploads >= _UPLOADS:
            raise RefusalError("busy")
        self._uploads += 1
        try:
            upload = await take(request)
            return await self.worker.read(upload.data, upload.name, why=request.query_params.get("why") == "1")
        except ClientDisconnect:
            raise RefusalError("timeout", "the browser left") from None
        finally:
            self._uploads -= 1

    def _html(
        self, request: Request, answer: dict[str, Any] | None = None, error: str = "", *, status: int = 200
    ) -> Response:
        visit = visit_of(request, self._config.kiosk.language)
        page = predict_page(self._config, visit, asks_token=self.mode == "token", answer=answer, error=error)
        return HTMLResponse(page, status, headers=FRESH)
