"""Connections to the page: however many and however silent they are, the agent goes on."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from edge_agent.kiosk import protocol
from edge_agent.kiosk.protocol import CONNECTIONS
from tests.support.kiosk_stage import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


def connect(stage: Stage, sent: bytes = b"") -> socket.socket:
    link = socket.create_connection(("127.0.0.1", stage.config.kiosk.port), timeout=5)
    link.sendall(sent)
    return link


def is_closed(link: socket.socket) -> bool:
    """Whether the server closes it within the socket's timeout, without another word."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of some hundreds of connections in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("sent", [b"", HEAD], ids=["silent", "half a request"])
def test_the_page_answers_while_hundreds_hold_connections_without_asking(stage: Stage, sent: bytes):
    """None of them costs a file of the agent's for good, and those who listen to the page's events stay."""
    with (
        ExitStack() as stack,
        httpx.Client(base_url=stage.url) as client,
        client.stream("GET", "/api/events") as stream,
    ):
        events = stream.iter_lines()
        next(events)
        for _ in range(CONNECTIONS + 50):
            stack.callback(connect(stage, sent).close)
        assert httpx.get(f"{stage.url}/healthz").json() == {"status": "ok"}
        assert len(stage.kiosk._server.server_state.connections) <= CONNECTIONS
        stage.play("paused")
        assert any('"state": "paused"' in line for line in events)


@pytest.mark.usefixtures("many_files")
def test_a_rush_of_connections_leaves_the_agent_files_for_all_else(tmp_path: Path):
    """In a process with the usual limit of 1024 files, which the broker, the store and the camera need, too."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from tests.support.kiosk_stage import Stage
with Stage() as stage:
    print(stage.config.kiosk.port, flush=True)
    sys.stdin.read()
"""
    with (tmp_path / "said").open("wb") as said, ExitStack() as stack:
        server = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        stack.enter_context(server)
        stack.callback(server.kill)
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with ThreadPoolExecutor(32) as clients:
            for link in clients.map(lambda _: socket.create_connection(("127.0.0.1", port), timeout=20), range(1500)):
                stack.enter_context(link)
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=20).status_code == 200
        server.communicate(timeout=20)
    assert (tmp_path / "said").read_text(encoding="utf-8") == ""


def test_where_all_connections_are_in_use_one_more_is_closed_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    with Stage(tmp_path) as stage, ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=stage.url))
        streams = [stack.enter_context(client.stream("GET", "/api/events")).iter_raw() for _ in range(3)]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{stage.url}/healthz")
        stage.play("paused")
        for stream in streams:
            assert any(b'"state": "paused"' in chunk for chunk in stream)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        HEAD,
        HEAD + b"\r\n" + HEAD,
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["silent", "half a request", "half a second request", "half a body"],
)
def test_whoever_does_not_end_a_request_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes):
    """Also when a byte comes from time to time: it ends uvicorn's own clock after an answer."""
    monkeypatch.setattr(protocol, "REQUEST_S", 0.6)
    with Stage(tmp_path) as stage, connect(stage, sent) as link:
        time.sleep(0.3)
        link.setblocking(False)
        with suppress(BlockingIOError):
            link.recv(10_000)  # the answer to the first request
        link.settimeout(2)
        link.sendall(b"x")
        assert is_closed(link)


def test_a_stream_and_a_connection_that_is_used_again_outlive_the_time_for_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "REQUEST_S", 1.0)
    with Stage(tmp_path) as stage, httpx.stream("GET", f"{stage.url}/api/events") as stream:
        chunks = stream.iter_raw()
        next(chunks)
        again = HTTPConnection("127.0.0.1", stage.config.kiosk.port, timeout=5)
        again.connect()
        again.auto_open = 0  # a connection that was closed is an error
        for _ in range(4):
            again.request("GET", "/healthz")
            assert again.getresponse().read() == b'{"status":"ok"}'
            time.sleep(0.4)
        again.close()
        stage.play("paused")
        assert b'"state": "paused"' in next(chunks)


def test_whoever_asks_and_never_reads_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An answer that nobody takes would hold its place for good."""
    monkeypatch.setattr(protocol, "READ_S", 1.0)
    with Stage(tmp_path) as stage, socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", stage.config.kiosk.port))
        link.settimeout(10)
        with pytest.raises(ConnectionError):
            link.sendall(1_000_000 * b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
