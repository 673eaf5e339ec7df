"""Everything on one machine: a film of a real face, a broker, the page, and bars in the terminal."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.assembly import Assembly
from edge_agent.cli.bars import Screen, bars
from edge_agent.cli.watch import Message, subscribe
from edge_agent.config import ENV_PREFIX, Config, make_config
from edge_agent.errors import BrokerError, CountenanceError, MissingPackageError
from edge_agent.host.logs import setup

OFF_TERMINAL_S = 30.0
FPS = 12
FILM_FRAMES = 72
FRAME_SIZE = 640, 480
"""Width, height."""
OWN_SECTIONS = ("DEVICE", "CAMERA", "MQTT", "STORE")
"""Variables of a real device are ignored: its broker and its store must not see the demo."""


def run_demo(seconds: float | None) -> int:
    """Run until Ctrl-C on a terminal, else ``seconds`` (default 30).

    Returns:
        0 only if at least one window came back from the broker.

    Raises:
        MissingPackageError: the demo extra is not installed.
        BrokerError: no window came back.
    """
    if seconds is None and not sys.stdout.isatty():
        seconds = OFF_TERMINAL_S
    with tempfile.TemporaryDirectory(prefix="countenance-demo-") as folder, _broker() as port:
        film = make_film(Path(folder) / "film")
        config = _config(Path(folder), film, port)
        setup(config.log.level, form=config.log.format)
        return _show(config, seconds)


def _config(folder: Path, film: Path, broker_port: int) -> Config:
    own = tuple(f"{ENV_PREFIX}{section}__" for section in OWN_SECTIONS)
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(own)}
    return make_config(
        {
            "device": {"id": "demo", "name": "Countenance demo"},
            "camera": {"backend": "replay", "source": str(film), "fps": FPS},
            "window": {"seconds": 2, "rolling_s": 60},
            "faces": {"still_s": 0},  # the film is made of one photograph
            "privacy": {"min_people": 1, "acknowledged_use": True},  # a film has nobody in view
            "mqtt": {"port": broker_port, "version": "3.1.1"},  # amqtt never answers a CONNECT of version 5 with a will
            "store": {"path": str(folder / "windows.sqlite")},
            "kiosk": {"enabled": True, "port": _free_port()},
            "log": {"level": "warning"},
        },
        "demo",
        environ,
    )


def _show(config: Config, seconds: float | None) -> int:
    """Run the agent in a thread and draw what comes back from the broker."""
    stop = threading.Event()
    failures: list[CountenanceError] = []

    def run() -> None:
        try:
            Assembly(config).run(stop)
        except CountenanceError as error:
            failures.append(error)
            stop.set()

    with subscribe(config.mqtt, f"{config.mqtt.topic_prefix}/+/emotions") as messages:
        thread = threading.Thread(target=run, name="agent")
        thread.start()
        print(_introduction(config), flush=True)
        try:
            received = _draw(messages, stop, seconds)
        finally:
            stop.set()
            thread.join()
    if failures:
        raise failures[0]
    if not received:
        raise BrokerError("the demo received no window from its broker; run it again with COUNTENANCE_LOG__LEVEL=debug")
    print(f"{received} windows came back from the broker.")
    return 0


def _draw(messages: queue.Queue[Message], stop: threading.Event, seconds: float | None) -> int:
    """Draw until the time is over or Ctrl-C; returns how many windows came."""
    screen, received = Screen(), 0
    end_s = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        while time.monotonic() < end_s and not stop.is_set():
            try:
                window = messages.get(timeout=0.2).window()
            except queue.Empty:
                continue
            if window is None:
                screen.begin_below()
                continue
            received += 1
            screen.show(bars(window))
    except KeyboardInterrupt:
        pass
    return received


def _introduction(config: Config) -> str:
    return f"""
A film of one real face (NASA's Eileen Collins) goes through camera, detector, model, window and broker.
  the page      http://{config.kiosk.host}:{config.kiosk.port}/
  subscribe     mosquitto_sub -h 127.0.0.1 -p {config.mqtt.port} -t 'countenance/#' -v
  or            edge-agent watch --port {config.mqtt.port}
Note: the demo shows a single person (privacy.min_people: 1). A real device withholds groups of fewer than three.
"""


def make_film(folder: Path) -> Path:
    """Write the film: a camera that pans and zooms over scikit-image's ``astronaut()``; returns the folder.

    Raises:
        MissingPackageError: scikit-image is not installed.
    """
    import cv2
    import numpy as np

    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise _missing(error) from error
    picture = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    width, height = FRAME_SIZE
    folder.mkdir()
    for number in range(FILM_FRAMES):
        phase = 2 * np.pi * number / FILM_FRAMES  # the last frame leads back to the first
        zoom = 1.7 + 0.5 * np.sin(phase)
        centre = 226 + 60 * np.cos(phase), 130 + 20 * np.sin(2 * phase)
        view = np.array([[zoom, 0, width / 2 - zoom * centre[0]], [0, zoom, height / 2 - zoom * centre[1]]])
        frame = cv2.warpAffine(picture, view, FRAME_SIZE, borderMode=cv2.BORDER_REPLICATE)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), frame)
    return folder


@contextmanager
def _broker() -> Iterator[int]:
    """An MQTT broker inside this process on a free loopback port, which is the value.

    Raises:
        MissingPackageError: amqtt is not installed.
    """
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise _missing(error) from error
    port = _free_port()
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="broker", daemon=True)
    thread.start()
    broker = asyncio.run_coroutine_threadsafe(_started(Broker, settings), loop).result()
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(broker_class: Any, settings: dict[str, object]) -> Any:
    broker = broker_class(settings)
    await broker.start()
    return broker


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _missing(error: ImportError) -> MissingPackageError:
    return MissingPackageError(
        f"the demo needs a package that is not installed ({error}); pip install 'countenance[demo]'"
    )
