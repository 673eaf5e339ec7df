"""The classifier on the shipped models, in every runtime that is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_agent.host.runtime import RuntimeChoice
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import MODELS, Model, load_model

PACKAGES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime"}


@pytest.fixture(params=PACKAGES)
def runtime(request: pytest.FixtureRequest) -> RuntimeChoice:
    if importlib.util.find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    choice: RuntimeChoice = request.param
    return choice


@pytest.fixture(params=sorted(path.name for path in MODELS.glob("*.tflite")))
def model(request: pytest.FixtureRequest) -> Model:
    return load_model(MODELS / request.param)


def changed(model: Model, **changes: Any) -> Model:
    return replace(model, info=model.info.model_copy(update=changes))


def test_the_self_test_passes(model: Model, runtime: RuntimeChoice) -> None:
    Classifier(model, runtime).self_test()


def test_average_faces_are_read_as_what_they_average(model: Model, runtime: RuntimeChoice) -> None:
    """The stored crops are the mean happy, surprised and angry face; both heads must see the first two."""
    for head in model.info.heads:
        classifier = Classifier(model, runtime, head=head)
        top = classifier.classify(model.self_test_crops()).probabilities.argmax(axis=1)
        assert [classifier.labels[i] for i in top[:2]] == ["happy", "surprise"]


def test_scores_are_probabilities(model: Model, runtime: RuntimeChoice) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), dtype=np.uint8)
    scores = Classifier(model, runtime).classify(crops)
    assert scores.probabilities.shape == (5, 7)
    assert scores.probabilities.dtype == np.float32
    assert (scores.probabilities > 0).all()
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)


def test_no_faces_are_no_scores(model: Model, runtime: RuntimeChoice) -> None:
    scores = Classifier(model, runtime).classify(np.empty((0, 48, 48, 1), np.uint8))
    assert scores.probabilities.shape == (0, 7)


def test_a_batch_gives_what_single_crops_give(model: Model, runtime: RuntimeChoice) -> None:
    classifier, crops = Classifier(model, runtime), model.self_test_crops()
    together = classifier.classify(crops).probabilities
    np.testing.assert_array_equal(together, np.concatenate([classifier.classify(c[None]).probabilities for c in crops]))


def test_calibration_is_temperature_and_bias(model: Model, runtime: RuntimeChoice) -> None:
    """softmax(z / T + b), computed here by hand."""
    classifier, crops = Classifier(model, runtime), model.self_test_crops()
    powers = np.exp(classifier.logits(crops) / classifier.head.temperature + np.array(classifier.head.bias))
    np.testing.assert_allclose(
        classifier.classify(crops).probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_the_heads_answer_differently(model: Model, runtime: RuntimeChoice) -> None:
    answers = Classifier(model, runtime).all_logits(model.self_test_crops())
    assert np.abs(answers["fer2013"] - answers["ferplus"]).max() > 0.5


def test_the_named_head_answers(model: Model) -> None:
    assert Classifier(model, head="ferplus").head == model.info.heads["ferplus"]
    assert Classifier(model).head_name == model.info.default_head


def test_an_unknown_head_is_refused(model: Model) -> None:
    with pytest.raises(ModelError, match="has no head 'affectnet', only fer2013, ferplus"):
        Classifier(model, head="affectnet")


def test_a_model_for_another_input_is_refused(model: Model) -> None:
    other = changed(model, input=model.info.input.model_copy(update={"height": 64}))
    with pytest.raises(ModelError, match=r"takes int8 \(1, 48, 48, 1\), but its \.json says int8 \(1, 64, 48, 1\)"):
        Classifier(other)


def test_another_number_of_labels_is_refused(model: Model) -> None:
    with pytest.raises(ModelError, match=r"answers int8 \(1, 7\), but its \.json says int8 \(1, 8\)"):
        Classifier(changed(model, labels=(*model.info.labels, "contempt")))


def test_an_output_that_is_not_there_is_refused(model: Model) -> None:
    head = model.info.heads["fer2013"].model_copy(update={"output": 5})
    with pytest.raises(ModelError, match=r"has 2 outputs, but its \.json asks for 5"):
        Classifier(changed(model, heads={"fer2013": head}, default_head="fer2013"))


def test_wrong_answers_fail_the_self_test(model: Model, runtime: RuntimeChoice) -> None:
    """One stored value that is off by one step more than is allowed is enough."""
    test = model.info.self_test.model_copy(deep=True)
    answers = Classifier(model, runtime).raw(model.self_test_crops())
    test.outputs[runtime] = {head: rows.astype(int).tolist() for head, rows in answers.items()}
    test.outputs[runtime]["fer2013"][0][0] += test.tolerance
    Classifier(changed(model, self_test=test), runtime).self_test()
    test.outputs[runtime]["fer2013"][0][0] += 1
    with pytest.raises(ModelError, match=r"self-test failed in \w+: off by 5 steps, 4 allowed"):
        Classifier(changed(model, self_test=test), runtime).self_test()
