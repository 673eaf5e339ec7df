"""The metrics on a separate port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from edge_agent.config import MetricsConfig
from edge_agent.host.sockets import listen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_CONNECTIONS = 8


def serve_metrics(config: MetricsConfig, registry: CollectorRegistry) -> Callable[[], None]:
    """Answer ``http://host:port/metrics`` from a thread; the returned function ends it.

    Raises:
        ListenError: the address cannot be listened on.
    """
    from prometheus_client import make_wsgi_app

    listener = listen("metrics", config.host, config.port)
    # Not start_http_server(): it needs an address that exists already, and asks the name service for its name.
    server = _Server((config.host, config.port), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.server_name, server.server_port = listener, config.host, config.port
    server.setup_environ()
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, and few connections. When there are too many, the oldest, which is the idlest, is
    closed."""

    daemon_threads = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections: list[Any] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        self._connections.append(request)
        if len(self._connections) > _CONNECTIONS:
            with suppress(OSError):  # it has ended by itself
                self._connections.pop(0).shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """At the end, in its thread."""
        with suppress(ValueError):
            self._connections.remove(request)
        super().shutdown_request(request)


class _Handler(WSGIRequestHandler):
    """Logs no single requests, and waits for none for long."""

    timeout = 10.0

    def handle(self) -> None:
        """Answer one request."""
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, *_args: object) -> None:
        """The class above writes to standard error."""
