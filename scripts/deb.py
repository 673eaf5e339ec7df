"""Builds the Debian packages of this version into dist/, one for each release of Debian and kind of machine.

    python -m scripts.deb [deb12_amd64 ...] [--to DIR]     # default: all of them

Each has a Python environment of its own, from wheels alone, that sees the system's packages. So a foreign machine's
package needs neither that machine nor its Python, and the same wheels make the same package byte for byte.
"""

from __future__ import annotations

import argparse
import email
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from scripts.release import DIST, ROOT, git
from scripts.release import build as build_release

NAME = "countenance"
HOME = Path("usr/lib/countenance")
DOCS = Path("usr/share/doc/countenance")
UNITS = Path("usr/lib/systemd/system")
MAINTAINER = "The Countenance authors <authors@countenance.invalid>"
NEWEST_GLIBC_MINOR = 36
"""Of Debian 12; its wheels run on Debian 13, too."""


@dataclass(frozen=True, slots=True)
class Target:
    """One release of Debian on one kind of machine."""

    debian: str
    """``deb12`` or ``deb13``: the end of the version."""
    codename: str
    python: str
    """Its Python, as ``3.11``."""
    numpy: str
    """Its numpy, which the package uses: picamera2 was compiled for it."""
    architecture: str
    """Debian's word for the machine."""
    machine: str
    """The kernel's word for it."""

    @property
    def name(self) -> str:
        """As people choose it."""
        return f"{self.debian}_{self.architecture}"


_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
TARGETS = tuple(
    Target(debian, codename, python, numpy, architecture, machine)
    for debian, codename, python, numpy in (
        ("deb12", "bookworm", "3.11", "1.24.2"),
        ("deb13", "trixie", "3.13", "2.2.4"),
    )
    for architecture, machine in _MACHINES.items()
)


def main() -> int:
    """Build the chosen packages and print their sizes and hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[[], *(target.name for target in TARGETS)], metavar="TARGET")
    parser.add_argument("--to", type=Path, default=DIST, help="folder of the packages (default: dist)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, data in build_release(work).items():
            (work / name).write_bytes(data)
        (wheel,) = work.glob("*.whl")
        second = int(git("log", "-1", "--format=%ct"))
        for target in TARGETS:
            if not options.targets or target.name in options.targets:
                package = build(target, wheel, work / "sources", to=options.to, second=second)
                digest = hashlib.sha256(package.read_bytes()).hexdigest()
                print(f"{digest}  {package.name}  {package.stat().st_size / 1e6:.1f} MB", flush=True)
    return 0


def build(target: Target, wheel: Path, sources: Path, *, to: Path, second: int, compression: int = 6) -> Path:
    """Make one package.

    Args:
        target: for what.
        wheel: this project's wheel.
        sources: the folder that it was built from; units, documents and samples come from there.
        to: the package's folder.
        second: the time of all that is in it, in seconds since 1970.
        compression: zstd's level, 1 to 19.

    Returns:
        The package.
    """
    version = f"{wheel.name.split('-')[1]}+{target.debian}"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        _environment(tree, target, wheel)
        put_system_files(tree, sources)
        _documents(tree, target, sources, version=version, second=second)
        put_control(tree, target, sources, version=version)
        _normalize(tree, second)
        to.mkdir(parents=True, exist_ok=True)
        package = to / f"{NAME}_{version}_{target.architecture}.deb"
        # Not xz: it is a little smaller, and a small board needs long to unpack it.
        command = ["dpkg-deb", "--root-owner-group", "-Zzstd", f"-z{compression}", "--build", str(tree), str(package)]
        _run(command, env={**os.environ, "SOURCE_DATE_EPOCH": str(second)})
    return package


def _environment(tree: Path, target: Target, wheel: Path) -> None:
    """A venv over the system's Python, filled with what the wheel needs."""
    home = tree / HOME
    (home / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {target.python}\n"
    )
    (home / "bin" / "python3").symlink_to("/usr/bin/python3")
    program = home / "bin" / "edge-agent"
    # -s: what root has in ~/.local is not part of it.
    program.write_text(
        f"#!/{HOME}/bin/python3 -s\nimport sys\n\nfrom edge_agent.cli.main import main\n\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/edge-agent").symlink_to("../lib/countenance/bin/edge-agent")

    packages = home / "lib" / f"python{target.python}" / "site-packages"
    for_target = ["--python-version", target.python, "--only-binary", ":all:"]
    for_target += ["--python-platform", f"{target.machine}-manylinux_2_{NEWEST_GLIBC_MINOR}"]
    with tempfile.TemporaryDirectory() as folder:
        wanted, system, locked = (Path(folder) / name for name in ("wanted", "system", "locked"))
        wanted.write_text(f"countenance[kiosk,updates] @ {wheel.absolute().as_uri()}\n")
        system.write_text(f"numpy=={target.numpy}\n")
        options = ["--no-header", "--no-annotate", "--no-emit-package", "numpy", "-o", str(locked)]
        _uv("compile", *for_target, *options, "-c", str(system), str(wanted))
        _uv("install", *for_target, "--no-deps", "--link-mode", "copy", "--target", str(packages), "-r", str(locked))
    shutil.rmtree(packages / "bin")
    (packages / ".lock").unlink(missing_ok=True)
    for record in packages.glob("*.dist-info/*"):
        # Where they were installed from, and by what. dpkg has the list of files.
        if record.name in ("direct_url.json", "INSTALLER", "RECORD", "REQUESTED", "uv_cache.json"):
            record.unlink()


