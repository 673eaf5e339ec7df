"""What lets ``/setup`` work: the code, the server, and the unit that puts the answers in place."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

from edge_agent.cli.doctor import service
from edge_agent.cli.setup.checking import verdict_of
from edge_agent.cli.setup.placing import place
from edge_agent.config import DetectorConfig, FacesConfig, KioskConfig
from edge_agent.errors import ConfigError, CountenanceError, InputError, MissingPackageError
from edge_agent.first_start.answers import MOST_BYTES, local_name, read_answers
from edge_agent.first_start.code import SetupPlaces, close_setup, make_certificate, make_code
from edge_agent.first_start.trial import begin_trial
from edge_agent.host.whole_files import write_whole
from edge_agent.vision.inspection import Inspector

log = logging.getLogger(__name__)

SETUP_UNIT, WRITER = "countenance-setup.service", "countenance-setup-write.path"
DROP_INS = Path("/etc/systemd/system/countenance.service.d")
SHIPPED_DROP_INS = Path(sys.prefix) / "systemd" / "drop-ins"
"""Both the installer and the Debian package put them there."""


def open_setup(places: SetupPlaces) -> int:
    """Make a new code and a certificate, start the server, and print what to type where; returns 0.

    Raises:
        InputError: not root, or the service is not installed.
    """
    code = make_code(places)
    print_ = make_certificate(places)
    port = KioskConfig().port
    print(f"open http://{local_name() if print_ else '127.0.0.1'}:{port}/setup")
    if print_ and (address := _own_address()):
        print(f"  or http://{address}:{port}/setup")
    print(f"code {code}")
    if print_ is None:
        print("On this machine alone, as openssl is missing: sudo apt install openssl, then run this again")
    else:
        print(f"The browser warns of the device's own certificate. Its SHA-256 fingerprint:\n  {print_}")
    if Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
        subprocess.run(["systemctl", "stop", service.UNIT], check=False)
        started = subprocess.run(["systemctl", "--no-block", "restart", WRITER, SETUP_UNIT], check=False)
        if started.returncode != 0:
            raise InputError(f"{SETUP_UNIT} cannot be started; see: systemctl status {SETUP_UNIT}")
    return 0


def serve(places: SetupPlaces, port: int) -> int:
    """Serve ``/setup`` until it is done; returns 0.

    Raises:
        ConfigError: the setup is not open.
        MissingPackageError: the extra ``kiosk`` is not installed.
        ListenError: the port cannot be listened on.
    """
    from edge_agent.cameras.found import found_cameras

    if not places.code.is_file():
        raise ConfigError("setup: it is closed; open it with: sudo edge-agent setup --code")
    try:
        from edge_agent.kiosk.setup.server import serve_setup
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] == "edge_agent":
            raise
        raise MissingPackageError(f"/setup needs the package {error.name}: pip install 'countenance[kiosk]'") from error
    serve_setup(
        places,
        port=port,
        make_inspector=make_inspector,
        found=found_cameras,
        check_broker=verdict_of,
    )
    return 0


def make_inspector() -> Inspector:
    """Judges faces with the default settings."""
    from edge_agent.detectors import load_detector
    from edge_agent.vision.model import load_model

    size = load_model(None).info.input
    return Inspector(load_detector(DetectorConfig()), (size.height, size.width), FacesConfig())


def apply(places: SetupPlaces, *, drop_ins: Path = DROP_INS, shipped: Path = SHIPPED_DROP_INS) -> int:
    """Put the answers of ``/setup`` in place, as the unit that alone may write the configuration; returns 0.

    Raises:
        CountenanceError: they are not put in place; the browser has been told.
    """
    data = _take(places.answers)
    fault = ""
    try:
        if not places.code.is_file():
            raise ConfigError("setup: it is closed; open it with: sudo edge-agent setup --code")
        answers = read_answers(data)
        place(answers, places.config / "agent.yaml")
        if answers.camera.backend == "picamera2":
            _let_in_csi_camera(drop_ins, shipped)
        if answers.alone:
            begin_trial(places.told)
        close_setup(places)
    except CountenanceError as error:
        fault = str(error)
        raise
    finally:
        result = {"answers": hashlib.sha256(data).hexdigest(), "fault": fault}
        write_whole(places.result, json.dumps(result).encode())
    log.info("the answers of the setup are in place")
    return 0


def _take(file: Path) -> bytes:
    """The file's content, and the file is gone; no link is followed, since another user wrote it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{file}: no answers: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as opened:
        file.unlink()
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise InputError(f"{file}: this is no regular file")
        return opened.read(MOST_BYTES + 1)[:MOST_BYTES]


def _let_in_csi_camera(drop_ins: Path, shipped: Path) -> None:
    """The service may use a Raspberry Pi's camera with this drop-in; the installer puts it there for --camera."""
    source, target = shipped / "raspberry-pi.conf", drop_ins / "40-raspberry-pi.conf"
    if target.exists():
        return
    try:
        drop_ins.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)
    except OSError as error:
        raise InputError(f"{drop_ins}: cannot let the service use the CSI camera: {error.strerror}") from error


def _own_address() -> str:
    """This machine's address in the network, as the way out of it has it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""
