"""The Debian packages as far as they can be judged without building one; tests/device installs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts import deb
from tests.support.programs import require

ROOT = Path(__file__).parents[1]


def test_there_is_one_for_each_release_and_machine():
    assert {target.name for target in deb.TARGETS} == {"deb12_amd64", "deb12_arm64", "deb13_amd64", "deb13_arm64"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package's files without its Python environment."""
    deb.put_system_files(tmp_path, ROOT)
    deb.put_control(tmp_path, deb.TARGETS[0], ROOT, version="1.2+deb12")
    return tmp_path


def test_its_units_name_its_own_places(tree):
    units = sorted((tree / "usr/lib/systemd/system").iterdir())
    assert {"countenance.service", "countenance-kiosk.service"} <= {unit.name for unit in units}
    assert [unit.name for unit in units if "/opt/" in unit.read_text()] == []


def test_shellcheck_has_nothing_to_say_about_its_scripts(tree):
    """As they are in the package: with what they share with the installer. Each uses a part of that."""
    scripts = [tree / "DEBIAN" / name for name in ("preinst", "postinst", "prerm", "postrm")]
    command = [require("shellcheck", "shellcheck"), "--exclude=SC2034", *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


def test_its_control_file_is_whole(tree):
    """A field over several lines has its further lines indented, or dpkg refuses the package."""
    lines = (tree / "DEBIAN" / "control").read_text().splitlines()
    assert "Version: 1.2+deb12" in lines
    assert "python3 (>= 3.11), python3 (<< 3.12)" in next(line for line in lines if line.startswith("Depends: "))
    assert [line for line in lines if not line.startswith(" ") and ": " not in line] == []
