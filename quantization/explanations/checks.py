"""Whether to believe the maps.

- A map that stays the same when the network forgets what it learnt shows the picture and not the network (Adebayo et
  al. 2018, "Sanity Checks for Saliency Maps").
- Hiding first what a map calls important must hurt the answer more than hiding at random (Petsiuk et al. 2018).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import Model
from edge_agent.vision.occlusion import log_odds
from quantization.convert import output_numbers, quantized, representative
from quantization.explanations.maps import CELLS, Images, Maps, Subject
from training.averaging import refresh_statistics
from training.data import Faces
from training.recipe import AnyNetwork

_HIDDEN_AT_ONCE = 6
"""Cells of 144."""


@dataclass(frozen=True)
class Deletion:
    """Mean log-odds of the answers as more and more of the faces is hidden."""

    hidden: NDArray[np.float64]
    """Share of each face, 0 to 1, shape (steps,)."""
    log_odds: NDArray[np.float64]
    """In nats, shape (steps,)."""

    @property
    def area(self) -> float:
        """Mean log-odds over the first half of what is hidden: lower is better."""
        return float(self.log_odds[self.hidden <= 0.5].mean())


def rank_correlations(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Spearman's, of each pair of maps (n, CELLS, CELLS), shape (n,): 1 if both order the cells alike, 0 by chance."""
    a, b = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second))
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    alike: NDArray[np.float64] = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return alike


def by_patch(maps: Maps) -> Maps:
    """Maps (n, CELLS, CELLS) as coarse as occlusion's: the mean over the patches that cover a cell of their sums."""
    side = CELLS // 3
    total, covered = np.zeros_like(maps), np.zeros_like(maps)
    for row, left in np.ndindex(CELLS - side + 1, CELLS - side + 1):
        part = slice(None), slice(row, row + side), slice(left, left + side)
        total[part] += maps[part].sum(axis=(1, 2), keepdims=True)
        covered[part] += 1
    coarse: Maps = total / covered
    return coarse


def randomised(subject: Subject, network: AnyNetwork, training: Faces, *, heads_only: bool, seed: int = 0) -> Subject:
    """The same network with new random weights, in all layers or in the heads alone, and its own int8 file.

    Batch norms are measured again on Training, so that activations are as large as the converter expects.
    """
    forgetful = keras.models.clone_model(subject.network)
    forgetful.set_weights(subject.network.get_weights())
    rng = np.random.default_rng(seed)
    heads = set(subject.classifier.model.info.heads)
    for layer in forgetful.layers:
        if layer.weights and (layer.name in heads or not heads_only):
            layer.set_weights([_shuffled(weight, rng) for weight in layer.get_weights()])
    picked = training[representative(training)]
    if not heads_only:
        refresh_statistics(forgetful, picked.images.astype(np.float32))
    return Subject(forgetful, _as_int8(subject.classifier, quantized(forgetful, network, picked.images)))


def _shuffled(weight: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same numbers in another order: as large as before, and without what was learnt."""
    return rng.permutation(weight.ravel()).reshape(weight.shape)


def _as_int8(classifier: Classifier, content: bytes) -> Classifier:
    """A classifier that runs another file of the same kind, calibrated alike."""
    info = classifier.model.info
    numbers = output_numbers(content)
    heads = {name: head.model_copy(update={"output": numbers[name]}) for name, head in info.heads.items()}
    described = info.model_copy(
        update={"heads": heads, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    )
    return Classifier(Model(classifier.model.path, described, content), "auto", head=classifier.head_name)


def deletion(classifier: Classifier, images: Images, answers: NDArray[np.int64], *, importance: Maps) -> Deletion:
    """Hide the cells of the images (n, height, width) in the order of their importance, and ask the int8 file."""
    n, height, width = images.shape
    order = np.argsort(-importance.reshape(n, -1), axis=1, kind="stable")
    counts = range(0, CELLS * CELLS + 1, _HIDDEN_AT_ONCE)
    odds = np.zeros((n, len(counts)))
    for i, (image, answer) in enumerate(zip(images, answers, strict=True)):
        grey = round(float(image.mean()))
        views = np.repeat(image[None], len(counts), axis=0)
        for view, count in zip(views, counts, strict=True):
            hidden = np.zeros(CELLS * CELLS, bool)
            hidden[order[i, :count]] = True
            view[np.kron(hidden.reshape(CELLS, CELLS), np.ones((height // CELLS, width // CELLS))) > 0] = grey
        odds[i] = log_odds(classifier.classify(views[..., None]).probabilities, int(answer))
    return Deletion(np.array(counts) / CELLS**2, odds.mean(axis=0))
