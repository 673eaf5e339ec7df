"""Are the faces before the camera upright, well lit and sharp?"""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.cameras import Image
from edge_agent.cli.doctor.check import Check, ok, warning
from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.vision.classifier import load_classifier
from edge_agent.vision.inspection import Inspector
from edge_agent.vision.view import in_words


def examine(image: Image, config: Config) -> Iterable[Check]:
    """Judge the faces of one BGR picture (height, width, 3) as the agent does, and say what most suffer from."""
    inspector = Inspector(load_detector(config.detector), load_classifier(config.model).input_size, config.faces)
    seen = inspector.inspect(image)
    if not seen.faces:
        yield ok(
            "faces", "nobody is in the picture now, so nothing is known of angle and light; stand there and repeat"
        )
    elif seen.trouble is None:
        yield ok("faces", f"{len(seen.faces)} in the picture now, upright and well lit")
    else:
        what, fix = in_words(seen.trouble, config.camera.rotate_deg)
        yield warning("faces", f"{len(seen.faces)} in the picture now: {what}", fix)
