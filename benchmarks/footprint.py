"""Peak memory and time to ready of ``edge-agent run``, headless, with the shipped model and a picture of an astronaut.

    python -m benchmarks.footprint [--write]

The agent runs as users run it: a replay at 15 frames a second, YuNet if its file is here, and a broker that does not
answer.
Peak memory is the kernel's ``VmHWM`` of the process after 12 s (``--seconds``); "ready" is the time from its start to
the log line that says so.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.written import write_between
from edge_agent.cli.demo import make_film
from training.machine import describe_machine

ROOT = Path(__file__).parents[1]
RUNS = 3


def main() -> None:
    """Measure both runtimes, print the table, and put it into docs/speed.md with ``--write``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--seconds", type=float, default=12.0)
    args = parser.parse_args()
    lines = ["| `edge-agent run`, headless | peak memory | ready after |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        film = make_film(Path(folder) / "film")
        for runtime in ("litert", "tflite"):
            runs = [measure(runtime, film, Path(folder), seconds=args.seconds) for _ in range(RUNS)]
            memory, ready = (statistics.median(values) for values in zip(*runs, strict=True))
            lines.append(f"| {runtime} | {memory:.0f} MB | {ready:.1f} s |")
    lines += ["", f"`python -m benchmarks.footprint --write` on {describe_machine()}; medians of {RUNS} runs."]
    text = "\n".join(lines)
    print(text)
    if args.write:
        write_between(ROOT / "docs" / "speed.md", "footprint", text)


def measure(runtime: str, film: Path, folder: Path, *, seconds: float) -> tuple[float, float]:
    """(peak memory in MB, seconds until ready) of one run."""
    log = folder / "log"
    settings = {
        "CAMERA__BACKEND": "replay", "CAMERA__SOURCE": str(film), "MODEL__RUNTIME": runtime, "MQTT__PORT": "9",
        "STORE__PATH": str(folder / f"{time.monotonic_ns()}.sqlite"),
    }  # fmt: skip
    environ = {**os.environ, **{f"COUNTENANCE_{key}": value for key, value in settings.items()}}
    with log.open("w") as stream:
        started_s = time.monotonic()
        agent = subprocess.Popen([sys.executable, "-m", "edge_agent", "run"], env=environ, stderr=stream)
    try:
        while not re.search(r"agent: ready", log.read_text()):
            if agent.poll() is not None:
                sys.exit(f"the agent ended:\n{log.read_text()}")
            time.sleep(0.01)
        ready_s = time.monotonic() - started_s
        time.sleep(seconds)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        return int(peak[1]) / 1000, ready_s
    finally:
        agent.terminate()
        agent.wait()


if __name__ == "__main__":
    main()
