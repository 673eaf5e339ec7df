"""A wheel of this checkout works where there is no checkout, and a release is the same for everybody who builds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from edge_agent import __version__
from scripts import release
from tests.support.faces import write_astronaut

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The wheel and the source package, built once."""
    if find_spec("build") is None:
        message = "build is not installed: pip install '.[release]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return release.build(tmp_path_factory.mktemp("release"))


def test_the_packages_are_of_this_version_and_whole(packages: dict[str, bytes]) -> None:
    assert set(packages) == {f"countenance-{__version__}-py3-none-any.whl", f"countenance-{__version__}.tar.gz"}
    for name, data in packages.items():
        release.check_content(name, data)


def test_an_installed_wheel_reads_faces_without_the_checkout(packages: dict[str, bytes], tmp_path: Path) -> None:
    """Its packages come from here, to be quick; ``test_a_bare_environment_...`` installs them, too."""
    wheel = write(packages, ".whl", tmp_path)
    python = make_environment(tmp_path / "bare", "--without-pip")
    (site,) = (tmp_path / "bare").glob("lib/python3.*/site-packages")
    # A .pth file adds a folder without reading the .pth files in it: the editable install of this checkout stays out.
    (site / "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--disable-pip-version-check", "--ignore-installed", str(wheel), cwd=tmp_path)
    check_commands(python.parent / "edge-agent", site, tmp_path)


@pytest.mark.device
@pytest.mark.timeout(900)
def test_a_bare_environment_gets_all_that_the_wheel_needs(packages: dict[str, bytes], tmp_path: Path) -> None:
    wheel = write(packages, ".whl", tmp_path)
    python = make_environment(tmp_path / "bare")
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel), cwd=tmp_path)
    run(str(python), "-m", "pip", "check", cwd=tmp_path)
    (site,) = (tmp_path / "bare").glob("lib/python3.*/site-packages")
    check_commands(python.parent / "edge-agent", site, tmp_path)


@pytest.mark.device
@pytest.mark.timeout(300)
def test_two_builds_of_a_release_are_equal(tmp_path: Path) -> None:
    """What ``make release`` runs: it builds twice, compares, and lets twine check."""
    said = run(sys.executable, "-m", "scripts.release", "--any-state", "--to", str(tmp_path), cwd=ROOT)
    assert said.count("PASSED") == 2


def write(packages: dict[str, bytes], ending: str, folder: Path) -> Path:
    (name,) = (name for name in packages if name.endswith(ending))
    (folder / name).write_bytes(packages[name])
    return folder / name


def make_environment(folder: Path, *options: str) -> Path:
    run(sys.executable, "-m", "venv", *options, str(folder), cwd=folder.parent)
    return folder / "bin" / "python"


def check_commands(edge_agent: Path, site: Path, folder: Path) -> None:
    """``predict`` reads a face, and ``run`` a film of it, both by the code in ``site``."""
    where = run(str(edge_agent.with_name("python")), "-c", "import edge_agent; print(edge_agent.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(site)
    picture = write_astronaut(folder / "astronaut.png")
    (answer,) = run(str(edge_agent), "predict", "--json", str(picture), cwd=folder).splitlines()
    assert json.loads(answer)["percentages"]["happy"] > 90
    film = folder / "film"
    film.mkdir()
    for number in range(30):
        os.link(picture, film / f"{number:02}.png")
    config = folder / "agent.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "camera": {"backend": "replay", "source": str(film), "fps": 15, "loop": False},
                "faces": {"still_s": 0},  # the film is one photograph
                "window": {"seconds": 1},
                "privacy": {"min_people": 1, "acknowledged_use": True},
                "mqtt": {"enabled": False},
                "store": {"path": str(folder / "windows.sqlite")},
            }
        )
    )
    run(str(edge_agent), "run", "-c", str(config), cwd=folder)
    windows = run(str(edge_agent), "export", "-c", str(config), "--json", cwd=folder).splitlines()
    assert any(json.loads(window)["people"] == 1 for window in windows)


def run(*command: str, cwd: Path) -> str:
    """Its output, far from the checkout's modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
