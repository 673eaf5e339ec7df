"""The port that Prometheus reads: connections that ask nothing cost the agent neither its threads nor its figures."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry

from edge_agent.config import MetricsConfig
from edge_agent.health import server
from edge_agent.health.server import serve_metrics
from tests.support.broker import free_port, wait_until

HALF = b"GET /metrics HTTP/1.1\r\nHost: lo"


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    stop = serve_metrics(MetricsConfig(port=port), CollectorRegistry())
    yield port
    stop()


@pytest.mark.parametrize("sent", [b"", HALF], ids=["silent", "half a request"])
def test_sixty_connections_that_do_not_ask_hold_a_few_threads_and_the_figures_are_still_told(
    port: int, sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """systemd allows the whole service 128 threads and processes."""
    before = threading.active_count()
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(sent)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.status == 200
        wait_until(lambda: threading.active_count() <= before + 8, 5, "the threads of connections that gave way to end")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("sent", [b"", HALF], ids=["silent", "half a request"])
def test_a_connection_that_does_not_ask_is_closed_without_a_word(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.3)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(sent)
        assert link.recv(1) == b""
    wait_until(lambda: threading.active_count() == before, 5, "its thread to end")
    assert capsys.readouterr().err == ""
