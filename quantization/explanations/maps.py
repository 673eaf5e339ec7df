"""Maps of a face: how much each part speaks for an answer, in nats of its log-odds, in two independent ways.

- Occlusion (Zeiler and Fergus 2014) hides parts and asks the int8 file that the device runs again.
- SHAP (expected gradients, Erion et al. 2021) shares out, over the pixels, how the float network's answer differs from
  its mean answer to other faces.

Both explain the same calibrated log-odds, so their maps can be compared cell by cell.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import keras
import numpy as np
import shap
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import Head
from edge_agent.vision.occlusion import occlusion_map

CELLS = 12
"""Of every map along each side: the device's patch, moved in steps half as wide."""
_BATCH = 50
_KERAS_STRUCTURE = "The structure of `inputs` doesn't match"
"""SHAP gives a list of one input, which Keras takes, with this warning."""

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """One model twice: the float network that was trained, and the int8 file of it that the device runs."""

    network: keras.Model
    """Logits (n, labels) by head, of grey images (n, height, width, 1)."""
    classifier: Classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotion names."""
        return self.classifier.labels


@dataclass(frozen=True)
class Shares:
    """SHAP's maps, and how well they add up."""

    maps: Maps
    """Shape (n, CELLS, CELLS), in nats: positive speaks for the answer."""
    gaps: NDArray[np.float32]
    """How far the sum of each map is from what it should be: log-odds less their mean over the background; (n,)."""


def occlusion_maps(subject: Subject, images: Images, answers: NDArray[np.int64]) -> Maps:
    """How far the log-odds of each answer fall where a part of its image (n, height, width) is hidden: (n, 12, 12)."""
    shown = tqdm(zip(images, answers, strict=True), desc="occlusion", total=len(images), leave=False, disable=None)
    maps = [
        occlusion_map(subject.classifier, image[..., None], subject.labels[answer], cells=CELLS)
        for image, answer in shown
    ]
    return np.stack(maps)


def shap_maps(
    subject: Subject,
    images: Images,
    answers: NDArray[np.int64],
    *,
    background: Images,
    samples: int,
    seed: int = 0,
) -> Shares:
    """What each part of the images (n, height, width) adds to the log-odds of its answer, against the background.

    ``samples`` points between an image and images of the background are asked for gradients; more make less noise.
    """
    tf.get_logger().setLevel(logging.ERROR)  # it warns of tracing a function for each emotion
    asked = _log_odds_of(subject.network, subject.classifier.head_name, subject.classifier.head)
    faces, others = _as_input(images), _as_input(background)
    maps = np.zeros((len(images), CELLS, CELLS), np.float32)
    gaps = np.zeros(len(images), np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_KERAS_STRUCTURE)
        usual = asked.predict(others, verbose=0).mean(axis=0)
        explainer = shap.GradientExplainer(asked, others, batch_size=_BATCH)
        for row in tqdm(range(len(images)), desc="SHAP", leave=False, disable=None):
            face, answer = faces[row : row + 1], answers[row : row + 1]
            values, _ = explainer.shap_values(
                face, nsamples=samples, ranked_outputs=answer[:, None], output_rank_order="custom", rseed=seed
            )
            pixels = np.asarray(values, np.float32).reshape(images.shape[1:])
            maps[row] = _by_cell(pixels)
            gaps[row] = abs(pixels.sum() - (asked.predict(face, verbose=0)[0] - usual)[answer[0]])
    return Shares(maps, gaps)


def _log_odds_of(network: keras.Model, name: str, head: Head) -> keras.Model:
    """The calibrated log-odds of all answers, shape (n, labels): what ``occlusion_map`` measures, in float."""
    logits = network.output[name] / head.temperature + np.array(head.bias, np.float32)
    mine = keras.ops.eye(len(head.bias), dtype="bool")
    others = keras.ops.where(mine, -np.inf, logits[:, None, :])  # (n, labels, labels)
    return keras.Model(network.inputs, logits - keras.ops.logsumexp(others, axis=2))


def _by_cell(pixels: NDArray[np.float32]) -> Maps:
    """Sums over the pixels (height, width) of each cell."""
    height, width = pixels.shape
    sums: Maps = pixels.reshape(CELLS, height // CELLS, CELLS, width // CELLS).sum(axis=(1, 3))
    return sums


def _as_input(images: Images) -> NDArray[np.float32]:
    return images[..., None].astype(np.float32)
