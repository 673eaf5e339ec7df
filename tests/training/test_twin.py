"""A .tflite file as the start of a run and as a teacher: it answers as the int8 file does."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.errors import InputError
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import MODELS, load_model
from tests.support.fer import pattern, write_csv
from training.data import TRAINING, divide, find_source, load
from training.metrics import softmax
from training.recipe import find_recipe, load_recipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]
keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

SHIPPED = [("emotion", "robust"), ("tiny", "tiny")]


def pictures(n: int = 14) -> np.ndarray:
    return np.stack([pattern(i % 7, np.random.default_rng(i)) for i in range(n)])


@pytest.mark.parametrize(("name", "recipe"), SHIPPED)
def test_the_twin_of_a_shipped_model_answers_as_its_int8_file(name: str, recipe: str) -> None:
    from training.twin import twin_of

    model = load_model(MODELS / f"{name}.tflite")
    faces = model.self_test_crops()[..., 0]
    twin = twin_of(model.path, pictures(), load_recipe(find_recipe(recipe)).network)
    for images, allowed in ((faces, 0.12), (pictures(), 0.6)):  # patterns are no faces, and reach beyond int8's ranges
        wanted = Classifier(model, "litert").all_logits(images[..., None])
        found = twin.predict(images[..., None].astype(np.float32), verbose=0)
        for head, logits in wanted.items():
            assert np.abs(found[head] - logits).max() < allowed


def test_a_network_of_another_shape_and_a_file_that_is_no_model_are_refused(tmp_path: Path) -> None:
    from training.twin import twin_of

    network = load_recipe(find_recipe("tiny")).network
    with pytest.raises(InputError, match="is another network than the recipe's"):
        twin_of(MODELS / "emotion.tflite", pictures(), network)
    (tmp_path / "x.tflite").write_bytes(b"no model at all")
    with pytest.raises(InputError, match=r"x\.tflite: is no \.tflite file"):
        twin_of(tmp_path / "x.tflite", pictures(), network)
    with pytest.raises(InputError, match=r"y\.tflite: cannot read the model: No such file"):
        twin_of(tmp_path / "y.tflite", pictures(), network)


def test_a_file_teaches_what_the_device_would_answer(tmp_path: Path) -> None:
    """But for int8's rounding, of about a step of 0.07 in the logits."""
    from training.teachers import teach

    faces = load(find_source(write_csv(tmp_path, training=7, public=7)))
    taught = teach([MODELS / "tiny.tflite"], faces, 3.0, cache=tmp_path)
    classifier = Classifier(load_model(MODELS / "tiny.tflite"), "litert")
    views = [classifier.all_logits(view[..., None]) for view in (faces.images, faces.images[:, :, ::-1])]
    for head, answers in taught.items():
        np.testing.assert_allclose(answers, np.mean([softmax(v[head] / 3) for v in views], axis=0), atol=0.03)
    (tmp_path / "bad.tflite").write_bytes(b"no model at all")
    (tmp_path / "teacher.npz").unlink()
    with pytest.raises(InputError, match=r"bad\.tflite: is no \.tflite file"):
        teach([tmp_path / "bad.tflite"], faces, 3.0, cache=tmp_path)


def test_a_run_from_a_file_says_so_and_starts_where_the_file_is(tmp_path: Path) -> None:
    """With nothing learnt (a rate near 0) the run's model still answers as the file."""
    from training.train import fit

    data = find_source(write_csv(tmp_path, training=70, public=14))
    photos = tmp_path / "photos" / "train" / "happy"
    photos.mkdir(parents=True)
    cv2.imwrite(str(photos / "a.png"), pictures(1)[0])
    changes = {"epochs": 1, "batch_size": 14, "learning_rate": 1e-9, "photos_repeated": 3}
    recipe = load_recipe(find_recipe("tiny"), **changes)
    shipped = MODELS / "tiny.tflite"
    run = tmp_path / "run"
    model = fit(recipe, data, run, teachers=[shipped], begin_with=shipped, photos=find_source(tmp_path / "photos"))
    facts = json.loads((run / "run.json").read_text())
    sha256 = load_model(shipped).info.sha256
    assert facts["begun_with"] == {"file": "tiny.tflite", "sha256": sha256}
    assert facts["teachers"] == [f"tiny.tflite {sha256}"]
    assert facts["images"]["training"] == len(divide(load(data)).training)
    assert facts["images"]["photos"] == 1
    training = load(data)
    images = training.images[training.splits == TRAINING][:7]
    found = model.predict(images[..., None].astype(np.float32), verbose=0)
    wanted = Classifier(load_model(shipped), "litert").all_logits(images[..., None])
    for head, logits in wanted.items():
        assert np.abs(found[head] - logits).mean() < 0.6
