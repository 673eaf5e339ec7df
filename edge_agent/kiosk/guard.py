"""Between the network and the page: the names it answers to, protective headers, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pydantic import SecretStr

from edge_agent.config import KioskConfig

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    # Everything comes from this server, and nothing is inline. blob: is the visitor's own picture on /predict.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "connect-src 'self'; img-src 'self' blob:; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": browsers would then send "Origin: null" with the form of /predict.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
FRESH = {"cache-control": "no-store"}
"""For answers that differ each time."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses requests under foreign names and from foreign pages, and adds :data:`HEADERS` to every answer.

    A page on the internet can point its own name to this machine (DNS rebinding), and could then read the figures with
    its visitor's browser. The name in the Host header shows it.
    """

    def __init__(self, app: App, config: KioskConfig) -> None:
        self._app = app
        self._names = {"localhost", "127.0.0.1", "::1", config.host.lower(), *(n.lower() for n in config.allowed_hosts)}
        self._addresses_too = not is_loopback(config.host)
        if self._addresses_too:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own.split('.')[0]}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the ASGI protocol."""
        if scope["type"] != "http":
            return
        headers = dict(reversed(scope["headers"]))
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not self._is_ours(host):
            await _refuse(
                send, 421, f"This page does not answer to '{host[:100]}'; add the name to kiosk.allowed_hosts."
            )
        elif (origin and origin.split("://", 1)[-1] != host) or _asks_for_another_site(scope["method"], headers):
            await _refuse(send, 403, "Requests from other sites are refused.")
        else:
            await self._app(scope, receive, _with_headers(send))

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower()
        return name in self._names or (self._addresses_too and _is_address(name))


def is_token(given: str, token: SecretStr) -> bool:
    """Compare in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(given.encode(), token.get_secret_value().encode())


def _asks_for_another_site(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether another website's page makes this request, by https://www.w3.org/TR/fetch-metadata/: a picture or a
    frame in it, say. Somebody who follows a link comes as a navigation of a whole tab, and is welcome."""
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return False
    follows_a_link = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
    return not (method == "GET" and follows_a_link)


def _without_port(host: str) -> str:
    """The name in a Host header; empty where it is none."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::\d+)?", host)
    return (found[1] or found[2]) if found else ""


def _is_address(name: str) -> bool:
    """An address cannot be rebound: who asks by number already knows where we are."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers


async def _refuse(send: Send, status: int, text: str) -> None:
    body = text.encode()
    send = _with_headers(send)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
