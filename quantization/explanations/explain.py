"""``explain``: read a model both ways, choose faces, draw their maps and check them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.cameras.picture_files import read_picture
from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.errors import InputError
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import Model, load_model
from edge_agent.vision.tiles import find_faces
from quantization.convert import INT8, WEIGHTS
from quantization.explanations.checks import Deletion, deletion, randomised, rank_correlations
from quantization.explanations.maps import Images, Shares, Subject, occlusion_maps, shap_maps
from quantization.explanations.page import Checks, Explained, Sanity, Told, write_explanations
from quantization.export import uncalibrated
from training.data import SPLIT_SEED, Faces, Source, divide, load
from training.recipe import AnyNetwork
from training.released import WEIGHTS as RELEASED
from training.released import read_weights
from training.twin import network_of, twin_of

log = logging.getLogger(__name__)

_BACKGROUND = 100
"""Training faces whose mean answer SHAP starts from."""
_CHECKED = 20
"""Faces that the randomised networks are asked about."""
_MISTAKES = 6


@dataclass(frozen=True)
class Wish:
    """What to explain."""

    model: Path
    """A .tflite file with its .json, or a run folder after ``convert``."""
    head: str
    """``ferplus``, ``fer2013``, or ``default`` for what the device publishes."""
    split: str
    faces: int
    """Of each emotion, at most."""
    samples: int
    """Of SHAP, for each face."""
    pictures: tuple[Path, ...] = ()
    """Photos to explain besides the data set's faces."""


def explain(wish: Wish, source: Source, folder: Path) -> Path:
    """Write ``index.html`` and PNGs into ``folder``; returns the HTML file.

    The page shows faces of the data set, so it stays where the data may be. Raises InputError where a file or a split
    is missing, and ModelError where the int8 file does not fit its .json.
    """
    everything = load(source)
    training = divide(everything).training
    subject, network = _subject(wish, training)
    classifier = subject.classifier
    faces = everything[everything.splits == wish.split]
    labels = faces.labels_by_head()[classifier.head_name]
    images, labels = faces.images[labels >= 0], labels[labels >= 0]
    if not len(images):
        raise InputError(f"{source.faces}: has no {wish.split} images with labels of the head {classifier.head_name}")
    log.info("asking %s about %d images", wish.model, len(images))
    likely = classifier.classify(images[..., None]).probabilities
    answers = likely.argmax(axis=1)
    artist = _Artist(subject, _evenly(training.images, _BACKGROUND), wish.samples)
    pictures = [
        (path.name, artist.explained(crops)) for path in wish.pictures if len(crops := _crops(path, classifier))
    ]
    rows = _chosen(labels, answers, wish.faces)
    chosen = artist.explained(images[rows])
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-likely[wrong].max(axis=1), kind="stable")][:_MISTAKES]
    mistakes = artist.explained(images[worst]), artist.explained(images[worst], labels[worst])
    log.info("checking the maps")
    checks = Checks(
        alike=float((_top(subject, images) == answers).mean()),
        asked=len(images),
        sanity=_sanity(artist, network, training, checked=chosen.part(_evenly(np.arange(len(rows)), _CHECKED))),
        deletions=_deletions(classifier, chosen),
    )
    return write_explanations(
        folder,
        Told(
            model=f"{wish.model.name}, head {classifier.head_name}",
            split=wish.split,
            runtime=classifier.runtime_name,
            samples=wish.samples,
            background=_BACKGROUND,
        ),
        subject.labels,
        chosen=chosen,
        means={
            int(answer): images[(labels == answer) & (answers == answer)].mean(axis=0)
            for answer in np.unique(answers[rows])
        },
        mistakes=mistakes,
        pictures=pictures,
        checks=checks,
    )


