"""Everything on one machine: a film of a real face or a webcam, a broker, the page, and bars in the terminal."""

from __future__ import annotations

import asyncio
import os
import queue
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.assembly import Assembly
from edge_agent.cli.bars import Screen, bars
from edge_agent.cli.example_day import write_example_day
from edge_agent.cli.watch import Message, subscribe
from edge_agent.config import ENV_PREFIX, Config, make_config
from edge_agent.errors import BrokerError, CountenanceError, ListenError, MissingPackageError
from edge_agent.host.logs import setup
from edge_agent.vision.classifier import load_classifier
from edge_agent.vision.site_file import site_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OFF_TERMINAL_S = 30.0
FPS = 12
FILM_FRAMES = {"one": 72, "three": 60, "nobody": 36}
"""One person, then three, then nobody, so that the page has something to tell."""
FRAME_SIZE = 640, 480
"""Width, height."""
PAGE_PORT, BROKER_PORT = 8767, 18830
"""The same each time, where nothing else listens there."""
OWN_SECTIONS = ("DEVICE", "CAMERA", "MQTT", "STORE")
"""Variables of a real device are ignored: its broker and its store must not see the demo."""


def run_demo(seconds: float | None, camera: str | int | None = None) -> int:
    """Run until Ctrl-C on a terminal, else ``seconds`` (default 30).

    Args:
        seconds: when to stop.
        camera: a webcam's number or path; None for the film.

    Returns:
        0 only if at least one window came back from the broker.

    Raises:
        MissingPackageError: the demo extra is not installed.
        BrokerError: no window came back.
    """
    if seconds is None and not sys.stdout.isatty():
        seconds = OFF_TERMINAL_S
    with tempfile.TemporaryDirectory(prefix="countenance-demo-") as folder, _broker() as port:
        source: dict[str, str | int]
        if camera is None:
            source = {"backend": "replay", "source": str(make_film(Path(folder) / "film")), "fps": FPS}
        else:
            source = {"backend": "opencv", "source": camera}
        config = _config(Path(folder), source, port)
        setup(config.log.level, form=config.log.format)
        write_example_day(config.store, load_classifier(config.model, site_path(config)))
        return _show(config, seconds)


def _config(folder: Path, source: dict[str, str | int], broker_port: int) -> Config:
    own = tuple(f"{ENV_PREFIX}{section}__" for section in OWN_SECTIONS)
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(own)}
    is_film = source["backend"] == "replay"
    return make_config(
        {
            "device": {"id": "demo", "name": "Countenance demo"},
            "camera": source,
            "window": {"seconds": 2, "rolling_s": 60},
            "faces": {"still_s": 0} if is_film else {},  # the film is made of one photograph
            "privacy": {"min_people": 1, "acknowledged_use": is_film},  # a film has nobody in view
            "mqtt": {"port": broker_port, "version": "3.1.1"},  # amqtt never answers a CONNECT of version 5 with a will
            "store": {"path": str(folder / "windows.sqlite")},
            "kiosk": {"enabled": True, "port": _port(PAGE_PORT)},
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
    seen = f"Your camera {config.camera.source} goes"
    if config.camera.backend == "replay":
        seen = "A film of one real face (NASA's Eileen Collins) goes"
    is_script = Path(sys.argv[0]).name == "edge-agent"
    agent = shlex.quote(sys.argv[0]) if is_script else f"{shlex.quote(sys.executable)} -m edge_agent"
    ways = [f"{agent} watch --port {config.mqtt.port}"]
    if shutil.which("mosquitto_sub"):
        ways.append(f"mosquitto_sub -h 127.0.0.1 -p {config.mqtt.port} -t 'countenance/#' -v")
    return f"""
{seen} through camera, detector, model, window and broker.
  the page      http://{config.kiosk.host}:{config.kiosk.port}/
  subscribe     {f"{chr(10)}  or            ".join(ways)}
  your webcam   {agent} demo --camera 0
Note: the demo shows a single person (privacy.min_people: 1). A real device withholds groups of fewer than three.
The day behind the live figures is an example. It is made up, and is deleted at the end.
"""


def make_film(folder: Path) -> Path:
    """Write the film: a camera that pans and zooms over scikit-image's ``astronaut()``, then sees her three times side
    by side, then nobody; returns the folder.

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
    frames: list[NDArray[np.uint8]] = []
    for number in range(FILM_FRAMES["one"]):
        phase = 2 * np.pi * number / FILM_FRAMES["one"]  # the last frame leads back to the first
        zoom = 1.7 + 0.5 * np.sin(phase)
        centre = 226 + 60 * np.cos(phase), 130 + 20 * np.sin(2 * phase)
        view = np.array([[zoom, 0, width / 2 - zoom * centre[0]], [0, zoom, height / 2 - zoom * centre[1]]])
        frames.append(cv2.warpAffine(picture, view, FRAME_SIZE, borderMode=cv2.BORDER_REPLICATE))
    head = cv2.resize(picture[20:300, 110:340], (170, 207), interpolation=cv2.INTER_AREA)
    wall = np.full((height, width, 3), (150, 160, 165), np.uint8)
    for number in range(FILM_FRAMES["three"]):
        frames.append(wall.copy())
        for place in range(3):
            sway = 2 * np.pi * (number / FILM_FRAMES["three"] + place / 3)
            x, y = round(22 + 212 * place + 12 * np.cos(sway)), round(120 + 12 * np.sin(sway))
            frames[-1][y : y + head.shape[0], x : x + head.shape[1]] = head
    frames += [wall] * FILM_FRAMES["nobody"]
    for number, frame in enumerate(frames):
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
    port = _port(BROKER_PORT)
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


def _port(wanted: int) -> int:
    """``wanted``, or another where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a demo that has just ended is no other
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ListenError("the demo found no free port on 127.0.0.1")


def _missing(error: ImportError) -> MissingPackageError:
    return MissingPackageError(
        f"the demo needs a package that is not installed ({error}); pip install 'countenance[demo]'"
    )
