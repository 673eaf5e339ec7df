"""In how many images of PublicTest the top label depends on the runtime, or on the processor.

Each model answers all of PublicTest in tflite-runtime and in ai-edge-litert, here and in emulated 64-bit ARM systems
(Debian 12 and 13, made as tests/device/test_arm.py does: root, x86-64). Answers are calibrated, as published.

    python -m benchmarks.agreement --data ../shared/data --write   # the table of docs/training.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.written import write_between
from edge_agent.vision.model import MODELS, load_model
from quantization.evaluate import count_differences, read_top_labels
from tests.support.arm import Emulated, emulate_aarch64
from tests.support.trees import PYTHON, ROOT, build_wheel, debian_tree, site_packages, stage_sources, wheelhouse
from training.machine import describe_machine

SYSTEMS = {"tflite": ("bookworm", "3.11"), "litert": ("trixie", "3.13")}
"""Runtime to the Debian release, and its Python, whose package depends on it."""
PAGE = ROOT / "docs" / "training.md"
RESULT = Path(__file__).parent / "results" / "agreement.json"
DUMP = "/tmp/answers.csv"  # noqa: S108 (in the emulated system's own tmpfs)
EVALUATE = f"""
import sys; sys.path.insert(0, "/sources")
from quantization.__main__ import main
code = main(sys.argv[1:])
print(open("{DUMP}").read())
sys.exit(code)
"""
TABLE = (
    "| model | head | tflite-runtime against litert on x86-64 | tflite-runtime on ARM against x86-64 | "
    "litert on ARM against x86-64 |\n|---|---|---|---|---|"
)

PAIRS = ("runtimes", "tflite", "litert")
"""What the table's last three columns compare."""

Labels = dict[str, list[str]]


def here(model: Path, runtime: str, data: Path) -> Labels:
    """Top labels by head."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.csv"
        command = ["evaluate", "--model", str(model), "--runtime", runtime, "--data", str(data), "--dump", str(answers)]
        subprocess.run([sys.executable, "-m", "quantization", *command], check=True, stdout=subprocess.DEVNULL)
        return read_top_labels(answers.read_text(encoding="ascii"))


def on_arm(models: list[Path], runtime: str, data: Path) -> Iterator[Labels]:
    """The same for each model on the emulated system that uses the runtime."""
    release, python = SYSTEMS[runtime]
    emulate_aarch64()
    tree = debian_tree(release, "arm64", PYTHON)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        build_wheel(stage_sources(work / "sources"), work)
        (wheel,) = work.glob("*.whl")
        wheels = wheelhouse(python, "aarch64", wheel, "demo")
        site = site_packages(python, "aarch64", wheels, "demo", work / "site")
        machine = Emulated(tree, [(site, "/site"), (ROOT, "/sources"), (data.resolve(), "/data")])
        for model in models:
            path = f"/sources/{model.relative_to(ROOT)}"
            command = ("evaluate", "--model", path, "--runtime", runtime, "--data", "/data", "--dump", DUMP)
            said = machine.python("-c", EVALUATE, *command, timeout_s=3600)
            yield read_top_labels(said[said.index("fer2013,ferplus") :])


def describe(result: dict[str, Any]) -> str:
    """The table of the stored figures, and what they were measured with."""
    images, models = result["images"], result["models"]
    rows = [
        f"| `{model}` | {head} | " + " | ".join(_cell(counts.get(pair), images) for pair in PAIRS) + " |"
        for model, figures in models.items()
        for head, counts in figures["differences"].items()
    ]
    files = " and ".join(f"{model} {figures['sha256'][:12]}" for model, figures in models.items())
    machines = " and ".join(dict.fromkeys(figures["machine"] for figures in models.values()))
    return "\n".join(
        [
            TABLE,
            *rows,
            "",
            f"Top labels that differ, of {images:,}. Measured on {machines}, with emulated ARM. "
            f"Models: {files}. `python -m benchmarks.agreement`",
        ]
    )


def _cell(differing: int | None, images: int) -> str:
    if differing is None:
        return "not measured yet"
    return f"{differing} ({100 - 100 * differing / images:.2f} % alike)"


def main() -> None:
    """Ask everywhere, print, and with ``--write`` put the table into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    names = sorted(path.stem for path in MODELS.glob("*.tflite"))
    parser.add_argument("--only", choices=names, help="ask this model, figures of the others stay (all: 45 minutes)")
    parser.add_argument("--no-arm", action="store_true", help="leave the emulated systems out, and their cells empty")
    parser.add_argument("--write", action="store_true", help="update the result file and docs/training.md")
    options = parser.parse_args()
    models = [MODELS / f"{name}.tflite" for name in ([options.only] if options.only else names)]
    x86 = {runtime: [here(model, runtime, options.data) for model in models] for runtime in SYSTEMS}
    pairs = {"runtimes": (x86["tflite"], x86["litert"])}
    if not options.no_arm:
        pairs |= {runtime: (list(on_arm(models, runtime, options.data)), x86[runtime]) for runtime in SYSTEMS}
    asked = {
        model.stem: {
            "sha256": load_model(model).info.sha256,
            "machine": describe_machine(),
            "differences": {
                head: {name: count_differences(a[i], b[i])[head] for name, (a, b) in pairs.items()}
                for head in x86["litert"][i]
            },
        }
        for i, model in enumerate(models)
    }
    others = json.loads(RESULT.read_text(encoding="utf-8"))["models"] if options.only else {}
    result = {"images": len(next(iter(x86["litert"][0].values()))), "models": others | asked}
    print(text := describe(result))
    if options.write:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        write_between(PAGE, "agreement", text)


if __name__ == "__main__":
    main()
