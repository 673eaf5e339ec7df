"""``edge-agent calibrate``: a site's own calibration from labelled pictures of people who agreed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge_agent.cameras.picture_files import pictures_in, read_picture, shown
from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.errors import InputError
from edge_agent.shares.site import LabelledFaces, Site
from edge_agent.vision.classifier import Classifier, load_classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.site_file import site_path, write_site
from edge_agent.vision.sitting import learn
from edge_agent.vision.tiles import find_faces

_OTHER_NAMES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def calibrate(config: Config, folder: Path) -> int:
    """Read ``folder/EMOTION/*.jpg``, and write ``site.json`` if it makes the figures better.

    Returns:
        0.

    Raises:
        InputError: no usable pictures, too few faces, no gain, or the file cannot be written.
        DetectorError, ModelError, MissingPackageError: as loading them does.
    """
    classifier = load_classifier(config.model)
    site = learn(read_folder(config, classifier, folder), classifier)
    write_site(site_path(config), site)
    print(in_words(site))
    print(f"{site_path(config)} is written. A running agent takes it at the next start or reload.")
    return 0


def remove(config: Config) -> int:
    """Delete the site's calibration, and with it all rows about single people; returns 0."""
    path = site_path(config)
    try:
        path.unlink()
    except FileNotFoundError:
        print(f"{path}: there is no calibration")
    except OSError as error:
        raise InputError(f"{path}: cannot remove the calibration: {error.strerror}; run this with sudo") from error
    else:
        print(f"{path} is removed. A running agent forgets it at the next start or reload.")
    return 0


def in_words(site: Site) -> str:
    """What it is worth, in a sentence."""
    return (
        f"{len(site.reference.labels)} faces: shares of 50 people are {site.error_after} points off with this "
        f"calibration and {site.error_before} without it (cross-validated)."
    )


def read_folder(config: Config, classifier: Classifier, folder: Path) -> LabelledFaces:
    """The largest face of each picture; pictures without one are named and left out. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: there is no such folder")
    detector, logits, labels = load_detector(config.detector), [], []
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        name = _OTHER_NAMES.get(part.name.lower(), part.name.lower())
        if name not in classifier.labels:
            raise InputError(f"{shown(part)}: no emotion of the model, which has {', '.join(classifier.labels)}")
        for path in pictures_in(part):
            image = read_picture(path)
            found = find_faces(detector, image, config.detector.size)
            if not found:
                print(f"{shown(path)}: no face found, left out", file=sys.stderr)
                continue
            face = max(found, key=lambda f: f.box.width * f.box.height)
            crop = crop_face(image, face, detector.framing, size=classifier.input_size)
            logits.append(classifier.head.calibrated(classifier.logits(crop[None]))[0].astype(np.float64))
            labels.append(classifier.labels.index(name))
    if not labels:
        raise InputError(f"{shown(folder)}: no faces; it must hold folders called {', '.join(classifier.labels)}")
    return LabelledFaces(np.stack(logits), np.array(labels), np.arange(len(labels)))
