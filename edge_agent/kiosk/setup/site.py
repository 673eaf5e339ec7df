"""The addresses of ``/setup``: for one browser, by the code, from a local network, encrypted beyond this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from edge_agent.cameras.found import FoundCamera
from edge_agent.config import KioskConfig
from edge_agent.errors import ConfigError
from edge_agent.first_start.answers import MOST_BYTES, Answers, BrokerAnswer, CameraAnswer, read_answers
from edge_agent.first_start.code import CodeCheck, SetupPlaces
from edge_agent.host.whole_files import write_whole
from edge_agent.kiosk.files import static
from edge_agent.kiosk.guard import FRESH, App, Guard, Receive, Scope, Send, is_loopback
from edge_agent.kiosk.language import Language
from edge_agent.kiosk.setup.looking import Looking
from edge_agent.kiosk.setup.pages import code_page, questions_page, tls_page, wait_page
from edge_agent.kiosk.setup.words import preferred, setup_language
from edge_agent.kiosk.visit import visit_of

COOKIE = "countenance_setup"
FAREWELL_S, LOADING_S = 15.0, 3.0
"""Seconds from the last answer to the end, and from the page that waits for the agent: it has a style and a script."""
PLACED_S = 90.0
"""Longest wait for the unit that puts the answers in place; a Zero 2 W needs 20 s to load all that checks them."""
LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7",
        "fe80::/10",
    )
)  # fmt: skip
"""Loopback, private networks (RFC 1918, RFC 4193) and link-local addresses."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class BrokerVerdict:
    """Whether a broker takes this device's messages."""

    word: Literal["good", "name", "link", "login", "publish", "wrong"]
    """The step that failed."""
    detail: str = ""
    """What the doctor says of it, in English."""


