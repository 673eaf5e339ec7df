"""What a visitor may cost: no request takes the processor or the memory, none goes on when its client has left."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from edge_agent.host.machine import rss_bytes
from tests.support.broker import wait_until
from tests.support.kiosk_stage import Stage

MOST_S, MOST_BYTES = 0.5, 20_000_000
SPAN = "from=0040-01-02T00:00:00Z&to=2026-11-28T00:00:00Z&bucket=31622400"
TOKEN = "correct horse battery staple"
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The page over a store of six hours."""
    with Stage(tmp_path_factory.mktemp("past")) as running:
        running.remember(hours=6, step_s=10)
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?wall",
        "/predict",
        "/api/current",
        "/metrics",
        f"/api/history?{SPAN}",
        "/api/history?from=9999-01-01&to=9999-12-31&bucket=31622400",
        "/api/history?from=-1e9&to=1e9&bucket=31622400",
        "/api/history?from=-60&to=0&bucket=1",
        f"/api/history?{'from=1&' * 3000}to=2",
        f"/{'x' * 30_000}",
    ],
)
def test_one_request_costs_little(past: Stage, path: str) -> None:
    before_s, before = time.process_time(), rss_bytes() or 0
    httpx.get(f"{past.url}{path}", timeout=30)
    assert time.process_time() - before_s < MOST_S
    assert (rss_bytes() or 0) - before < MOST_BYTES


def test_forty_requests_that_nobody_waits_for_leave_the_page_alive(past: Stage) -> None:
    where = urlsplit(past.url)
    for number in range(40):
        with socket.create_connection((where.hostname, where.port)) as client:
            client.sendall(f"GET /api/history?{SPAN}&n={number} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
    started_s = time.monotonic()
    assert httpx.get(f"{past.url}/api/current", timeout=10).status_code == 200
    assert httpx.get(f"{past.url}/api/history?from=-60", timeout=10).status_code == 200
    assert time.monotonic() - started_s < 5


def test_downloads_that_nobody_reads_are_few_and_end_with_their_client(past: Stage) -> None:
    where = urlsplit(past.url)
    request = f"GET /api/windows.csv?from=1970-01-01&to=2100-01-01 HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
    clients = [socket.create_connection((where.hostname, where.port)) for _ in range(2)]
    for client in clients:
        client.sendall(request)
        assert client.recv(12) == b"HTTP/1.1 200"
    refused = httpx.get(f"{past.url}/api/windows.csv", timeout=10)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    for client in clients:
        client.close()
    wait_until(lambda: httpx.get(f"{past.url}/api/windows.csv", timeout=10).status_code == 200, 10)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_website_s_page_asks_for_is_refused_and_a_link_is_followed(past: Stage, site: str) -> None:
    def ask(method: str = "GET", path: str = "/", **fetch: str) -> int:
        headers = {f"sec-fetch-{name}": value for name, value in {"site": site, **fetch}.items()}
        return httpx.request(method, f"{past.url}{path}", headers=headers).status_code

    assert ask(path="/api/history", mode="no-cors", dest="image") == 403
    assert ask(path="/", mode="navigate", dest="iframe") == 403
    assert ask(path="/api/current", mode="cors", dest="empty") == 403
    assert ask("POST", "/predict", mode="navigate", dest="document") == 403
    assert ask(path="/", mode="navigate", dest="document") == 200


@pytest.mark.parametrize(
    "host", ["[::1].evil.example", "[::1]evil:1", "127.0.0.1:x", "127.0.0.1:1:2", "[", "localhost@x"]
)
def test_a_name_that_only_looks_like_ours_is_refused(past: Stage, host: str) -> None:
    assert httpx.get(past.url, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "utf-16", "unicode_escape", "hex", "no-such", "\xff"])
def test_a_form_in_another_charset_is_refused_at_once(past: Stage, charset: str) -> None:
    kind = f"{FORM}; charset={charset}".encode("latin-1")
    refused_cheaply(past, kind, field(b"token", b"a" * 900_000), 415)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n' + b"\xff" * 900_000 + b"\r\n--x--\r\n"),
        (FORM, b"--x\r\n" + b"A: b\r\n" * 100_000),
        (FORM, b'--x\r\nContent-Disposition: form-data; name="' + b"n" * 900_000 + b'"\r\n\r\n1\r\n--x--\r\n'),
        (FORM, b"\r\n" * 400_000),
        (FORM, b""),
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=", b"--x--\r\n"),
        ("multipart/form-data; boundary=x; charset", b"--x--\r\n"),
        ('multipart/form-data; =;;"', b"--x--\r\n"),
    ],
    ids=["field", "headers", "name", "newlines", "empty", "no boundary", "empty boundary", "odd charset", "odd"],
)
def test_a_form_that_is_none_is_refused_at_once(past: Stage, kind: str, body: bytes) -> None:
    refused_cheaply(past, kind.encode(), body, 415)


@pytest.mark.parametrize("head", [b"II*\0....WEBP", b"P6\n1 1 9\nWEBP", b"GIF89a..WEBP", b"RIFFWEBP....", b""])
def test_only_what_begins_as_a_picture_is_read(past: Stage, head: bytes) -> None:
    refused_cheaply(past, b"image/webp", head + b"\0" * 100, 415)


def test_the_token_is_asked_for_before_the_body_and_before_a_place(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten strangers who send slowly take nobody's place."""
    monkeypatch.setenv("COUNTENANCE_KIOSK_TOKEN", TOKEN)
    with Stage(tmp_path_factory.mktemp("token"), kiosk={"host": "0.0.0.0", "predict": "always"}) as stage:
        where = urlsplit(stage.url)
        head = f"POST /api/predict HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 1000000\r\n\r\n".encode()
        clients = [socket.create_connection((where.hostname, where.port)) for _ in range(10)]
        for client in clients:
            client.sendall(head)
        answer = httpx.post(
            f"{stage.url}/api/predict", content=b"GIF", headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
        )
        assert answer.status_code == 415, "the place is free: the picture's type is looked at"
        for client in clients:
            client.close()


def field(name: bytes, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n--x--\r\n"


def refused_cheaply(stage: Stage, kind: bytes, body: bytes, status: int) -> None:
    before_s, before = time.process_time(), rss_bytes() or 0
    answer = httpx.post(f"{stage.url}/api/predict", content=body, headers={b"content-type": kind}, timeout=30)
    assert answer.status_code == status, answer.text
    assert time.process_time() - before_s < MOST_S
    assert (rss_bytes() or 0) - before < MOST_BYTES