def put_system_files(tree: Path, sources: Path) -> None:
    """systemd's units, with the places of this package in them."""
    (tree / UNITS).mkdir(parents=True)
    for unit in [each for kind in ("service", "path", "timer") for each in sources.glob(f"systemd/*.{kind}")]:
        text = unit.read_text(encoding="utf-8")
        text = text.replace("/opt/countenance/current/docs", f"/{DOCS}").replace("/opt/countenance/current", f"/{HOME}")
        (tree / UNITS / unit.name).write_text(text, encoding="utf-8")
    shutil.copy(tree / UNITS / "countenance.service", tree / UNITS / "countenance@.service")
    shutil.copytree(sources / "systemd" / "drop-ins", tree / HOME / "systemd" / "drop-ins")
    shutil.copy(sources / "systemd" / "kiosk-watch.sh", tree / HOME / "systemd")


def _documents(tree: Path, target: Target, sources: Path, *, version: str, second: int) -> None:
    docs = tree / DOCS
    docs.mkdir(parents=True)
    for page in [*sources.glob("docs/*.*"), *sources.glob("*.md")]:
        shutil.copy(page, docs)
    shutil.copytree(sources / "configs", docs / "examples")
    packages = tree / HOME / "lib" / f"python{target.python}" / "site-packages"
    parts = [email.message_from_string(path.read_text()) for path in sorted(packages.glob("*.dist-info/METADATA"))]
    (docs / "packages.txt").write_text("".join(f"{part['Name']}=={part['Version']}\n" for part in parts))
    licences = "".join(f"  {part['Name']}: {_licence(part)}\n" for part in parts if part["Name"] != NAME)
    (docs / "copyright").write_text(
        "Countenance. Copyright The Countenance authors.\n"
        "License: Apache-2.0; the text is in /usr/share/common-licenses/Apache-2.0\n\n"
        f"The package also has these. Their licences are in /{HOME}/lib/*/site-packages/NAME.dist-info:\n{licences}"
    )
    entry = f"{NAME} ({version}) {target.codename}; urgency=medium\n\n  * See CHANGELOG.md.\n\n"
    entry += f" -- {MAINTAINER}  {formatdate(second)}\n"
    (docs / "changelog.gz").write_bytes(gzip.compress(entry.encode(), mtime=0))


def _licence(part: email.message.Message) -> str:
    """In a few words: a package says it in one of three places, and some put the whole text there."""
    classifiers = part.get_all("Classifier", [])
    words = part["License-Expression"] or "; ".join(
        line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: ")
    )
    return str(words or (part["License"] or "see there").splitlines()[0])


def put_control(tree: Path, target: Target, sources: Path, *, version: str) -> None:
    """What dpkg wants to know, and the scripts that it runs; the files must be there already."""
    folder = tree / "DEBIAN"
    folder.mkdir()
    parts = (sources / "systemd" / "parts.sh").read_text(encoding="utf-8")
    for script in sorted((sources / "packaging").iterdir()):
        text = script.read_text(encoding="utf-8").replace("@PARTS@\n", parts)
        (folder / script.name).write_text(text, encoding="utf-8")
        (folder / script.name).chmod(0o755)
    files = sorted(path for path in (tree / "usr").rglob("*") if path.is_file() and not path.is_symlink())
    sums = "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files)  # noqa: S324 (dpkg's format)
    (folder / "md5sums").write_text(sums)
    minor = int(target.python.split(".")[1])
    numpy = int(target.numpy.split(".")[0])
    depends = (
        f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})",
        f"python3-numpy (>= 1:{target.numpy}), python3-numpy (<< 1:{numpy + 1}~)",
        f"libc6 (>= 2.{NEWEST_GLIBC_MINOR}), libstdc++6, init-system-helpers, openssl, passwd, systemd",
    )
    fields = {
        "Package": NAME,
        "Version": version,
        "Architecture": target.architecture,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(sum(path.stat().st_size for path in files) // 1024),
        "Depends": ", ".join(depends),
        # Raspberry Pi OS has picamera2; plain Debian has not, and apt passes over it.
        "Recommends": "avahi-daemon, python3-picamera2",
        "Suggests": "mosquitto, cage, chromium, xwayland, libpam-systemd",
        "Section": "misc",
        "Priority": "optional",
        "Description": "honest facial-emotion percentages at the edge\n"
        " A camera looks at people, and a small network reads their faces. Out come the\n"
        " shares of seven emotions, over MQTT and on an offline page; never a picture.",
    }
    (folder / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))


def _normalize(tree: Path, second: int) -> None:
    """Modes and times that depend on nobody's umask and clock."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            is_program = path.is_dir() or (path.stat().st_mode & 0o100 and _starts_with_shebang(path))
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (second, second), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (second, second))


def _starts_with_shebang(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _uv(command: str, *arguments: str) -> None:
    # TLS as pip does it: with the certificates of this machine.
    _run([sys.executable, "-m", "uv", "pip", command, "--quiet", "--native-tls", *arguments], env=dict(os.environ))


def _run(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        what = re.sub(r"\s+", " ", " ".join(command[:6]))
        sys.exit(f"{what} ... failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
