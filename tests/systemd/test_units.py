"""The units and drop-ins, judged by systemd's own tools."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import require

SYSTEMD = Path(__file__).parents[2] / "systemd"
SERVICE = SYSTEMD / "countenance.service"
DROP_INS = ("raspberry-pi", "jetson", "network-camera")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require("systemd-analyze", "systemd"), "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def lay_out(folder: Path, unit: Path, drop_in: str | None = None) -> Path:
    """The unit as systemd would find it, with programs of this machine instead of those of a device."""
    text = re.sub(r"^(Exec\w+=[-+!@]*)/\S+", r"\1/bin/true", unit.read_text(), flags=re.MULTILINE)
    (folder / unit.name).write_text(text)
    if drop_in is not None:
        (folder / f"{unit.name}.d").mkdir()
        shutil.copy(SYSTEMD / "drop-ins" / f"{drop_in}.conf", folder / f"{unit.name}.d")
    return folder / unit.name


@pytest.mark.parametrize("unit", sorted(SYSTEMD.glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_finds_nothing_to_say_about_a_unit(unit: Path, tmp_path: Path) -> None:
    """Verify only warns of a misspelt key, so any output is a failure."""
    done = analyze("verify", "--man=no", str(lay_out(tmp_path, unit)))
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_systemd_finds_nothing_to_say_about_a_drop_in(drop_in: str, tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", str(lay_out(tmp_path, SERVICE, drop_in)))
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("kind", ["timer", "path"])
def test_systemd_finds_nothing_to_say_about_what_starts_the_updater(kind: str, tmp_path: Path) -> None:
    lay_out(tmp_path, SYSTEMD / "countenance-update.service")
    unit = Path(shutil.copy(SYSTEMD / f"countenance-update.{kind}", tmp_path))
    done = analyze("verify", "--man=no", str(unit))
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_the_updater_is_exposed_at_most_so_much(tmp_path: Path) -> None:
    unit = lay_out(tmp_path, SYSTEMD / "countenance-update.service")
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_this_verification_would_notice_a_misspelt_key(tmp_path: Path) -> None:
    unit = lay_out(tmp_path, SERVICE)
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    assert "WatchDogSec" in analyze("verify", "--man=no", str(unit)).stderr


@pytest.mark.parametrize(
    ("drop_in", "tenths"), [(None, 20), ("raspberry-pi", 20), ("network-camera", 20), ("jetson", 25)]
)
def test_the_service_is_exposed_at_most_so_much(drop_in: str | None, tenths: int, tmp_path: Path) -> None:
    """Jetson's libraries want devices under changing names, a shared /tmp and code that writes itself."""
    unit = lay_out(tmp_path, SERVICE)
    for line in (SYSTEMD / "drop-ins" / f"{drop_in}.conf").read_text().splitlines() if drop_in else ():
        # The offline review reads no drop-ins, so their lines are put at the end of their section.
        if "=" in line and not line.startswith(("#", "After=")):
            unit.write_text(unit.read_text().replace("\n[Install]", f"{line}\n\n[Install]"))
    done = analyze("security", "--offline=true", f"--threshold={tenths}", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("unit", "tenths"), [("countenance-setup", 20), ("countenance-setup-write", 10)])
def test_the_units_of_the_first_start_are_exposed_at_most_so_much(unit: str, tenths: int, tmp_path: Path) -> None:
    laid_out = lay_out(tmp_path, SYSTEMD / f"{unit}.service")
    done = analyze("security", "--offline=true", f"--threshold={tenths}", str(laid_out))
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_unit_without_a_network_may_write_the_configuration() -> None:
    """Not the agent, and not the server that a browser talks to."""
    units = {unit.name: unit.read_text() for unit in SYSTEMD.glob("*.service")}
    may = {name for name, text in units.items() if re.search(r"^ReadWritePaths=.*/etc/", text, re.MULTILINE)}
    assert may == {"countenance-setup-write.service"}
    writer = units["countenance-setup-write.service"].splitlines()
    assert {"PrivateNetwork=yes", "PrivateDevices=yes", "CapabilityBoundingSet="} <= set(writer)


def test_no_camera_is_allowed_by_a_name_that_systemd_would_take_literally() -> None:
    """``DeviceAllow=/dev/video*`` does not glob."""
    for file in (SERVICE, *SYSTEMD.glob("drop-ins/*.conf")):
        assert not re.search(r"^DeviceAllow=.*\*", file.read_text(), re.MULTILINE), file


def test_the_unit_spares_the_exit_code_of_a_wrong_configuration_and_no_other() -> None:
    from edge_agent.errors import ConfigError

    assert f"\nRestartPreventExitStatus={ConfigError.exit_code}\n" in SERVICE.read_text()


def test_the_unit_lets_the_agent_ask_whether_the_clock_is_synchronised() -> None:
    """glibc's adjtimex() is the system call clock_adjtime; ProtectClock= and a plain @system-service refuse both."""
    text = SERVICE.read_text()
    assert "ProtectClock" not in re.sub(r"^#.*", "", text, flags=re.MULTILINE)
    assert re.search(r"^SystemCallFilter=adjtimex clock_adjtime$", text, re.MULTILINE)
