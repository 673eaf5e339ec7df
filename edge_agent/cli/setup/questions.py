"""The questions of a first start in the terminal; the page ``/setup`` asks the same."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from pydantic import ValidationError

from edge_agent.cameras import open_camera
from edge_agent.cameras.found import FoundCamera, found_cameras
from edge_agent.cli.doctor import camera as camera_checks
from edge_agent.cli.doctor.check import Check, Status
from edge_agent.cli.setup.checking import check_broker
from edge_agent.config import Config
from edge_agent.errors import ConfigError, CountenanceError
from edge_agent.first_start.answers import (
    BANNED_PLACES,
    WHY_BANNED,
    Answers,
    BrokerAnswer,
    CameraAnswer,
    PageAnswer,
    Place,
)
from edge_agent.kiosk.language import available

PLACES: dict[Place, str] = {
    "shop": "a shop or a counter",
    "museum": "a museum or an exhibition",
    "event": "an event or a fair",
    "public": "another place that is open to everyone",
    "home": "at home",
    "workplace": "a workplace",
    "school": "a school, or any place of education",
}
PAGES: dict[PageAnswer, str] = {
    "display": "on this machine's own display",
    "network": "on every machine in the network",
    "none": "nowhere",
}
WARM_UP_FRAMES = 10
"""Automatic exposure settles."""


def ask(write: Callable[[str], object] = print) -> Answers:
    """Ask everything, one question after the other.

    Raises:
        ConfigError: the place is refused, or the input ended before the last question.
    """
    try:
        place = _choose("Where will it hang?", PLACES, write)
        if place in BANNED_PLACES:
            raise ConfigError(f"{WHY_BANNED}; see docs/privacy.md")
        camera = _ask_camera(write)
        name = _text("What is it called, for people? For example: Entrance hall", Answers().name)
        broker = _ask_broker(write)
        page = _choose("Where is the page shown?", PAGES, write)
        language = _choose("The page's language?", {tag: tag for tag in _english_first(available())}, write)
        alone = _yes("Try it alone for 15 minutes? Figures of one person are then shown, and neither stored nor sent.")
        return Answers(camera=camera, name=name, place=place, broker=broker, page=page, language=language, alone=alone)
    except EOFError:
        raise ConfigError("setup: the input ended before the last question; nothing was written") from None


def show(checks: Iterable[Check], write: Callable[[str], object]) -> bool:
    """Write the doctor's lines as they come; whether none of them failed."""
    good = True
    for check in checks:
        write(f"  {check}")
        good = good and check.status is not Status.FAILED
    return good


def _ask_camera(write: Callable[[str], object]) -> CameraAnswer:
    found = found_cameras()
    names = {str(number): f"{camera.name} ({camera.source})" for number, camera in enumerate(found, 1)}
    while True:
        chosen = _choose("Which camera?", {**names, "network": "a camera in the network, by its address"}, write)
        camera = _network_camera(write) if chosen == "network" else _of(found[int(chosen) - 1])
        turned = _look(camera, write)
        if turned is not None:
            return turned


def _of(found: FoundCamera) -> CameraAnswer:
    return CameraAnswer(backend=found.backend, source=found.source)


def _network_camera(write: Callable[[str], object]) -> CameraAnswer:
    while True:
        try:
            return CameraAnswer(source=_text("Its address? For example: rtsp://USER:PASSWORD@192.0.2.10:554/stream1"))
        except ValidationError as error:
            write(f"  {error.errors()[0]['msg'].removeprefix('Value error, ')}")


def _look(camera: CameraAnswer, write: Callable[[str], object]) -> CameraAnswer | None:
    """What the camera sees of people; the camera to take, or None for another one."""
    write("  Stand before the camera, please. It is opened ...")
    while True:
        config = Config(camera=camera.config())
        try:
            lines = list(_examine(config))
        except CountenanceError as error:
            write(f"  {error}")
            return camera if _yes("Take it anyway?", default=False) else None
        show(lines, write)
        answer = _choose(
            "Good like this?",
            {"yes": "yes", "again": "look again", "turn": "turn the picture by a quarter", "other": "another camera"},
            write,
        )
        if answer == "yes":
            return camera
        if answer == "other":
            return None
        if answer == "turn":
            camera = camera.model_copy(update={"rotate_deg": (camera.rotate_deg + 90) % 360})


def _examine(config: Config) -> list[Check]:
    from edge_agent.cli.doctor import faces

    with closing(open_camera(config.camera)) as opened:
        picture = opened.read()
        for _ in range(WARM_UP_FRAMES):
            picture = opened.read() or picture
    if picture is None:
        return []
    return [camera_checks.exposure(picture.image), *faces.examine(picture.image, config)]


def _ask_broker(write: Callable[[str], object]) -> BrokerAnswer | None:
    kinds = {"none": "none: the page alone", "here": "the one on this machine", "other": "another one, by its address"}
    while True:
        kind = _choose("An MQTT broker?", kinds, write)
        if kind == "none":
            return None
        try:
            broker = BrokerAnswer() if kind == "here" else _other_broker()
            if show(check_broker(broker), write) or _yes("Take it anyway?", default=False):
                return broker
        except (ConfigError, ValidationError) as error:
            write(f"  {error if isinstance(error, ConfigError) else error.errors()[0]['msg']}")


def _other_broker() -> BrokerAnswer:
    host = _text("Its name or address?")
    tls = _yes("Encrypted (TLS)?", default=False)
    port = _text("Its port?", "8883" if tls else "1883")
    username = _text("User name? Empty: none", "")
    password = (getpass.getpass if sys.stdin.isatty() else input)("Password? ") if username else ""
    return BrokerAnswer.model_validate(
        {"host": host, "port": port, "tls": tls, "username": username, "password": password}
    )


def _choose(question: str, choices: dict[Any, str], write: Callable[[str], object]) -> Any:
    """The key of the chosen line; the first one by Enter."""
    keys = list(choices)
    write(question)
    for number, key in enumerate(keys, 1):
        write(f"  {number}  {choices[key]}")
    while True:
        answer = input("Number [1]: ").strip() or "1"
        if answer.isdigit() and 1 <= int(answer) <= len(keys):
            return keys[int(answer) - 1]
        write(f"  a number from 1 to {len(keys)}, please")


def _text(question: str, default: str | None = None) -> str:
    while True:
        answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip()
        if answer or default is not None:
            return answer or default or ""


def _yes(question: str, *, default: bool = False) -> bool:
    answer = input(f"{question} [{'Y/n' if default else 'y/N'}]: ").strip().lower()
    return answer.startswith("y") if answer else default


def _english_first(tags: Sequence[str]) -> list[str]:
    return sorted(tags, key=lambda tag: (tag != "en", tag))
