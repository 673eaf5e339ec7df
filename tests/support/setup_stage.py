"""``/setup`` as its service serves it, in a process of its own, with a thread that plays systemd's path unit."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import httpx

from edge_agent.cli.setup.browser import apply
from edge_agent.errors import CountenanceError
from edge_agent.first_start.code import SetupPlaces, make_certificate, make_code
from tests.support.broker import free_port, is_open, wait_until

_SERVE = """
import sys
from pathlib import Path
from edge_agent.cli.setup.browser import serve
from edge_agent.first_start.code import SetupPlaces
serve(SetupPlaces(*map(Path, sys.argv[1:4])), int(sys.argv[4]))
"""


class SetupStage:
    """Use as a context manager. ``code`` opens it; ``encrypted`` says whether it has a certificate."""

    def __init__(self, folder: Path, *, encrypted: bool = True) -> None:
        self.places = SetupPlaces(folder / "config", folder / "asked", folder / "told")
        for each in (self.places.config, self.places.asked, self.places.told):
            each.mkdir()
        self.code = make_code(self.places)
        self.fingerprint = make_certificate(self.places) if encrypted else None
        self.port = _two_free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.drop_ins = folder / "drop-ins"
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._unit = threading.Thread(target=self._apply_answers, daemon=True)

    def __enter__(self) -> SetupStage:
        places = [str(each) for each in (self.places.config, self.places.asked, self.places.told)]
        self._start(*places)
        while self.process.poll() is not None:  # another test took one of the ports meanwhile
            self.port = _two_free_ports()
            self.url = f"http://127.0.0.1:{self.port}"
            self._start(*places)
        self._unit.start()
        return self

    def _start(self, *places: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _SERVE, *places, str(self.port)])
        last = self.port + (self.fingerprint is not None)
        wait_until(
            lambda: self.process.poll() is not None or (is_open(self.port) and is_open(last)), 90, "the setup's server"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._unit.join()
        self.process.terminate()
        self.process.wait(15)

    def client(self, url: str | None = None) -> httpx.Client:
        """A browser without a code."""
        return httpx.Client(base_url=url or self.url, verify=False, timeout=60)

    def admitted(self) -> httpx.Client:
        """The one browser, with a new code."""
        with self.client() as client:
            taken = client.post("/setup/code", data={"code": make_code(self.places)})
        assert taken.status_code == 303
        return httpx.Client(base_url=self.url, cookies=taken.cookies, timeout=60)

    def _apply_answers(self) -> None:
        while not self._stop.wait(0.05):
            if self.places.answers.exists():
                try:
                    apply(self.places, drop_ins=self.drop_ins, shipped=Path(__file__).parents[2] / "systemd/drop-ins")
                except CountenanceError as error:
                    self.faults.append(str(error))


def _two_free_ports() -> int:
    while True:
        port = free_port()
        if port < 65535 and not is_open(port + 1):
            return port
