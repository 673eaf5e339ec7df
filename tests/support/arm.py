"""A 64-bit ARM Debian on an x86-64 machine: QEMU's user emulation runs its programs in the tree."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.trees import CACHE, MIRROR

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# From binfmt_misc's point of view: an ELF file, 64-bit, little-endian, for machine 183 (AArch64).
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def emulate_aarch64() -> None:
    """Let the kernel run AArch64 programs through QEMU 10; Debian 12's QEMU 7.2 crashes in ai-edge-litert."""
    if platform.machine() == "aarch64" or (BINFMT / "qemu-aarch64").exists():
        return
    qemu = CACHE / "qemu-aarch64"
    if not qemu.exists():
        tree = CACHE / "qemu.part"
        arguments = ["-q", "--variant=extract", "--include=qemu-user", "trixie", str(tree), MIRROR]
        subprocess.run(["mmdebstrap", *arguments], check=True, timeout=600)
        shutil.move(tree / "usr/bin/qemu-aarch64", qemu)
        shutil.rmtree(tree)
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    # F: the kernel opens QEMU now, so that it is found from inside the tree.
    (BINFMT / "register").write_text(f":qemu-aarch64:M::{_MAGIC}:{_MASK}:{qemu}:F")


_ENTER = """
set -e
mount -t proc proc "$TREE/proc"
mount --bind /dev "$TREE/dev"
mount -t tmpfs tmpfs "$TREE/tmp"
for bind in $BINDS; do
    mkdir -p "$TREE/${bind#*:}"
    mount --bind -o ro "${bind%:*}" "$TREE/${bind#*:}"
done
exec chroot "$TREE" python3 "$@"
"""


class Emulated:
    """A tree in which folders of this machine are seen, read-only: (outside, inside)."""

    def __init__(self, tree: Path, binds: list[tuple[Path, str]]) -> None:
        self._environment = {
            "TREE": str(tree),
            "BINDS": " ".join(f"{outside}:{inside}" for outside, inside in binds),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": "/site",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/tmp",
            "QEMU_CPU": "cortex-a72",  # a Raspberry Pi 4; later ones take four times as long to emulate
        }

    def python(self, *arguments: str, timeout_s: float = 900.0) -> str:
        """Run the tree's own python3, which finds the installed packages; returns its standard output."""
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", _ENTER, "enter", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            pytest.fail(f"exit {done.returncode} of python3 {' '.join(arguments)[:200]}: {done.stdout}{done.stderr}")
        return done.stdout
