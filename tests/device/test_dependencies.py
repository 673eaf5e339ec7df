"""What pyproject.toml asks for exists as wheels on every supported Python and machine, installs, and works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.faces import write_astronaut
from tests.support.trees import stage_sources

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = ("", "[litert]", "[kiosk]", "[demo]")


def interpreter(version: str) -> str:
    """CPython ``version``: on PATH, or from pyenv; without one the test is skipped by name."""
    candidates = [
        shutil.which(f"python{version}"),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ]
    for path in filter(None, candidates):
        if subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return path
    pytest.skip(f"no Python {version} here")


@pytest.fixture(scope="module", params=VERSIONS)
def environment(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("python") / "venv"
    subprocess.run([interpreter(request.param), "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "--upgrade", "pip"], check=True)
    return folder


def resolve(environment: Path, extra: str, machine: str) -> subprocess.CompletedProcess[str]:
    """Ask pip for wheels alone; markers are those of the running Python, so only the machine is foreign."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(17, 37)]
    platforms += [f"--platform=manylinux2014_{machine}"]
    command = [
        environment / "bin" / "pip",
        "install",
        "-q",
        "--dry-run",
        "--only-binary=:all:",
        "--target=x",
        *platforms,
    ]
    requirements = requirements_of(environment, extra, machine)
    return subprocess.run([*command, *requirements], capture_output=True, text=True)


def requirements_of(environment: Path, extra: str, machine: str) -> list[str]:
    """The project's own requirement list with this extra, markers evaluated for the Python here and that machine."""
    code = (
        "import sys\n"
        "from pip._vendor.packaging.requirements import Requirement\n"
        "from pip._vendor import tomli\n"
        "project = tomli.load(open('pyproject.toml', 'rb'))['project']\n"
        "wanted, extras = list(project['dependencies']), [sys.argv[1]]\n"
        "while extras:\n"
        "    for line in project['optional-dependencies'].get(extras.pop(), []):\n"
        "        own = Requirement(line)\n"
        "        extras += own.extras if own.name == 'countenance' else []\n"
        "        wanted += [] if own.name == 'countenance' else [line]\n"
        "for line in wanted:\n"
        "    requirement = Requirement(line)\n"
        "    if requirement.marker is None or requirement.marker.evaluate({'platform_machine': sys.argv[2]}):\n"
        "        requirement.marker = None\n"
        "        print(requirement)\n"
    )
    command = [environment / "bin" / "python", "-c", code, extra.strip("[]"), machine]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_every_dependency_is_a_wheel(environment, extra, machine):
    done = resolve(environment, extra, machine)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_builds_without_a_word_of_deprecation(environment, tmp_path):
    """The newest setuptools builds it on the device, and what that deprecates today it refuses one day."""
    command = [
        environment / "bin" / "pip",
        "wheel",
        "-v",
        "--no-deps",
        "-w",
        tmp_path,
        stage_sources(tmp_path / "source"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "deprecat" not in done.stdout.lower(), done.stdout


def test_it_installs_and_reads_a_smile(environment, tmp_path):
    pip, agent = environment / "bin" / "pip", environment / "bin" / "edge-agent"
    subprocess.run([pip, "install", "-q", str(stage_sources(tmp_path / "source"))], check=True)
    subprocess.run([pip, "check"], check=True)
    picture = write_astronaut(tmp_path / "astronaut.png")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [agent, "predict", "--json", picture],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout)["percentages"]
    assert max(shares, key=shares.get) == "happy"
