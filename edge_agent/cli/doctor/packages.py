"""Conflicts of packages that ``pip check`` does not see; each has cost somebody a day."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from edge_agent import __version__
from edge_agent.cli.doctor.check import Check, failed, ok, warning
from edge_agent.config import Config

OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")

APT_PACKAGES = Path("/usr/lib/python3/dist-packages")

OPENCV_KEPT = "opencv-python-headless"

KIOSK = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
"""Modules of the extra ``kiosk`` and the packages that have them."""

VersionOf = Callable[[str], str | None]
"""Package name to its version, None when it is not installed."""


def installed_version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def examine(config: Config, version_of: VersionOf = installed_version) -> Iterable[Check]:
    """Report each conflict, or one line that there is none."""
    found = [*_opencv(), *_numpy(version_of), *_picamera2(config, version_of), *_kiosk(config)]
    if found:
        yield from found
        return
    names = ("numpy", "opencv-python-headless", "ai-edge-litert", "tflite-runtime", "paho-mqtt")
    listed = ", ".join(f"{name} {version}" for name in names if (version := version_of(name)))
    python = ".".join(map(str, sys.version_info[:3]))
    yield ok("packages", f"countenance {__version__} on Python {python} with {listed}")


def _opencv() -> Iterator[Check]:
    """All four install into the one folder ``cv2`` of their site-packages and overwrite each other there.

    In two site-packages, those of an environment and those of its system, they do not meet.
    """
    present: dict[Path, list[str]] = {}
    for name in OPENCV:
        for folder in {Path(str(found.locate_file(""))) for found in metadata.distributions(name=name)}:
            present.setdefault(folder, []).append(name)
    for folder, names in present.items():
        if len(names) > 1:
            others = " ".join(name for name in names if name != OPENCV_KEPT)
            fix = f"pip uninstall -y {others} && pip install --force-reinstall --no-deps {OPENCV_KEPT}"
            yield failed("packages", f"{' and '.join(names)} overwrite each other in {folder}", fix)


def _numpy(version_of: VersionOf) -> Iterator[Check]:
    """tflite-runtime 2.14 was built for numpy 1 but does not declare it: its import works, its first interpreter
    dies."""
    numpy = version_of("numpy") or "0"
    if version_of("tflite-runtime") and not version_of("ai-edge-litert") and int(numpy.split(".")[0]) >= 2:
        yield failed("packages", f"tflite-runtime dies with numpy {numpy}", "pip install 'numpy<2', or ai-edge-litert")


def _picamera2(config: Config, version_of: VersionOf) -> Iterator[Check]:
    """apt's picamera2 is compiled against apt's numpy, and another one in the environment breaks it."""
    if config.camera.backend != "picamera2":
        return
    if importlib.util.find_spec("picamera2") is None:
        fix = "sudo apt install python3-picamera2, in an environment with --system-site-packages"
        yield failed("packages", "picamera2 is not installed", fix)
    for info in APT_PACKAGES.glob("numpy-*-info"):  # numpy-1.24.2.egg-info or numpy-2.2.4.dist-info
        wanted, found = info.stem.removeprefix("numpy-"), version_of("numpy")
        if found != wanted:
            detail = f"numpy {found} hides apt's {wanted}, which picamera2 is compiled against"
            yield warning("packages", detail, f"pip install 'numpy=={wanted}'")


def _kiosk(config: Config) -> Iterator[Check]:
    missing = [package for module, package in KIOSK.items() if importlib.util.find_spec(module) is None]
    if config.kiosk.enabled and missing:
        yield warning("packages", f"the page needs {' and '.join(missing)}", "pip install 'countenance[kiosk]'")
