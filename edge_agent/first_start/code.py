"""The one-time code of ``/setup``, and the certificate that keeps it and the picture private on the way.

Both are made by root on the device, and their files are gone once the setup is done: without them nothing is served.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import InputError
from edge_agent.first_start.answers import local_name
from edge_agent.host.whole_files import write_whole

DIGITS = 8
WRONG_A_MINUTE = 5
WRONG_IN_ALL = 50
"""After so many wrong codes this one is void: 50 tries of 100 million find it once in two million setups."""
VALID_DAYS = 3650
"""Of the certificate. It is deleted with the end of the setup; the clock of a new device may be wrong."""


@dataclass(frozen=True, slots=True)
class SetupPlaces:
    """Files of the first start. Each folder has one writer."""

    config: Path = Path("/etc/countenance")
    """Root writes here: ``agent.yaml``, ``setup_code``, ``setup.pem``."""
    asked: Path = Path("/run/countenance-setup")
    """The server of ``/setup`` writes here: ``answers.json``, and which code was used."""
    told: Path = Path("/run/countenance")
    """The unit that puts answers in place writes here: ``setup.json``, how that went."""

    @property
    def code(self) -> Path:
        """The code; while it is there, the setup is open."""
        return self.config / "setup_code"

    @property
    def certificate(self) -> Path:
        """Key and certificate in one file."""
        return self.config / "setup.pem"

    @property
    def answers(self) -> Path:
        """What was answered in the browser."""
        return self.asked / "answers.json"

    @property
    def result(self) -> Path:
        """Whether the answers are in place, or why not."""
        return self.told / "setup.json"


def make_code(places: SetupPlaces) -> str:
    """Open the setup with a new code; an older one is void.

    Raises:
        InputError: the folder is missing or may not be written.
    """
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
    write_whole(places.code, code.encode())
    return f"{code[: DIGITS // 2]}-{code[DIGITS // 2 :]}"


def make_certificate(places: SetupPlaces) -> str | None:
    """A self-signed certificate for this machine's names; its fingerprint, or None without the program openssl.

    Raises:
        InputError: it cannot be made or written.
    """
    if shutil.which("openssl") is None:
        places.certificate.unlink(missing_ok=True)
        return None
    name = socket.gethostname().split(".")[0]
    names = f"subjectAltName=DNS:{name},DNS:{local_name()},DNS:localhost,IP:127.0.0.1"
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", str(VALID_DAYS), "-subj", f"/CN={local_name()}", "-addext", names]
        command += ["-keyout", str(key), "-out", str(certificate)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise InputError(f"openssl cannot make a certificate: {done.stderr.strip().splitlines()[-1]}")
        write_whole(places.certificate, key.read_bytes() + certificate.read_bytes())
        return fingerprint(certificate.read_text(encoding="ascii"))


def fingerprint(certificate: str) -> str:
    """SHA-256 of a certificate in PEM, as browsers show it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
    return ":".join(re.findall("..", digest))


def close_setup(places: SetupPlaces) -> None:
    """End the setup for good: only root, on the device, opens another one."""
    places.code.unlink(missing_ok=True)
    places.certificate.unlink(missing_ok=True)


class CodeCheck:
    """Takes the code once, from one browser.

    Args:
        places: where the code is, and where is noted that it was used.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, places: SetupPlaces, now_s: Callable[[], float] = time.monotonic) -> None:
        self._places, self._now_s = places, now_s
        self._wrong_s: deque[float] = deque(maxlen=WRONG_A_MINUTE)
        self._wrong, self._of = 0, ""

    def refusal(self, given: str) -> str:
        """Empty if this is the code, which is then used up; else ``wrong``, ``wait``, ``used``, ``void`` or ``off``."""
        code = self._code()
        if not code:
            return "off"
        if code != self._of:
            self._wrong, self._of = 0, code
        if self._wrong >= WRONG_IN_ALL:
            return "void"
        if len(self._wrong_s) == WRONG_A_MINUTE and self._now_s() - self._wrong_s[0] < 60.0:
            return "wait"
        if not hmac.compare_digest(re.sub(r"\D", "", given).encode(), code.encode()):
            self._wrong += 1
            self._wrong_s.append(self._now_s())
            return "wrong"
        if self._used.exists() and self._used.read_text(encoding="ascii") == _digest(code):
            return "used"
        write_whole(self._used, _digest(code).encode())
        return ""

    @property
    def is_open(self) -> bool:
        """Whether there is a code."""
        return bool(self._code())

    @property
    def _used(self) -> Path:
        return self._places.asked / "used"

    def _code(self) -> str:
        try:
            return self._places.code.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
