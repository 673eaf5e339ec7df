"""``edge-agent setup``: asks what a first start needs, writes ``agent.yaml``, and starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from edge_agent.cli.doctor import service
from edge_agent.cli.setup.browser import SETUP_UNIT
from edge_agent.cli.setup.placing import BEFORE, check_place, place
from edge_agent.cli.setup.questions import ask
from edge_agent.errors import InputError
from edge_agent.first_start.answers import page_address
from edge_agent.first_start.code import SetupPlaces, close_setup
from edge_agent.first_start.trial import begin_trial, trial_folder

INSTALLED = Path("/etc/countenance/agent.yaml")
"""The installed service's configuration."""


def setup_here(file: Path | None) -> int:
    """Ask in the terminal, and write ``file``; by default the service's, or without root one in this folder.

    Returns:
        0.

    Raises:
        ConfigError: refused, or the answers do not fit together.
        InputError: the file cannot be written, or the service cannot be started with it.
    """
    if file is None:
        file = INSTALLED if os.geteuid() == 0 and INSTALLED.parent.is_dir() else Path("agent.yaml")
    check_place(file)
    answers = ask()
    is_installed = file.resolve() == INSTALLED
    kept = file.exists()
    config = place(answers, file, store=None if is_installed else Path("windows.sqlite"))
    if answers.alone:
        begin_trial(trial_folder())
    print(f"{file} is written.{f' The old one is {file.name}{BEFORE}.' if kept else ''}")
    if is_installed and shutil.which("systemctl") and Path("/run/systemd/system").is_dir():
        _start()
        print("The service is started.")
    else:
        print(f"Start it: edge-agent run -c {file}")
    if config.kiosk.enabled:
        print(f"The page: {page_address(config.kiosk)}")
    print(f"Check it all: {'sudo ' if is_installed else ''}edge-agent doctor -c {file}")
    return 0


def _start() -> None:
    close_setup(SetupPlaces())  # what is asked here need not be asked in a browser, too
    try:
        # Where it is not installed, or closed, there is nothing to stop.
        subprocess.run(["systemctl", "stop", SETUP_UNIT], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "restart", service.UNIT], check=True)
    except subprocess.CalledProcessError as error:
        raise InputError(f"{service.UNIT} did not start; see: journalctl -u {service.UNIT} -n 20") from error
