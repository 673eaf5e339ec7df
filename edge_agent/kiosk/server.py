"""The page's web server, in a separate thread next to the agent's loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING

from edge_agent.config import Config
from edge_agent.errors import MissingPackageError
from edge_agent.host.sockets import listen
from edge_agent.kiosk.language import load_language
from edge_agent.live import Live
from edge_agent.store import Store
from edge_agent.store.trend import Corrector
from edge_agent.vision.sitting import Calibrator

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

START_S = 10.0
_ACCEPTED = 128
"""Connections that asyncio accepts in one turn of its loop. Each has its file some turns before it can be counted."""


class Kiosk:
    """Everything is checked here; nothing is served before :meth:`start`.

    Args:
        config: the whole configuration.
        live: the agent's state.
        store: its windows.
        corrector: of the model in use, whose labels are shown.
        registry: what ``/metrics`` publishes.
        calibrator: learns a site's calibration before the agent's camera; None where there is none.

    Raises:
        MissingPackageError: the extra ``kiosk`` is not installed.
        ConfigError: language, emotions, logo or token are not as they must be.
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
        try:
            import uvicorn

            from edge_agent.kiosk.app import Site
            from edge_agent.kiosk.protocol import BoundedProtocol
        except ImportError as error:
            if error.name is None or error.name.split(".")[0] == "edge_agent":
                raise
            raise MissingPackageError(
                f"kiosk.enabled needs the package {error.name}: pip install 'countenance[kiosk]'"
            ) from error
        load_language(config.kiosk.language)
        self._kiosk = config.kiosk
        self._site = Site(config, live, store, corrector=corrector, registry=registry, calibrator=calibrator)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._site.app(),
                loop="asyncio",
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                backlog=_ACCEPTED,
                timeout_graceful_shutdown=1,
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._serving = threading.Event()

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self._kiosk.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._kiosk.port}/"

    def start(self) -> None:
        """Bind the port and serve from a thread.

        Raises:
            ListenError: the address cannot be listened on.
        """
        self._socket = listen("kiosk", self._kiosk.host, self._kiosk.port)
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="kiosk", daemon=True)
        self._thread.start()
        self._serving.wait(START_S)
        log.info("page at %s", self.address)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End all connections and the thread."""
        self._server.should_exit = True
        self._site.feed.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.warning("the page's server did not stop within %.0f s", timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the page's server ended; the agent continues without the page")
        finally:
            self._serving.set()

    async def _serve(self) -> None:
        assert self._socket is not None
        self._site.feed.start(asyncio.get_running_loop())
        asyncio.get_running_loop().call_soon(self._serving.set)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            await self._site.pictures.worker.stop()
            self._socket.close()
