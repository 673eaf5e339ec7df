"""A real PostgreSQL on a free loopback port, with a password, gone with the test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker import free_port, wait_until
from tests.support.programs import require

USER, PASSWORD = "searcher", "not-to-be-shown"


@contextmanager
def postgres() -> Iterator[str]:
    """Its address without the password, which programs find in the environment's PGPASSWORD; else the test skips."""
    require("pg_ctlcluster", "postgresql")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    (folder / "password").write_text(PASSWORD)
    as_itself = []
    if os.geteuid() == 0:  # as root it refuses to run
        owner = pwd.getpwnam("postgres")
        for path in (folder, folder / "password"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        as_itself = [require("runuser", "util-linux"), "-u", "postgres", "--"]
    data = folder / "data"
    made = [*as_itself, str(programs / "initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256"]
    subprocess.run(
        [*made, f"--pwfile={folder / 'password'}", "-N"], check=True, capture_output=True, cwd="/", timeout=120
    )
    server = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([*as_itself, *server], stdout=log, stderr=log, cwd="/")
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    try:
        wait_until(
            lambda: subprocess.run(ready).returncode == 0, 60, lambda: (folder / "log").read_text(errors="replace")
        )
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        running.terminate()
        running.wait(30)
        shutil.rmtree(folder)
