"""Debian systems in folders, and folders of wheels for them; both are kept in ``.cache`` for the next run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import require

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "device"
MIRROR = "http://deb.debian.org/debian"
PYTHON = "python3,python3-venv,ca-certificates"
SYSTEM = f"{PYTHON},systemd,systemd-sysv,dbus,procps,mosquitto,mosquitto-clients"
PACKAGE = "python3-numpy,openssl,ca-certificates,systemd,systemd-sysv,dbus,procps,mosquitto,mosquitto-clients,pipx"
"""What the Debian package needs, as apt brings it from the network; there is none in a test."""
SCREEN = f"{SYSTEM},libpam-systemd,cage,chromium,xwayland,grim,wlr-randr"
NEWEST_GLIBC_MINOR = 36
"""Debian 12 has glibc 2.36, so wheels up to manylinux_2_36 run on both releases."""


def debian_tree(release: str, architecture: str, packages: str, kind: str = "", options: tuple[str, ...] = ()) -> Path:
    """A minimal Debian with these packages; made once, in a minute or less (emulated: ten to twenty).

    ``kind`` tells trees with other packages apart.
    """
    require("mmdebstrap", "mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("booting a system needs root")
    tree = CACHE / "-".join(filter(None, (release, architecture, kind)))
    if not tree.is_dir():
        tree.parent.mkdir(parents=True, exist_ok=True)
        part = tree.with_name(f"{tree.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        arguments = [f"--architectures={architecture}", "--variant=minbase", f"--include={packages}", *options]
        subprocess.run(["mmdebstrap", "-q", *arguments, release, str(part), MIRROR], check=True, timeout=3000)
        part.rename(tree)
    return tree


def stage_sources(folder: Path) -> Path:
    """A copy of what the package is built from; building next to the sources would leave folders there."""
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("edge_agent", "systemd", "packaging", "docs", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "MODEL_CARD.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def build_wheel(sources: Path, target: Path) -> None:
    """Put this project's wheel into ``target``."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(target)]
    subprocess.run([*pip, str(sources)], check=True, timeout=300)


def wheelhouse(python: str, machine: str, wheel: Path, extra: str = "kiosk,updates") -> Path:
    """All wheels that ``wheel[extra]`` needs on CPython ``python`` ("3.11") on ``machine`` ("aarch64")."""
    folder = CACHE / f"wheels-{python}-{machine}-{extra}"
    for old in folder.glob("countenance-*.whl"):
        old.unlink()
    options = ["--dest", str(folder), *_target(python, machine)]
    subprocess.run([*_pip(python), "download", "-q", *options, f"{wheel}[{extra}]"], check=True, timeout=900)
    return folder


def site_packages(python: str, machine: str, wheels: Path, extra: str, target: Path) -> Path:
    """Install this project for another machine into a folder, from wheels alone, as ``pip install`` there would."""
    options = ["--no-index", "--find-links", str(wheels), "--target", str(target), *_target(python, machine)]
    subprocess.run([*_pip(python), "install", "-q", *options, f"countenance[{extra}]"], check=True, timeout=900)
    return target


def _target(python: str, machine: str) -> list[str]:
    """pip's options that name another Python on another machine."""
    abi = f"cp{python.replace('.', '')}"
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(17, NEWEST_GLIBC_MINOR + 1)]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    options += [part for name in (abi, "abi3", "none") for part in ("--abi", name)]
    options += [part for name in (f"manylinux2014_{machine}", *platforms) for part in ("--platform", name)]
    return options


def _pip(python: str) -> list[str]:
    """pip judges the markers of requirements by the interpreter it runs in: it must be of the same minor version."""
    return [_interpreter(python), "-m", "pip"]


def _interpreter(python: str) -> str:
    """A Python of this minor version with pip."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
    for candidate in (sys.executable, f"python{python}", *map(str, pyenv)):
        script = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(map(int, python.split('.')))})"
        if shutil.which(candidate) and subprocess.run([candidate, "-c", script], capture_output=True).returncode == 0:
            return candidate
    pytest.skip(f"no Python {python} with pip here, which fetching its wheels needs")
