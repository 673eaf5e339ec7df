"""What an answer hangs on: found where it is, soon enough, and different in a model that knows nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import MODELS, Model, load_model
from edge_agent.vision.occlusion import CELLS, occlusion_map

HAPPY, SURPRISED = 0, 1


@pytest.fixture(params=sorted(path.name for path in MODELS.glob("*.tflite")))
def model(request: pytest.FixtureRequest) -> Model:
    return load_model(MODELS / request.param)


def test_a_smile_hangs_on_the_mouth(model: Model) -> None:
    """Of the mean happy face the lower half matters."""
    falls = occlusion_map(Classifier(model), model.self_test_crops()[HAPPY], "happy")
    assert falls.shape == (CELLS, CELLS)
    assert np.unravel_index(falls.argmax(), falls.shape)[0] >= CELLS // 2
    assert falls[CELLS // 2 :].mean() > falls[: CELLS // 2].mean()


def test_a_finer_map_of_the_same_face_has_the_coarse_ones_patches(model: Model) -> None:
    """Its patch is as large and moves in smaller steps, so its corner is covered by one patch, too."""
    classifier, crop = Classifier(model), model.self_test_crops()[HAPPY]
    coarse, fine = (occlusion_map(classifier, crop, "happy", cells=cells) for cells in (CELLS, 2 * CELLS))
    assert fine.shape == (2 * CELLS, 2 * CELLS)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert fine[corner] == pytest.approx(coarse[corner], abs=1e-4)


def test_hiding_a_cell_by_hand_gives_the_fall_of_the_corner_that_one_patch_covers(model: Model) -> None:
    classifier, crop = Classifier(model), model.self_test_crops()[SURPRISED]
    hidden = crop.copy()
    hidden[:16, :16] = round(float(crop.mean()))
    column = classifier.labels.index("surprise")
    before, after = classifier.classify(np.stack([crop, hidden])).probabilities[:, column].astype(float)
    falls = occlusion_map(classifier, crop, "surprise")
    assert falls[0, 0] == pytest.approx(np.log(before / (1 - before)) - np.log(after / (1 - after)), abs=1e-3)


def test_the_picture_that_is_explained_stays_as_it_is(model: Model) -> None:
    crop = model.self_test_crops()[HAPPY].copy()
    occlusion_map(Classifier(model), crop, "happy")
    np.testing.assert_array_equal(crop, model.self_test_crops()[HAPPY])


def test_it_takes_less_than_a_tenth_of_a_second(model: Model) -> None:
    """The thread's own time, the best of five: other work on the machine is not the map's."""
    pytest.importorskip("ai_edge_litert", reason="tflite-runtime lacks XNNPACK on x86-64")
    classifier, crop = Classifier(model, "litert"), model.self_test_crops()[HAPPY]
    times = []
    for _ in range(5):
        began = time.thread_time()
        occlusion_map(classifier, crop, "happy")
        times.append(time.thread_time() - began)
    assert min(times) < 0.1
