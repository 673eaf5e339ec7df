"""``countenance-fleet``: the program."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from edge_agent.errors import ConfigError, CountenanceError
from fleet.api import make_app
from fleet.collecting import Collector, Source, Tally
from fleet.database import DAY_MS, Database
from fleet.from_mqtt import MqttSource
from fleet.from_nats import NatsSource
from fleet.models import load_estimators
from fleet.settings import Settings, load_settings

log = logging.getLogger("fleet")

LOOPBACK = ("127.0.0.1", "localhost")
TIDY_S = 3600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/exit-codes.md)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = load_settings(options.config)
        options.action(settings)
    except CountenanceError as error:
        print(f"countenance-fleet: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def run(settings: Settings, *, collect: bool = True, serve: bool = True) -> None:
    """Collect and serve until a signal."""
    database, stop = Database(settings.database), threading.Event()
    database.migrate()
    estimators, token = load_estimators(settings.models), _token(settings)
    threads = [threading.Thread(target=_tidy, args=(database, settings.keep_days, stop), name="tidy")]
    tally, defects = Tally(), list[Exception]()
    if collect:
        collector = Collector(source_of(settings), database, settings.prefix, tally=tally)
        threads.append(threading.Thread(target=_collect, args=(collector, stop, defects), name="collector"))
    for thread in threads:
        thread.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        if serve:
            app = make_app(database, estimators, tally, token=token)
            server = uvicorn.Server(uvicorn.Config(app, settings.page.host, settings.page.port, log_level="warning"))
            log.info("the page: http://%s:%d/", settings.page.host, settings.page.port)
            server.run()
        else:
            stop.wait()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        database.close()
    if defects:
        raise defects[0]


def _collect(collector: Collector, stop: threading.Event, defects: list[Exception]) -> None:
    """A defect ends the program, so that its supervisor starts it again: a page without a collector would look well."""
    try:
        collector.run(stop)
    except Exception as error:  # noqa: BLE001  the boundary of the thread; ``run`` raises it again
        defects.append(error)
        os.kill(os.getpid(), signal.SIGTERM)


def source_of(settings: Settings) -> Source:
    """The broker's side that the address names."""
    url = urlsplit(settings.broker)
    if url.scheme in ("mqtt", "mqtts"):
        return MqttSource(url, settings.prefix, "countenance-fleet")
    return NatsSource(settings.broker.split(","), settings.prefix)


def _token(settings: Settings) -> str | None:
    page = settings.page
    if page.token_file is None:
        if page.host not in LOOPBACK:
            raise ConfigError(f"page.host {page.host} is not loopback: page.token_file must name a file with a token")
        return None
    try:
        token = page.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"page.token_file {page.token_file}: {error.strerror}") from error
    if len(token) < 16:
        raise ConfigError(f"page.token_file {page.token_file}: a token has at least 16 characters")
    return token


def _tidy(database: Database, keep_days: int, stop: threading.Event) -> None:
    while not stop.wait(TIDY_S):
        try:
            database.forget((time.time_ns() // 1_000_000 // DAY_MS - keep_days) * DAY_MS)
        except CountenanceError as error:
            log.error("old windows were not removed: %s", error)


def _migrate(settings: Settings) -> None:
    database = Database(settings.database)
    database.migrate()
    database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="countenance-fleet", description=__doc__)
    parser.add_argument("-c", "--config", type=Path, help="YAML file (default: a broker and a file on this machine)")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, action, text in (
        ("run", run, "collect windows, and serve the page and the API"),
        ("collect", lambda settings: run(settings, serve=False), "collect only; any number of them, with NATS"),
        ("serve", lambda settings: run(settings, collect=False), "serve the page and the API only"),
        ("migrate", _migrate, "bring the database to this version (run does it, too)"),
    ):
        commands.add_parser(name, help=text).set_defaults(action=action)
    return parser
