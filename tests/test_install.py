"""The installer as far as it can be tried without changing this machine; tests/device boots a system for the rest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTALL = ROOT / "systemd" / "install.sh"


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(INSTALL), *arguments], capture_output=True, text=True, timeout=60)


def test_shellcheck_has_nothing_to_say() -> None:
    if shutil.which("shellcheck") is None:
        if os.environ.get("CI"):
            pytest.fail("shellcheck is missing: apt-get install shellcheck")
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", str(INSTALL)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


def installed_paths() -> list[Path]:
    places = ("/opt/countenance", "/etc/countenance", "/var/lib/countenance", "/usr/local/bin/edge-agent")
    return [path for path in map(Path, places) if path.exists()]


def test_a_dry_run_names_every_step_and_takes_none() -> None:
    before = installed_paths()
    done = install("--dry-run", "--no-start")
    assert done.returncode == 0, done.stderr
    for step in (
        "-m venv --system-site-packages",
        "[kiosk]",
        "config check",
        "fetch-detector",
        "mv -T",
        "systemctl -q enable",
    ):
        assert step in done.stdout
    assert installed_paths() == before


@pytest.mark.parametrize("camera", ["raspberry-pi", "jetson", "network-camera"])
def test_the_camera_chooses_the_drop_in(camera: str) -> None:
    done = install("--dry-run", "--no-start", "--camera", camera)
    installed = re.findall(r"^\+ install .*/40-([\w-]+)\.conf$", done.stdout, re.MULTILINE)
    assert installed == [camera]


def test_the_kiosk_brings_its_unit_its_account_and_a_page_that_is_on() -> None:
    done = install("--dry-run", "--no-start", "--kiosk")
    assert done.returncode == 0, done.stderr
    for step in ("useradd .* countenance-kiosk", "install .*/countenance-kiosk.service", "enable countenance-kiosk"):
        assert re.search(rf"^\+ .*{step}", done.stdout, re.MULTILINE), step
    if not Path("/etc/countenance/agent.yaml").exists():
        assert "+ append to /etc/countenance/agent.yaml" in done.stdout


def test_a_dry_run_of_uninstalling_keeps_the_data_unless_purged() -> None:
    kept, purged = install("--uninstall", "--dry-run"), install("--uninstall", "--purge", "--dry-run")
    assert (kept.returncode, purged.returncode) == (0, 0)
    assert "/var/lib/countenance" not in re.sub(r"^Done.*", "", kept.stdout, flags=re.MULTILINE)
    assert "+ rm -rf /etc/countenance /var/lib/countenance" in purged.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--camera", "polaroid"], "--camera polaroid: must be usb-camera, raspberry-pi, jetson or network-camera"),
        (["--camera"], "--camera wants a value"),
        (["--detector", "/nonexistent"], "--detector /nonexistent: cannot read"),
        (["--password-file", "/dev/null"], "--password-file /dev/null: cannot read this file, or it is empty"),
        (["--wheels", "/nonexistent"], "no countenance-*.whl in there"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--force"], "unknown option --force"),
    ],
)
def test_a_wrong_option_is_one_clear_line(arguments: list[str], complaint: str) -> None:
    done = install("--dry-run", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("install.sh: ")
    assert complaint in done.stderr


def test_help_explains_every_option_that_is_read() -> None:
    read = set(re.findall(r"^\s+(--[\w-]+)\)", INSTALL.read_text(), re.MULTILINE))
    read |= set(re.findall(r"--[\w-]+", re.findall(r"^\s+(--camera \|.*)\)$", INSTALL.read_text(), re.MULTILINE)[0]))
    assert len(read) >= 9
    assert all(option in install("--help").stdout for option in read)
