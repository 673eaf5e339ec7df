"""A Debian with a real systemd as PID 1, on a machine that has none: systemd-nspawn in its own mount name space."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.broker import wait_until

BOOT_S = 60.0
# Changes go to memory, so the tree stays as it was made. cgroups are mounted again because the host may have version 1.
# Unlike a device, nspawn forbids even reading the kernel's clock discipline, so that is allowed.
_BOOT = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/nspawn /run/lock /run/countenance
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/countenance/upper /run/countenance/work /run/countenance/root
mount -t overlay overlay -o "lowerdir=$TREE,upperdir=/run/countenance/upper,workdir=/run/countenance/work" \
    /run/countenance/root
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn -q -D /run/countenance/root -b --register=no --keep-unit --private-network --console=pipe \
    --system-call-filter="adjtimex clock_adjtime" "$@"
"""
_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")


class Container:
    """Boots on entry and powers off on exit; ``binds`` are (host folder, folder inside), read-only."""

    def __init__(self, tree: Path, log: Path, binds: list[tuple[Path, str]]) -> None:
        self._tree = tree
        self._log = log
        self._binds = [f"--bind-ro={outside}:{inside}" for outside, inside in binds]
        self._process: subprocess.Popen[bytes] | None = None
        self._init = ""

    def __enter__(self) -> Container:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "-m", "bash", "-c", _BOOT, "boot", *self._binds],
                env={"TREE": str(self._tree), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._init = wait_until(self._find_init, BOOT_S, f"a PID 1; see {self._log}")
            wait_until(self._is_up, BOOT_S, f"a booted system; see {self._log}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, command: str, check: bool = True, timeout_s: float = 300.0) -> str:
        """Run a shell command inside; returns its output, standard error included. The test fails if it does."""
        done = self.attempt(command, timeout_s)
        if check and done.returncode != 0:
            pytest.fail(f"{command}: exit {done.returncode}: {done.stdout}")
        return done.stdout

    def attempt(self, command: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """As :meth:`run`, for commands that may fail."""
        enter = ["nsenter", "-t", self._init, "-m", "-u", "-i", "-n", "-p", "env", "-i", *_ENVIRONMENT]
        return subprocess.run(
            [*enter, "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def in_network(self, *command: str) -> list[str]:
        """The command line that runs a program of this machine in the container's network."""
        return ["nsenter", "-t", self._init, "-n", *command]

    def enter_network(self, *command: str) -> None:
        """Run a program of this machine there; the test fails if it does."""
        subprocess.run(self.in_network(*command), check=True, timeout=60)

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        enter = ["nsenter", "-t", self._init, "-m", "-p", "tee", path]
        subprocess.run(enter, input=text, text=True, check=True, stdout=subprocess.DEVNULL, timeout=30)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show -p {name} --value {unit}").strip()

    def _find_init(self) -> str:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"systemd-nspawn ended: {self._log.read_text(errors='replace')[-2000:]}")
        children = subprocess.run(
            ["pgrep", "-P", str(self._process.pid), "-x", "systemd"], capture_output=True, text=True
        )
        return children.stdout.strip()

    def _is_up(self) -> bool:
        return self.attempt("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def _end(self) -> None:
        """Power off; a killed nspawn would leave its systemd running."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._init:
            self.attempt("systemctl poweroff", 30)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            if self._init:
                subprocess.run(["kill", "-KILL", self._init])
            self._process.kill()
            self._process.wait()
