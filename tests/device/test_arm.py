"""The agent on 64-bit ARM, emulated: Debian 12 as on Raspberry Pi OS Bookworm, Debian 13 as on Trixie."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision.model import load_model
from tests.support.arm import Emulated, emulate_aarch64
from tests.support.trees import PYTHON, build_wheel, debian_tree, site_packages, stage_sources, wheelhouse

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.device, pytest.mark.timeout(3600)]

SYSTEMS = {"bookworm": ("3.11", "tflite"), "trixie": ("3.13", "litert")}
"""Release to its Python, and the runtime that the package depends on there."""
PREDICT = "import sys; from edge_agent.cli.main import main; sys.exit(main(sys.argv[1:]))"
ANSWERS = """
import json, sys
import numpy as np
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
model = load_model()
noise = np.random.default_rng(7).integers(0, 256, (32, model.info.input.height, model.info.input.width, 1), np.uint8)
crops = np.concatenate([model.self_test_crops(), noise])
answers = Classifier(model, sys.argv[1]).raw(crops)
print(json.dumps({head: rows.tolist() for head, rows in answers.items()}))
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real photograph of a real face."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("photo")
    cv2.imwrite(str(folder / "astronaut.png"), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Iterator[str]:
    """The name of the release that is ready in ``MACHINES``."""
    python, _ = SYSTEMS[request.param]
    work = tmp_path_factory.mktemp(request.param)
    build_wheel(stage_sources(work / "sources"), work)
    (wheel,) = work.glob("*.whl")
    site = site_packages(python, "aarch64", wheelhouse(python, "aarch64", wheel, "demo"), "demo", work / "site")
    emulate_aarch64()
    tree = debian_tree(request.param, "arm64", PYTHON)
    MACHINES[request.param] = Emulated(tree, [(site, "/site"), (photo, "/photo")])
    yield request.param
    shutil.rmtree(work)


MACHINES: dict[str, Emulated] = {}


def here(*arguments: str) -> str:
    """The same on this machine."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout


def test_it_is_another_processor(system: str) -> None:
    python, _ = SYSTEMS[system]
    said = MACHINES[system].python("-c", "import platform; print(platform.machine(), platform.python_version())")
    assert said.startswith(f"aarch64 {python}.")


def test_the_model_answers_as_on_x86_but_for_rounding(system: str) -> None:
    """Of the same runtime: its kernels for NEON and for AVX round a few sums differently, by a step or two of 256."""
    _, runtime = SYSTEMS[system]
    there = json.loads(MACHINES[system].python("-c", ANSWERS, runtime))
    expected = json.loads(here("-c", ANSWERS, runtime))
    assert there.keys() == expected.keys()
    tolerance = load_model().info.self_test.tolerance
    for head, rows in there.items():
        steps = np.abs(np.subtract(rows, expected[head]))
        log.info(
            "%s, %s, %s: at most %d steps, %.0f %% equal", system, runtime, head, steps.max(), 100 * (steps == 0).mean()
        )
        assert steps.max() <= tolerance


def test_a_photograph_gets_the_same_answer_as_on_x86(system: str, photo: Path) -> None:
    _, runtime = SYSTEMS[system]
    (photo / "agent.yaml").write_text(f"model: {{runtime: {runtime}}}\n")
    command = ("-c", PREDICT, "predict", "--json", "-c")
    there = json.loads(MACHINES[system].python(*command, "/photo/agent.yaml", "/photo/astronaut.png"))
    expected = json.loads(here(*command, str(photo / "agent.yaml"), str(photo / "astronaut.png")))
    assert there["faces"], "the face was found"
    assert (there["faces"], there["percentages"]) == (expected["faces"], expected["percentages"])


def test_the_demo_runs_from_the_camera_to_the_broker_and_back(system: str) -> None:
    said = MACHINES[system].python("-c", PREDICT, "demo", "--seconds", "60")
    assert "windows came back from the broker" in said
