"""The installer as far as it can be tried without changing this machine; tests/device boots a system for the rest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import require

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "systemd" / "install.sh"


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(INSTALL), *arguments], capture_output=True, text=True, timeout=60)


def whole_installer() -> str:
    """With the parts that it shares with the Debian package in their place."""
    line = 'source "$SOURCE/systemd/parts.sh"\n'
    text = INSTALL.read_text()
    assert line in text
    return text.replace(line, (INSTALL.parent / "parts.sh").read_text())


def test_shellcheck_has_nothing_to_say() -> None:
    command = [require("shellcheck", "shellcheck"), "-x", f"--source-path={ROOT}", str(INSTALL)]
    done = subprocess.run(command, capture_output=True, text=True)
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
        "[kiosk,updates]",
        "config check",
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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the installer installs, on a machine that can be changed: its Python, and what dpkg knows."""
    folder = tmp_path / "checkout"
    for name in ("edge_agent", "systemd", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "wheels").mkdir()
    for wheel in ("countenance-1-py3-none-any.whl", "numpy-1.26-py3-none-any.whl"):
        (folder / "wheels" / wheel).write_bytes(b"wheel")
    script = folder / "systemd" / "install.sh"
    text = script.read_text().replace("\nreadonly PYTHON=/usr/bin/python3 ", f"\nreadonly PYTHON={folder}/python ")
    script.write_text(text.replace("/etc/os-release", f"{folder}/os-release"))
    play_system(folder, "ID=debian")
    play_python(folder, "3.11", "1.24.2")
    return folder


def play_python(folder: Path, version: str, numpy: str) -> None:
    program = folder / "python"
    answers = f'*version_info*"[:2]"*) echo {version} ;; *numpy*) echo numpy=={numpy} ;;'
    program.write_text(f'#!/bin/sh\ncase $3 in {answers} *) exec /usr/bin/python3 "$@" ;; esac\n')
    program.chmod(0o755)


def play_dpkg(folder: Path, status: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "dpkg-query").write_text(f"#!/bin/sh\necho {status}\n")
    (folder / "bin" / "dpkg-query").chmod(0o755)


def play_system(folder: Path, line: str) -> None:
    (folder / "os-release").write_text(f"NAME=System\n{line}\nID_LIKE=debian\n")


