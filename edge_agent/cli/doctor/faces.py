"""Are the faces before the camera upright, well lit and sharp?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_agent.cameras import Image
from edge_agent.cli.doctor.check import Check, ok, warning
from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.vision.classifier import load_classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.quality import gate
from edge_agent.vision.upright import upright_odds
from edge_agent.vision.view import View, in_words


def examine(image: Image, config: Config) -> Iterable[Check]:
    """Judge the faces of one BGR picture (height, width, 3) as the agent does, and say what most suffer from."""
    detector = load_detector(config.detector)
    size = load_classifier(config.model).input_size
    faces = detector.detect(image)
    if not faces:
        yield ok(
            "faces", "nobody is in the picture now, so nothing is known of angle and light; stand there and repeat"
        )
        return
    view = View(people=len(faces), sightings=1)
    for number, face in enumerate(faces):
        reason = gate(image, face, config.faces).reason
        crop = crop_face(image, face, detector.framing, size)
        if reason is None and upright_odds(crop) < 0:
            reason = "tilted"
            view.lean([upright_odds(np.rot90(crop, quarter)) for quarter in range(4)])
        view.see(number, reason)
    view.judge()
    if view.trouble is None:
        yield ok("faces", f"{len(faces)} in the picture now, upright and well lit")
    else:
        what, fix = in_words(view.trouble, config.camera.rotate_deg)
        yield warning("faces", f"{len(faces)} in the picture now: {what}", fix)
