"""The self-test of a release in this device's runtime: in a process of its own, which a bad file may crash.

``python -m edge_agent.updates.selftest FOLDER RUNTIME`` ends with 0, or with an error's line and exit code.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

from edge_agent.config import DetectorConfig, ModelConfig
from edge_agent.detectors.built_in import load_built_in
from edge_agent.errors import CountenanceError, ModelError
from edge_agent.host import children
from edge_agent.host.runtime import RuntimeChoice, runs_on
from edge_agent.updates.release import CLASSIFIER, DETECTOR, RELEASE, Release
from edge_agent.vision.classifier import Classifier, load_classifier

LONGEST_S = 300.0
"""A Zero 2 W imports for a quarter of a minute; a network that never ends is given up."""
_RUNTIMES: tuple[RuntimeChoice, ...] = get_args(RuntimeChoice)


def try_out(folder: Path, runtime: RuntimeChoice) -> None:
    """See that a release gives the answers that it should.

    Raises:
        ModelError: it does not, or its process ended abnormally.
    """
    command = children.python("edge_agent.updates.selftest", str(folder), runtime)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, env=children.environment(), check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{folder.name}: its self-test took longer than {LONGEST_S:g} s") from None
    if done.returncode < 0:
        raise ModelError(f"{folder.name}: its self-test ended with signal {-done.returncode}")
    if done.returncode:
        raise ModelError((done.stderr.strip().splitlines() or [f"{folder.name}: exit code {done.returncode}"])[-1])


def check_release(classifier: Classifier, folder: Path, runtime: RuntimeChoice) -> None:
    """Compare a release's classifier with what the release states for this runtime and processor.

    Raises:
        ModelError: it answers otherwise, or the release cannot be read.
    """
    try:
        release = Release.model_validate_json((folder / RELEASE).read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: not a release that this version can read: {str(error).splitlines()[0]}") from error
    classifier.self_test(tolerance=release.answers.get(runs_on(runtime)))


def main(arguments: list[str]) -> int:
    """Test both models; returns the exit code."""
    folder = Path(arguments[0])
    runtime = next(each for each in _RUNTIMES if each == arguments[1])
    config = ModelConfig(runtime=runtime)
    try:
        check_release(load_classifier(config.model_copy(update={"path": folder / CLASSIFIER})), folder, runtime)
        load_built_in(DetectorConfig(kind="built_in", path=folder / DETECTOR), config)
    except CountenanceError as error:
        print(error, file=sys.stderr)  # noqa: T201 (its standard error is read by the updater)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
