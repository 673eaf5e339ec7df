"""What the detector is punished for: doubtful cells, boxes that do not overlap, landmarks that are off."""

from __future__ import annotations

import tensorflow as tf

from training.faces.model import OUTPUTS, STRIDES
from training.faces.recipe import Recipe


def flat(outputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """The maps as one tensor (n, cells, 15): score, box, landmarks; finest grid first."""
    grids = []
    for stride in STRIDES:
        maps = tf.concat([tf.cast(outputs[f"{name}{stride}"], tf.float32) for name in OUTPUTS], axis=-1)
        grids.append(tf.reshape(maps, (tf.shape(maps)[0], -1, maps.shape[-1])))
    return tf.concat(grids, axis=1)


def loss(said: tf.Tensor, wanted: tf.Tensor, recipe: Recipe) -> dict[str, tf.Tensor]:
    """Each part of the loss, weighted, and their sum as ``loss``.

    Args:
        said: (n, cells, 15), see :func:`flat`.
        wanted: (n, cells, 17), see :func:`training.faces.targets.targets`.
        recipe: names the weights.
    """
    is_face = tf.cast(wanted[..., 0] > 0, tf.float32)
    counted = tf.cast(wanted[..., 0] >= 0, tf.float32)
    # A face's many cells weigh less each than a small face's few, yet more in all.
    weight = is_face * tf.sqrt(tf.maximum(wanted[..., 16], 1e-6))
    total = tf.maximum(tf.reduce_sum(weight), 1.0)
    overlap, distance = _overlap(said[..., 1:5], wanted[..., 1:5])
    score = _focal(said[..., 0], is_face * _worth(tf.stop_gradient(overlap)), recipe.focus)
    score_weight = counted * (1 - is_face) + weight
    parts = {
        "score": tf.reduce_sum(score * score_weight) / total,
        "box": recipe.box_weight * tf.reduce_sum((1 - overlap + distance) * weight) / total,
        "points": recipe.points_weight * _points(said[..., 5:], wanted, weight),
    }
    return {"loss": tf.add_n(list(parts.values())), **parts}


def _worth(overlap: tf.Tensor) -> tf.Tensor:
    """The score that a cell should give: near 1, more for a better box, so that of several cells the best one wins."""
    return 0.7 + 0.3 * overlap


def _focal(logit: tf.Tensor, target: tf.Tensor, focus: float) -> tf.Tensor:
    """Quality focal loss (Li et al. 2020, "Generalized Focal Loss")."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logit)
    return entropy * tf.abs(target - tf.sigmoid(logit)) ** focus


def _overlap(said: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Intersection over union, and the distance of the middles as DIoU has it (Zheng et al. 2020)."""
    centre, size = said[..., :2], tf.exp(tf.clip_by_value(said[..., 2:], -4.0, 5.0))
    true_centre, true_size = wanted[..., :2], tf.exp(wanted[..., 2:])
    low, high = centre - size / 2, centre + size / 2
    true_low, true_high = true_centre - true_size / 2, true_centre + true_size / 2
    both = tf.reduce_prod(tf.maximum(tf.minimum(high, true_high) - tf.maximum(low, true_low), 0), axis=-1)
    either = tf.reduce_prod(size, -1) + tf.reduce_prod(true_size, -1) - both
    around = tf.maximum(high, true_high) - tf.minimum(low, true_low)
    gap = tf.reduce_sum((centre - true_centre) ** 2, -1) / tf.maximum(tf.reduce_sum(around**2, -1), 1e-6)
    # Width and height by themselves: the overlap alone hardly tells a box that is a little too wide.
    shape = tf.reduce_sum(tf.abs(tf.clip_by_value(said[..., 2:], -4.0, 5.0) - wanted[..., 2:]), -1)
    return both / tf.maximum(either, 1e-6), gap + 0.3 * shape


def _points(said: tf.Tensor, wanted: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mean distance of the known landmarks, as a share of the face, small ones squared."""
    true = wanted[..., 5:15]
    known = tf.cast(tf.math.is_finite(true), tf.float32) * weight[..., None]
    off = (said - tf.where(tf.math.is_finite(true), true, said)) / tf.maximum(wanted[..., 15:16], 0.5)
    return tf.reduce_sum(known * _smooth(off)) / tf.maximum(tf.reduce_sum(known), 1.0)


def _smooth(off: tf.Tensor, knee: float = 0.03) -> tf.Tensor:
    far = tf.abs(off)
    return 10 * tf.where(far < knee, far**2 / (2 * knee), far - knee / 2)
