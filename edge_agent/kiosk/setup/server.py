"""Serves ``/setup`` until the answers are in place: plain on this machine, encrypted in the network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from edge_agent.cameras.found import FoundCamera
from edge_agent.first_start.answers import BrokerAnswer
from edge_agent.first_start.code import SetupPlaces
from edge_agent.host.sockets import listen
from edge_agent.kiosk.protocol import BoundedProtocol
from edge_agent.kiosk.setup.looking import Looking
from edge_agent.kiosk.setup.site import BrokerVerdict, SetupSite
from edge_agent.vision.inspection import Inspector

log = logging.getLogger(__name__)


def serve_setup(
    places: SetupPlaces,
    *,
    port: int,
    make_inspector: Callable[[], Inspector],
    found: Callable[[], Sequence[FoundCamera]],
    check_broker: Callable[[BrokerAnswer], BrokerVerdict],
) -> None:
    """Serve until the answers are in place, or until SIGTERM or SIGINT.

    Without a certificate only this machine is listened to.

    Raises:
        ListenError: the port, or the next one, cannot be listened on.
    """
    asyncio.run(_serve(places=places, port=port, make_inspector=make_inspector, found=found, check_broker=check_broker))


async def _serve(
    *,
    places: SetupPlaces,
    port: int,
    make_inspector: Callable[[], Inspector],
    found: Callable[[], Sequence[FoundCamera]],
    check_broker: Callable[[BrokerAnswer], BrokerVerdict],
) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    looking = Looking(make_inspector)

    def end(seconds: float) -> None:
        loop.call_later(seconds, over.set)

    site = SetupSite(
        places=places, port=port, looking=looking, found=found, check_broker=check_broker,
        end=end,
    )  # fmt: skip
    app = site.app()
    has_certificate = places.certificate.is_file()
    # IPv4 alone: a browser that finds an address of the internet first would be turned away.
    host = "0.0.0.0" if has_certificate else "127.0.0.1"  # noqa: S104 (local networks alone are answered)
    servers = [(_Server(_config(app)), listen("setup", host, port))]
    if has_certificate:
        servers.append((_Server(_config(app, str(places.certificate))), listen("setup", host, port + 1)))
    log.info("setup at http://127.0.0.1:%d/setup%s", port, "" if has_certificate else ", on this machine alone")
    serving = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    try:
        await _until_over(over, looking, serving)
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        await asyncio.to_thread(looking.stop)


async def _until_over(over: asyncio.Event, looking: Looking, serving: Sequence[asyncio.Task[None]]) -> None:
    while not over.is_set() and not any(task.done() for task in serving):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(over.wait(), 1.0)
        looking.rest()


class _Server(uvicorn.Server):
    """Two of them share one process, and neither may take its signals from the other."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: object, certificate: str | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="asyncio",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=certificate,
        timeout_graceful_shutdown=1,
    )