@dataclass(frozen=True)
class _Artist:
    """Draws both maps of faces."""

    subject: Subject
    background: Images
    samples: int

    def explained(self, images: Images, answers: NDArray[np.int64] | None = None) -> Explained:
        """The maps of these answers, or of the model's own."""
        likely = self.subject.classifier.classify(images[..., None]).probabilities
        answers = likely.argmax(axis=1) if answers is None else answers
        shares = self.shap(images, answers)
        return Explained(
            images,
            answers,
            likely[np.arange(len(images)), answers],
            occlusion_maps(self.subject, images, answers),
            shares.maps,
            shares.gaps,
        )

    def shap(self, images: Images, answers: NDArray[np.int64], seed: int = 0) -> Shares:
        """SHAP's maps alone."""
        return shap_maps(self.subject, images, answers, background=self.background, samples=self.samples, seed=seed)


def _subject(wish: Wish, training: Faces) -> tuple[Subject, AnyNetwork]:
    """The model both ways. Of a .tflite file without released weights, the float network is its twin."""
    if wish.model.is_dir():
        int8, weights = wish.model / INT8, wish.model / WEIGHTS
        info = uncalibrated(wish.model, int8, "ferplus")
        model = Model(int8, info, int8.read_bytes())
    else:
        model, weights = load_model(wish.model), RELEASED / f"{wish.model.stem}.npz"
    if weights.is_file():
        network, described = read_weights(weights)
    else:
        log.info("%s is not there: the float network is made from %s", weights, wish.model)
        network, described = twin_of(model.path, training.images), network_of(model.path)
    return Subject(network, Classifier(model, "auto", head=wish.head)), described


def _crops(path: Path, classifier: Classifier) -> Images:
    """The faces of a photo as the device cuts them, shape (n, height, width); a line says where there is none."""
    config = Config()
    detector = load_detector(config.detector, config.model)
    image = read_picture(path)
    faces = find_faces(detector, image, config.detector.size)
    if not faces:
        log.warning("%s: no face found (%s)", path, detector.kind)
        return np.zeros((0, *classifier.input_size), np.uint8)
    return np.stack([crop_face(image, face, detector.framing, size=classifier.input_size)[..., 0] for face in faces])


def _chosen(labels: NDArray[np.int64], answers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows that are right, at most ``count`` of each emotion, picked by a seed."""
    rng = np.random.default_rng(SPLIT_SEED)
    right = [rng.permutation(np.flatnonzero((labels == label) & (answers == label))) for label in np.unique(labels)]
    return np.concatenate([rows[:count] for rows in right])


def _evenly(rows: NDArray[Any], count: int) -> NDArray[Any]:
    picked: NDArray[Any] = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
    return picked


def _top(subject: Subject, images: Images) -> NDArray[np.int64]:
    """The float network's answers, calibrated as the int8 file's."""
    logits = subject.network.predict(images[..., None].astype(np.float32), batch_size=256, verbose=0)
    top: NDArray[np.int64] = subject.classifier.head.calibrated(logits[subject.classifier.head_name]).argmax(axis=1)
    return top


def _sanity(artist: _Artist, network: AnyNetwork, training: Faces, *, checked: Explained) -> list[Sanity]:
    """The maps of the same faces and answers from networks that forgot what they learnt."""
    again = artist.shap(checked.images, checked.answers, seed=1)
    found = [Sanity("nothing changed, SHAP sampled again", None, rank_correlations(checked.shap, again.maps))]
    for name, heads_only in (("heads shuffled", True), ("all weights shuffled", False)):
        forgetful = replace(artist, subject=randomised(artist.subject, network, training, heads_only=heads_only))
        other = forgetful.explained(checked.images, checked.answers)
        found.append(
            Sanity(
                name,
                rank_correlations(checked.occlusion, other.occlusion),
                rank_correlations(checked.shap, other.shap),
            )
        )
    return found


def _deletions(classifier: Classifier, faces: Explained) -> dict[str, Deletion]:
    chance = np.random.default_rng(SPLIT_SEED).random(faces.occlusion.shape).astype(np.float32)
    orders = {"occlusion first": faces.occlusion, "SHAP first": faces.shap, "at random": chance}
    return {name: deletion(classifier, faces.images, faces.answers, importance=order) for name, order in orders.items()}
