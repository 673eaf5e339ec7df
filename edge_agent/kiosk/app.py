"""The web application: a few addresses that only read figures, and one that reads a picture. See
``static/openapi.json``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_agent.config import Config
from edge_agent.kiosk.calibrating import Calibrating
from edge_agent.kiosk.comparison import Comparison
from edge_agent.kiosk.feed import MAX_PAGES, Feed
from edge_agent.kiosk.files import TYPES, static
from edge_agent.kiosk.guard import FRESH, App, Guard
from edge_agent.kiosk.history import BadQueryError, History, chunks, parse_range
from edge_agent.kiosk.language import load_language
from edge_agent.kiosk.pages import board, cameras_page
from edge_agent.kiosk.places import OtherPlaces, Place
from edge_agent.kiosk.reading.routes import Pictures
from edge_agent.kiosk.render import STATIC, Html, build
from edge_agent.kiosk.settings import check_logo, quiet_until, shown_labels
from edge_agent.kiosk.theme import read_theme
from edge_agent.kiosk.view import figures
from edge_agent.kiosk.visit import Visit, visit_of
from edge_agent.live import Live, LiveState
from edge_agent.store import Store
from edge_agent.store.table import csv_lines
from edge_agent.store.trend import Corrector
from edge_agent.vision.sitting import Calibrator

READERS = 2
"""Answers at a time that go through many windows; each has a thread."""


class Site:
    """All addresses over one agent's state.

    Args:
        config: the whole configuration.
        live: the agent's state.
        store: its windows.
        corrector: of the model in use, whose labels are shown.
        registry: what ``/metrics`` publishes.
        calibrator: learns a site's calibration before the agent's camera; None where there is none.
    """

    def __init__(
        self,
        config: Config,
        live: Live,
        store: Store,
        *,
        corrector: Corrector,
        registry: CollectorRegistry,
        calibrator: Calibrator | None = None,
    ) -> None:
        self._config, self._live, self._store = config, live, store
        self._labels, self._registry = corrector.estimator.labels, registry
        self._shown = shown_labels(config, self._labels)
        self._history = History(store, corrector)
        self._comparison = Comparison(store, corrector, labels=self._shown, least_people=config.privacy.min_people)
        self._has_example = store.has_example
        self._turns = asyncio.Semaphore(READERS)
        read_theme.cache_clear()
        self._theme = read_theme(config.kiosk.theme)
        self._logo = check_logo(config.kiosk.logo) or check_logo(self._theme.logo, "kiosk.theme: logo")
        self._others = OtherPlaces(config.kiosk.cameras)
        self.pictures = Pictures(config)
        self._calibrating = Calibrating(config, calibrator)
        self.build = self._build()
        self.feed = Feed(live, self._figures)

    def app(self) -> App:
        """The ASGI application, behind its guard."""
        get = {
            "/": self.board,
            "/static/{name}": static,
            "/logo": self.logo,
            "/theme.css": self.theme,
            "/openapi.json": self.openapi,
            "/cameras": self.cameras,
            "/api/cameras": self.cameras_api,
            "/api/current": self.current,
            "/api/events": self.events,
            "/api/history": self.history,
            "/api/windows.csv": self.windows_csv,
            "/metrics": self.metrics,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
        }
        routes = [Route(path, endpoint) for path, endpoint in get.items()]
        routes += [*self.pictures.routes(), *self._calibrating.routes()]
        return Guard(Starlette(routes=routes), self._config.kiosk)

    async def board(self, request: Request) -> Response:
        """The live page."""
        page = self._page(self._visit(request), await self._figures(self._live.state))
        return HTMLResponse(page, headers=FRESH)

    async def cameras(self, request: Request) -> Response:
        """Several cameras side by side."""
        page = cameras_page(self._config, self._visit(request), await self._places())
        return HTMLResponse(page, headers=FRESH)

    async def cameras_api(self, request: Request) -> Response:
        """The same as JSON; with ``own`` of this camera alone."""
        places = [await self._own_place()] if "own" in request.query_params else await self._places()
        return JSONResponse({"cameras": [place.as_dict() for place in places]}, headers=FRESH)

    def _visit(self, request: Request) -> Visit:
        kiosk = self._config.kiosk
        return visit_of(request, kiosk.language, distance_m=kiosk.distance_m)

    async def _places(self) -> list[Place]:
        return [await self._own_place(), *await self._others.look()]

    async def _own_place(self) -> Place:
        device = self._config.device
        return Place(device.id, device.shown_name, await self._figures(self._live.state))

    async def logo(self, _request: Request) -> Response:
        """The operator's logo."""
        if self._logo is None:
            return PlainTextResponse("there is no logo", 404)
        return FileResponse(self._logo, media_type=TYPES[self._logo.suffix.lower()], headers=FRESH)

    async def theme(self, _request: Request) -> Response:
        """The operator's colours, after those of the page."""
        return Response(self._theme.css, media_type="text/css", headers=FRESH)

    async def openapi(self, _request: Request) -> Response:
        """The description of the API."""
        return FileResponse(STATIC / "openapi.json", media_type="application/json")

    async def current(self, _request: Request) -> Response:
        """What the page shows now, as JSON."""
        return JSONResponse(await self._figures(self._live.state), headers=FRESH)

    async def events(self, _request: Request) -> Response:
        """The same with every change, as server-sent events."""
        if self.feed.pages >= MAX_PAGES:
            return PlainTextResponse(f"{MAX_PAGES} pages are open already", 503, headers={"retry-after": "30"})
        return StreamingResponse(self.feed.events(), media_type="text/event-stream", headers=FRESH)

    async def history(self, request: Request) -> Response:
        """Shares over time."""
        try:
            pieces = self._history.answer(request.query_params)
        except BadQueryError as error:
            return _bad_query(error)
        return StreamingResponse(self._in_turn(pieces), media_type="application/json", headers=FRESH)

    async def windows_csv(self, request: Request) -> Response:
        """Windows for a spreadsheet."""
        try:
            start, end = parse_range(request.query_params, datetime.now(timezone.utc))
        except BadQueryError as error:
            return _bad_query(error)
        if self._turns.locked():
            return PlainTextResponse("too many downloads at once", 503, headers={"retry-after": "30"})
        lines = csv_lines(self._store.history(start, end), self._labels, self._config.device.id)
        name = f'attachment; filename="{self._config.device.id}-windows.csv"'
        headers = {**FRESH, "content-disposition": name}
        return StreamingResponse(self._in_turn(chunks(lines)), media_type="text/csv; charset=utf-8", headers=headers)

    async def _in_turn(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """What goes through many windows: a few at a time, and no longer than somebody reads it."""
        async with self._turns:
            async for piece in iterate_in_threadpool(pieces):
                yield piece

    async def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        body = await run_in_threadpool(generate_latest, self._registry)
        return Response(body, headers={"content-type": CONTENT_TYPE_LATEST, **FRESH})

    async def healthz(self, _request: Request) -> Response:
        """Whether the web server lives."""
        return JSONResponse({"status": "ok"}, headers=FRESH)

    async def readyz(self, _request: Request) -> Response:
        """Whether the agent measures."""
        ready = self._live.state.measures
        return JSONResponse({"ready": ready}, 200 if ready else 503, headers=FRESH)

    async def _figures(self, state: LiveState) -> dict[str, Any]:
        if self._comparison.is_due:
            await run_in_threadpool(self._comparison.refresh)
        return figures(
            state,
            self._shown,
            self.build,
            compared=self._comparison.look(state),
            quiet_until=quiet_until(self._config.kiosk.quiet_hours, datetime.now(timezone.utc).astimezone().time()),
        )

    def _page(self, visit: Visit, now: Mapping[str, Any]) -> Html:
        return board(self._config, visit, now, can_predict=self.pictures.mode != "off", has_example=self._has_example)

    def _build(self) -> str:
        """A hash of the page without figures: it changes when the page shows another configuration."""
        page = self._page(Visit(load_language(self._config.kiosk.language)), figures(LiveState(), self._shown, ""))
        logo = self._logo.stat().st_mtime_ns if self._logo is not None else None
        return build(f"{page}{logo}{self._theme}")


def _bad_query(error: BadQueryError) -> Response:
    return JSONResponse({"error": {"code": "query", "detail": str(error)}}, 400, headers=FRESH)