def dry_run(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What this checkout's installer would do on the machine that is played."""
    environment = {**os.environ, "PATH": f"{checkout}/bin:{os.environ['PATH']}"}
    command = ["bash", str(checkout / "systemd" / "install.sh"), "--dry-run", "--no-start", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def release_of(checkout: Path, *options: str) -> str:
    """The release that this checkout would install."""
    done = dry_run(checkout, *options)
    assert done.returncode == 0, done.stderr
    (name,) = set(re.findall(r"venv --system-site-packages /opt/countenance/(\S+)$", done.stdout, re.MULTILINE))
    return str(name)


@pytest.mark.parametrize("offline", [False, True])
def test_whatever_a_release_is_made_of_makes_another_one(checkout: Path, offline: bool) -> None:
    """A release that is there already is not built again, so its name must tell all that it depends on."""
    options = ["--wheels", str(checkout / "wheels")] if offline else []
    play_dpkg(checkout, "not-installed")
    names = [release_of(checkout, *options)]
    assert release_of(checkout, *options) == names[0]

    def changed() -> bool:
        names.append(release_of(checkout, *options))
        return names[-1] not in names[:-1]

    play_python(checkout, "3.13", "1.24.2")
    assert changed(), "the system came to another Python"
    play_dpkg(checkout, "installed")
    assert changed(), "picamera2 came, and with it a numpy to keep to"
    play_python(checkout, "3.13", "2.2.4")
    assert changed(), "another numpy of the system"
    with (checkout / "systemd" / "drop-ins" / "jetson.conf").open("a") as drop_in:
        drop_in.write("# more\n")
    assert changed(), "a drop-in"
    if offline:
        (checkout / "wheels" / "numpy-1.26-py3-none-any.whl").rename(checkout / "wheels" / "numpy-2.0-py3-none-any.whl")
        assert changed(), "the wheel of something that it needs"
    else:
        (checkout / "setup.py").write_text((checkout / "setup.py").read_text() + "# more\n")
        assert changed(), "how it is built"


def test_what_root_has_for_itself_does_not_count_as_installed(checkout: Path) -> None:
    """pip would be content with it, and the service would not find it."""
    program = checkout / "python"
    program.write_text(program.read_text().replace("\n", f'\necho "nouser=$PYTHONNOUSERSITE" >>{checkout}/seen\n', 1))
    play_dpkg(checkout, "not-installed")
    release_of(checkout)
    assert set((checkout / "seen").read_text().split()) == {"nouser=1"}


def test_the_kiosk_brings_its_unit_its_account_and_a_page_that_is_on(checkout: Path) -> None:
    done = dry_run(checkout, "--kiosk")
    assert done.returncode == 0, done.stderr
    for step in ("useradd .* countenance-kiosk", "install .*/countenance-kiosk.service", "enable countenance-kiosk"):
        assert re.search(rf"^\+ .*{step}", done.stdout, re.MULTILINE), step
    if not Path("/etc/countenance/agent.yaml").exists():
        assert "+ append to /etc/countenance/agent.yaml" in done.stdout


@pytest.mark.parametrize(
    ("system", "chromium", "refused"),
    [("ID=ubuntu", "not-installed", True), ("ID=debian", "not-installed", False), ("ID=ubuntu", "installed", False)],
)
def test_no_kiosk_is_begun_where_chromium_is_a_snap(checkout: Path, system: str, chromium: str, refused: bool) -> None:
    play_system(checkout, system)
    play_dpkg(checkout, chromium)
    done = dry_run(checkout, "--kiosk")
    assert done.returncode == refused, done.stderr
    assert ("only a snap" in done.stderr, done.stdout == "") == (refused, refused)


@pytest.mark.parametrize("given", ["a file of one's own", "the installed copy, edited", "a link to it"])
def test_a_password_is_installed_from_anywhere_before_anything_is_switched(given: str, tmp_path: Path) -> None:
    """For real, by the installer's own function, with its folders moved."""
    copy = tmp_path / "etc" / "mqtt_password"
    copy.parent.mkdir()
    copy.write_text("hunter1\n")
    source = copy if given == "the installed copy, edited" else tmp_path / "given"
    if given == "a link to it":
        source.symlink_to(copy)
    source.write_text("hunter2\n")
    source.chmod(0o644)
    functions = whole_installer().replace('\nmain "$@"\n', "\n")
    for name, value in (
        ("CONFIG=/etc/countenance", f"CONFIG={tmp_path}/etc"),
        ("DROP_INS=$UNITS", f"DROP_INS={tmp_path}"),
    ):
        assert name in functions
        functions = functions.replace(name, value)
    steps = f"""{functions}
        switch_to() {{ say 'switched'; exit; }}
        PASSWORD={source}
        activate /release ''
    """
    script = tmp_path / "systemd" / "install.sh"
    script.parent.mkdir()
    script.write_text(steps)
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "switched"), done.stderr
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == ("hunter2\n", 0o600)
    drop_in = tmp_path / "countenance.service.d" / "50-password.conf"
    assert f"LoadCredential=mqtt_password:{copy}" in drop_in.read_text()


def test_a_dry_run_of_uninstalling_keeps_the_data_unless_purged() -> None:
    kept, purged = install("--uninstall", "--dry-run"), install("--uninstall", "--purge", "--dry-run")
    assert (kept.returncode, purged.returncode) == (0, 0)
    assert "/var/lib/countenance" not in re.sub(r"^Done.*", "", kept.stdout, flags=re.MULTILINE)
    assert "+ rm -rf /etc/countenance\n+ rm -rf /var/lib/countenance\n" in purged.stdout


def test_purging_empties_a_partition_and_goes_on(tmp_path: Path) -> None:
    """For real, with every path moved to a folder of this test and in a separate mount name space."""
    if os.geteuid() != 0:
        pytest.skip("mounting a partition needs root")
    text = whole_installer()
    for place in (
        "/opt/countenance",
        "/etc/countenance",
        "/var/lib/countenance",
        "/etc/systemd/system",
        "/usr/local/bin",
    ):
        text = text.replace(f"={place}", f"={tmp_path}{place}")
    text = text.replace("ACCOUNT=countenance", "ACCOUNT=no-such-account").replace("/run/systemd/system", "/no-systemd")
    script = tmp_path / "systemd" / "install.sh"
    script.parent.mkdir()
    script.write_text(text)
    state = tmp_path / "var" / "lib" / "countenance"
    state.mkdir(parents=True)
    steps = f"""
        set -e
        mount -t tmpfs tmpfs {state}
        mkdir -p {state}/lost+found {state}/deep
        touch {state}/windows.sqlite {state}/deep/.hidden
        bash {script} --uninstall --purge
        find {state} -mindepth 1 -printf 'left: %P\n'
    """
    done = subprocess.run(["unshare", "-m", "sh", "-c", steps], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "delete its line in /etc/fstab" in done.stdout
    assert "Done: nothing" in done.stdout
    assert re.findall("^left: .*", done.stdout, re.MULTILINE) == ["left: lost+found"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--camera", "polaroid"], "--camera polaroid: must be usb-camera, raspberry-pi, jetson or network-camera"),
        (["--camera"], "--camera wants a value"),
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
    assert len(read) >= 8
    assert all(option in install("--help").stdout for option in read)


def test_no_module_of_the_folder_it_is_started_in_is_run(checkout: Path, tmp_path: Path) -> None:
    """The installer runs as root, perhaps in a folder of downloads."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for module in ("venv", "ensurepip", "sys", "json"):
        (folder / f"{module}.py").write_text(f"open('{folder}/ran', 'w')")
    (checkout / "python").unlink()
    (checkout / "python").symlink_to("/usr/bin/python3")
    script = str(checkout / "systemd" / "install.sh")
    subprocess.run(["bash", script, "--dry-run"], cwd=folder, capture_output=True, text=True)
    assert not (folder / "ran").exists()
