"""Frame to percentages against the PyPI package ``fer`` 25.10: same frames, same run, one thread, one core.

    python -m benchmarks.versus_fer [--write]

The first time it makes ``.cache/fer``, a separate environment for the peer and its TensorFlow. Each contestant runs in
a separate process, in turn, so a busy moment of the machine hits all of them. The figures are medians over all frames
of all rounds. ``--write`` puts the table into docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.written import write_between
from edge_agent.cli.demo import make_film
from edge_agent.config import DetectorConfig
from training.machine import describe_machine

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".cache" / "fer"
PEER_PACKAGES = (
    "tensorflow-cpu", "opencv-python-headless==4.11.0.86", "numpy<2", "setuptools<81", "requests", "Pillow", "pandas",
    "tqdm",
)  # fmt: skip
"""What ``fer`` imports with its MTCNN off; its other requirements (PyTorch, moviepy) are not used then."""
ROUNDS = 3
CAMERA_FPS = 15
CONTESTANTS = {"countenance, litert": "litert", "countenance, tflite-runtime": "tflite", "fer 25.10": "fer"}


def main() -> None:
    """Run all rounds, print the table, and put it into docs/speed.md with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    make_peer()
    with tempfile.TemporaryDirectory() as folder:
        film = make_film(Path(folder) / "film")
        times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(args.rounds):
            for name, kind in CONTESTANTS.items():
                times[name] += measure(kind, film)
    text = table(times)
    print(text)
    if args.write:
        write_between(ROOT / "docs" / "speed.md", "speed", text)


def make_peer() -> None:
    """Install the peer once."""
    if (PEER / "done").exists():
        return
    venv.create(PEER, with_pip=True)
    pip = [PEER / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "fer==25.10"], check=True)
    subprocess.run([*pip, *PEER_PACKAGES], check=True)
    (PEER / "done").touch()


def measure(kind: str, film: Path) -> list[float]:
    """Milliseconds for each frame of the film, in a fresh process on one core."""
    python = str(PEER / "bin" / "python") if kind == "fer" else sys.executable
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    done = subprocess.run(
        [python, str(Path(__file__).with_name("one_contestant.py")), kind, str(film)],
        cwd=ROOT, env={**os.environ, **one, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr}")
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(times: dict[str, list[float]]) -> str:
    """The Markdown that docs/speed.md shows."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer = medians["fer 25.10"]
    looks_per_s = DetectorConfig().looks_per_s
    rows = []
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        mean = median if median == peer else median * min(1.0, looks_per_s / CAMERA_FPS)
        rows.append(f"| {name} | {median:.1f} ms | {peer / median:.1f} x | {mean:.2f} ms | {peer / mean:.0f} x |")
    return "\n".join(
        [
            f"| 640x480, one face, one thread | one look | as fast as `fer` | mean frame at {CAMERA_FPS} a second | |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Detector at {DetectorConfig().size}; of {CAMERA_FPS} frames a second {looks_per_s:g} are looked at.",
            f"`python -m benchmarks.versus_fer --write` on {describe_machine()}.",
        ]
    )


if __name__ == "__main__":
    main()
