"""Where the page and the metrics are answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from edge_agent.errors import ListenError
from edge_agent.host.sockets import listen

BEFORE_THE_NETWORK = """
import logging, socket, subprocess, sys
from edge_agent.host.sockets import listen
logging.basicConfig(format="%(message)s")
host, tool = sys.argv[1:]
subprocess.run([tool, "link", "set", "lo", "up"], check=True)
listener = listen("kiosk", host, 8765)
subprocess.run([tool, "address", "add", host, "dev", "lo"], check=True)
socket.create_connection((host, 8765), timeout=5).close()
listener.accept()
"""


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_an_address_that_comes_later_is_answered_then(host: str) -> None:
    """As after a boot, when the agent is faster than the network; in a separate network."""
    tool = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin")
    if os.geteuid() != 0 or tool is None or shutil.which("unshare") is None:
        pytest.skip("making a separate network needs root and iproute2")
    command = ["unshare", "-n", sys.executable, "-c", BEFORE_THE_NETWORK, host, tool]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"kiosk.host: {host} is no address of this machine now; it will be answered once it is\n"


def test_a_name_that_leads_nowhere_is_a_clear_error() -> None:
    with pytest.raises(ListenError, match=r"metrics\.host: cannot listen on no-such-host\.invalid:8000: "):
        listen("metrics", "no-such-host.invalid", 8000)
