"""Weights between two models: the asked share of each, and batch norms that belong to what came of it."""

from __future__ import annotations

import numpy as np
import pytest

from training.recipe import Network

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]
keras = pytest.importorskip("keras", reason="needs the train extra")

NETWORK = Network(widths=(4, 8), blocks=(1, 1))


def test_the_share_counts_and_the_statistics_are_measured_again() -> None:
    from training.averaging import average
    from training.model import build

    keras.utils.set_random_seed(1)
    first, second = build(NETWORK), build(NETWORK)
    kernels = [model.get_layer(index=2).kernel.numpy() for model in (first, second)]
    images = np.random.default_rng(0).integers(0, 256, (300, 48, 48)).astype(np.float32)
    mixed = average(first, second, 0.25, images=images)
    convolution, norm = mixed.get_layer(index=2), mixed.get_layer(index=3)
    np.testing.assert_allclose(convolution.kernel.numpy(), 0.75 * kernels[0] + 0.25 * kernels[1], atol=1e-6)
    before_norm = keras.Model(mixed.input, convolution.output).predict(images[..., None], verbose=0)
    # The mean over two batches, of 256 and 44 images.
    means = [before_norm[part].mean((0, 1, 2)) for part in (slice(0, 256), slice(256, 300))]
    np.testing.assert_allclose(norm.moving_mean.numpy(), np.mean(means, axis=0), atol=1e-3)


def test_what_batch_norms_are_measured_on_is_always_the_same() -> None:
    from training.averaging import seen_in_training
    from training.recipe import find_recipe, load_recipe

    how = load_recipe(find_recipe("robust")).augmentation
    images = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    np.testing.assert_array_equal(seen_in_training(images, how), seen_in_training(images, how))