class SetupSite:
    """The pages and what they ask for.

    Args:
        places: where the code is, and where answers go.
        port: of the page that is not encrypted; the encrypted one is at the next.
        looking: the camera.
        found: lists the cameras of this machine.
        check_broker: tries one; takes seconds.
        end: called with the seconds after which the server shall end, once the answers are in place.
    """

    def __init__(
        self,
        *,
        places: SetupPlaces,
        port: int,
        looking: Looking,
        found: Callable[[], Sequence[FoundCamera]],
        check_broker: Callable[[BrokerAnswer], BrokerVerdict],
        end: Callable[[float], None],
    ) -> None:
        self._places, self._port, self._looking = places, port, looking
        self._found, self._check_broker, self._end = found, check_broker, end
        self._code = CodeCheck(places)
        self._session, self._is_done = "", False
        self._placing = asyncio.Lock()

    def app(self) -> App:
        """The ASGI application, behind its guards."""
        routes = [
            Route("/static/{name}", static),
            Route("/setup", self.page),
            Route("/setup/code", self.take_code, methods=["POST"]),
            Route("/setup/alive", self.alive),
            Route("/setup/wait", self.wait),
            Route("/setup/look", self.look, methods=["POST"]),
            Route("/setup/broker", self.broker, methods=["POST"]),
            Route("/setup/answers", self.answers, methods=["POST"]),
            Route("/{path:path}", self.elsewhere),
        ]
        guarded = Guard(Starlette(routes=routes), KioskConfig(host="0.0.0.0"))  # noqa: S104 (names, not a socket)
        return LocalOnly(guarded)

    async def elsewhere(self, request: Request) -> Response:
        """What the page will be, once there is one."""
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/setup{query}", 303, headers=FRESH)

    async def alive(self, _request: Request) -> Response:
        """So that a display's browser has a connection: without one for minutes it is started again."""
        return Response(status_code=204, headers=FRESH)

    async def page(self, request: Request) -> Response:
        """The questions, or before them the code."""
        words, query = self._visit(request)
        if not self._is_private(request):
            host = request.url.hostname or "localhost"
            host = f"[{host}]" if ":" in host else host
            return HTMLResponse(tls_page(words, f"https://{host}:{self._port + 1}/setup{query}"), headers=FRESH)
        if not self._is_ours(request):
            return HTMLResponse(code_page(words, query, "" if self._code.is_open else "off"), headers=FRESH)
        cameras = await run_in_threadpool(self._found)
        return HTMLResponse(questions_page(words, cameras), headers=FRESH)

    async def wait(self, request: Request) -> Response:
        """After the answers: at the address that the page will have, and so not encrypted. It tells nothing."""
        words, query = self._visit(request)
        if not self._is_done:
            return RedirectResponse(f"/setup{query}", 303, headers=FRESH)
        self._end(LOADING_S)
        return HTMLResponse(wait_page(words, query), headers=FRESH)

    async def take_code(self, request: Request) -> Response:
        """The right code, once, makes this browser the one."""
        words, query = self._visit(request)
        if not self._is_private(request):
            return Response(status_code=403, headers=FRESH)
        given = parse_qs((await _body(request, 200)).decode("utf-8", "replace")).get("code", [""])[0]
        refusal = self._code.refusal(given)
        if refusal:
            status = 429 if refusal == "wait" else 403
            return HTMLResponse(code_page(words, query, refusal), status, headers=FRESH)
        self._session = secrets.token_urlsafe(32)
        answer = RedirectResponse(f"/setup{query}", 303, headers=FRESH)
        is_encrypted = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self._session, path="/setup", httponly=True, samesite="strict", secure=is_encrypted)
        return answer

    async def look(self, request: Request) -> Response:
        """One picture, and what the gate says of its faces."""
        camera = await self._asked(request, CameraAnswer)
        if isinstance(camera, Response):
            return camera
        return JSONResponse(await run_in_threadpool(self._looking.look, camera), headers=FRESH)

    async def broker(self, request: Request) -> Response:
        """Whether a broker takes this device's messages."""
        broker = await self._asked(request, BrokerAnswer)
        if isinstance(broker, Response):
            return broker
        try:
            return JSONResponse(asdict(await run_in_threadpool(self._check_broker, broker)), headers=FRESH)
        except ConfigError as error:
            return _fault(str(error))

    async def answers(self, request: Request) -> Response:
        """Hand the answers to the unit that puts them in place, and say how that went."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        data = await _body(request, MOST_BYTES)
        try:
            answers = read_answers(data)
        except ConfigError as error:
            return _fault(str(error))
        async with self._placing:
            await run_in_threadpool(self._looking.stop)
            write_whole(self._places.answers, data)
            fault = await self._placed(hashlib.sha256(data).hexdigest())
        if fault:
            return _fault(fault)
        self._is_done = True
        page = self._page_after(request, answers)
        self._end(FAREWELL_S if page else LOADING_S)
        return JSONResponse({"page": page}, headers=FRESH)

    async def _placed(self, digest: str) -> str:
        """Wait for the result of these answers; empty where they are in place."""
        for _ in range(int(PLACED_S / 0.25)):
            await asyncio.sleep(0.25)
            try:
                result = json.loads(self._places.result.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            if result["answers"] == digest:
                return str(result["fault"])
        return "the answers were not put in place; see: journalctl -u countenance-setup-write"

    def _page_after(self, request: Request, answers: Answers) -> str:
        """Where this browser waits for the page; empty where it may not see it."""
        if answers.page == "none":
            return ""
        path = f"/setup/wait?{request.url.query}" if request.url.query else "/setup/wait"
        if _is_here(request):
            return path
        return f"http://{request.url.hostname}:{self._port}{path}" if answers.page == "network" else ""

    async def _asked(self, request: Request, model: type[Model]) -> Model | Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            return model.model_validate_json(await _body(request, MOST_BYTES))
        except ValidationError as error:
            return _fault(error.errors(include_url=False)[0]["msg"].removeprefix("Value error, "))

    def _refusal(self, request: Request) -> Response | None:
        if not self._is_private(request) or not self._is_ours(request):
            return Response(status_code=403, headers=FRESH)
        if request.headers.get("content-type") != "application/json":  # no form of another site sends this
            return Response(status_code=415, headers=FRESH)
        return None

    def _is_ours(self, request: Request) -> bool:
        given = request.cookies.get(COOKIE, "")
        return bool(self._session) and hmac.compare_digest(given.encode(), self._session.encode())

    def _is_private(self, request: Request) -> bool:
        return request.url.scheme == "https" or _is_here(request)

    def _visit(self, request: Request) -> tuple[Language, str]:
        chosen = visit_of(request, preferred(request.headers.get("accept-language", "")))
        query = f"?{request.url.query}" if request.url.query else ""
        return setup_language(chosen.language.tag), query


class LocalOnly:
    """Answers to nobody beyond the local networks."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the ASGI protocol, or close it with 403."""
        if scope["type"] != "http":
            return
        if is_local(scope["client"][0] if scope.get("client") else ""):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def is_local(address: str) -> bool:
    """Whether this address is in one of :data:`LOCAL`."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in LOCAL)


def _is_here(request: Request) -> bool:
    return request.client is not None and is_loopback(request.client.host)


def _fault(text: str) -> Response:
    return JSONResponse({"fault": text}, 422, headers=FRESH)


async def _body(request: Request, most: int) -> bytes:
    """At most ``most`` bytes; what is longer is cut off, and is then no answer."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            return b""
    return data
