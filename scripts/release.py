"""Builds the wheel and the source package of this version into dist/, and checks them.

    python -m scripts.release [--any-state]     # --any-state: also with uncommitted changes, for tries

They are built twice, and must be equal byte for byte: everybody can build a release again and compare.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import edge_agent

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
NEEDED = ("edge_agent/models/emotion.tflite", "edge_agent/models/emotion.json", "edge_agent/py.typed")
"""What a wheel must have besides its modules; without a line in pyproject.toml it would be missing."""


def main() -> int:
    """Build, check, and print the packages with their hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--any-state", action="store_true", help="do not ask for a clean checkout")
    parser.add_argument("--to", type=Path, default=DIST, help="folder of the packages (default: dist)")
    options = parser.parse_args()
    if not options.any_state and (fault := not_ready()):
        sys.exit(fault)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(Path(folder) / name) for name in ("first", "second"))
        if {name: digest(data) for name, data in first.items()} != {
            name: digest(data) for name, data in second.items()
        }:
            sys.exit("two builds differ: something in the packages depends on time, place or chance")
    options.to.mkdir(parents=True, exist_ok=True)
    for name, data in first.items():
        (options.to / name).write_bytes(data)
        check_content(name, data)
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *(str(options.to / name) for name in first)], check=True
    )
    print("\n".join(f"{digest(data)}  {name}" for name, data in sorted(first.items())))
    return 0


def not_ready() -> str | None:
    """Why this checkout is no release: uncommitted changes, or a changelog without this version's date."""
    if changes := git("status", "--porcelain"):
        return f"commit first, or use --any-state:\n{changes}"
    heading = rf"^## {re.escape(edge_agent.__version__)} - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M):
        return f"CHANGELOG.md: needs a heading '## {edge_agent.__version__} - YYYY-MM-DD'"
    return None


def build(folder: Path) -> dict[str, bytes]:
    """The packages by name, built from a copy of the tracked files, as old as the last commit."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    # A copy: setuptools leaves build folders next to the sources, and would put old ones into the wheel.
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    subprocess.run(
        ["cp", "--parents", "--target-directory", str(sources), *filter(None, names.decode().split("\0"))],
        cwd=ROOT, check=True,
    )  # fmt: skip
    second = git("log", "-1", "--format=%ct")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "out"), str(sources)],
        capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": second},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"the build failed:\n{done.stdout}{done.stderr}")
    packages = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    return {
        name: same_every_time(data, int(second)) if name.endswith(".gz") else data for name, data in packages.items()
    }


def same_every_time(source_package: bytes, second: int) -> bytes:
    """The source package without what setuptools takes from this machine: times, owners, order of files."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(source_package)) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=second) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = second, 0, 0, "", ""
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def check_content(name: str, data: bytes) -> None:
    """Every module and data file of the checkout is in the wheel, and nothing else is."""
    if not name.endswith(".whl"):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        packed = {entry for entry in wheel.namelist() if ".dist-info/" not in entry}
    tracked = set(git("ls-files", "--cached", "--others", "--exclude-standard", "edge_agent", "fleet").splitlines())
    if packed != tracked or not packed.issuperset(NEEDED):
        missing, strange = sorted({*tracked, *NEEDED} - packed), sorted(packed - tracked)
        sys.exit(f"{name}: missing {missing or 'nothing'}; not in the checkout: {strange or 'nothing'}")


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
