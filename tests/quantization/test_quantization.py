"""From a run folder to files a device loads, and the figures of the files that are shipped."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import InputError
from edge_agent.host.runtime import open_interpreter
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import MODELS, load_model
from quantization import evaluate
from quantization.__main__ import main
from quantization.answers import ask, published
from quantization.card import write_card
from quantization.convert import PER_CLASS, representative
from quantization.export import export
from quantization.figures import figures as figures_of
from quantization.figures import labelled
from tests.support.fer import write_csv
from tests.support.run_folders import run_of
from training.data import PRIVATE, PUBLIC, Faces, divide, find_source, load
from training.metrics import accuracy, calibration_error, confusion, softmax
from training.recipe import find_recipe, load_recipe

WEIGHTS = Path(__file__).parents[2] / "training" / "weights"
KERAS_NOISE = "ignore:__array__ implementation:DeprecationWarning"
"""Keras 3 with TensorFlow under numpy 2, on reading a model."""
BOTH_RUNTIMES = all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tflite_runtime"))


@pytest.fixture(scope="module")
def public(fer2013: Faces) -> Faces:
    return fer2013[fer2013.splits == PUBLIC]


@pytest.fixture(scope="module")
def shipped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(load_model(), tmp_path_factory.mktemp("run"))


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.tflite")))
def test_shipped_figures_are_what_the_device_computes(public: Faces, name: str) -> None:
    """Accuracy over all of PublicTest, from the pixels on, is what the .json and the model card state."""
    model = load_model(MODELS / f"{name}.tflite")
    for head, labels in public.labels_by_head().items():
        known = labels >= 0
        scores = Classifier(model, "auto", head=head).classify(public.images[known][..., None])
        counts = confusion(labels[known], scores.probabilities.argmax(1), 7)
        assert accuracy(counts) == pytest.approx(model.info.heads[head].figures["accuracy"], abs=0.004)


@pytest.mark.skipif(not BOTH_RUNTIMES, reason="needs ai-edge-litert and tflite-runtime side by side")
def test_exported_files_load_and_pass_their_self_test(shipped_run: Path, tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path, training=70, public=140)))
    info = export(shipped_run, tmp_path / "out.tflite", faces, default_head="ferplus")
    model = load_model(tmp_path / "out.tflite")
    assert model.info == info
    assert info.default_head == "ferplus"
    for runtime in ("litert", "tflite"):
        Classifier(model, runtime).self_test()
    assert sum(map(sum, info.heads["fer2013"].confusion)) == 140
    # The calibration half has ten images of each label.
    assert info.heads["fer2013"].prior == pytest.approx([1 / 7] * 7, abs=1e-3)


def test_export_before_convert_says_what_to_run(tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path)))
    with pytest.raises(InputError, match=r"int8\.tflite: No such file or directory; run first: .*quantization convert"):
        export(tmp_path, tmp_path / "out.tflite", faces, default_head="fer2013")


def test_the_representative_set_is_stratified_and_seeded(tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path, training=700, public=7)))
    training = faces[:700]
    chosen = representative(training, seed=3)
    assert np.bincount(training.labels[chosen]).tolist() == [min(PER_CLASS, 100)] * 7
    np.testing.assert_array_equal(chosen, representative(training, seed=3))
    assert not np.array_equal(chosen, representative(training, seed=4))


def test_evaluate_shows_both_heads_and_dumps_top_labels(tmp_path: Path) -> None:
    faces = load(find_source(write_csv(tmp_path, training=7, public=140)))
    faces, shown = faces[faces.splits == PUBLIC], []
    dump = tmp_path / "top.csv"
    evaluate.evaluate(MODELS / "emotion.tflite", faces, "auto", dump=dump, show=shown.append)
    assert [line.split()[0] for line in shown[1:]] == ["fer2013", "ferplus"]
    classifier = Classifier(load_model(), head="fer2013")
    top = classifier.classify(faces.images[..., None]).probabilities.argmax(1)
    column = dump.read_text().splitlines()[0].split(",").index("fer2013")
    assert [int(line.split(",")[column]) for line in dump.read_text().splitlines()[1:]] == top.tolist()


def test_the_calibration_error_is_that_of_the_shipped_calibration(tmp_path: Path) -> None:
    """Of PublicTest it is that of the half for choosing, and a wrong temperature in the .json shows in it."""
    faces = load(find_source(write_csv(tmp_path, training=7, public=140, private=70)))
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes((MODELS / "emotion.tflite").read_bytes())
    description = json.loads((MODELS / "emotion.json").read_text())
    description["heads"]["fer2013"]["temperature"] = 5.0
    wrong.with_suffix(".json").write_text(json.dumps(description))
    for split, unseen in ((PUBLIC, divide(faces).selection), (PRIVATE, faces[faces.splits == PRIVATE])):
        shown: list[str] = []
        evaluate.evaluate(wrong, faces[faces.splits == split], "auto", dump=None, show=shown.append)
        answers = published(Classifier(load_model(wrong)), unseen.images)["fer2013"]
        expected = calibration_error(unseen.labels, softmax(answers))
        assert f"  calibration_error {expected:.4f}" in shown[1]
        # Nothing is fitted on a split that took no part in the calibration.
        assert ("cross_fitted" in shown[1]) == (split == PUBLIC)


def test_the_calibration_error_leaves_out_the_half_that_was_fitted_on() -> None:
    """Three sure and right answers; of the two that calibration did not see, one has no label."""
    posteriors, labels = np.array([[0.8, 0.2]] * 3), np.array([0, 0, -1])
    measured = figures_of(posteriors, labels, unseen=labelled((np.array([1, 2]), np.array([0])), labels)[0])
    assert measured == pytest.approx({"accuracy": 1, "macro_f1": 0.5, "calibration_error": 0.2})


def test_a_split_that_the_data_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_csv(tmp_path, training=7, public=14)
    assert main(["evaluate", "--split", PRIVATE, "--data", str(data)]) == InputError.exit_code
    assert capsys.readouterr().err == f"quantization: {data / 'fer2013.csv'}: has no PrivateTest images\n"


def test_same_counts_differing_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("fer2013,ferplus\n1,2\n3,4\n")
    (tmp_path / "b.csv").write_text("fer2013,ferplus\n1,2\n3,5\n")
    shown: list[str] = []
    evaluate.compare_top_labels(tmp_path / "a.csv", tmp_path / "b.csv", shown.append)
    assert shown == ["fer2013  0 of 2 top labels differ", "ferplus  1 of 2 top labels differ"]


def test_dumps_of_different_lengths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("fer2013\n1\n3\n")
    (tmp_path / "b.csv").write_text("fer2013\n1\n")
    with pytest.raises(InputError, match="2 rows against 1"):
        evaluate.compare_top_labels(tmp_path / "a.csv", tmp_path / "b.csv", print)


def test_a_bare_int8_file_answers_as_the_same_file_through_the_classifier(tmp_path: Path) -> None:
    """`--compare` reads any .tflite file; without a .json it goes another way and must arrive at the same."""
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(load_model().content)
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    through, around = ask(MODELS / "emotion.tflite", images), ask(bare, images)
    for head, logits in through.items():
        np.testing.assert_allclose(around[head], logits, atol=1e-6)


def test_the_model_card_is_the_one_that_the_command_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    write_card(MODELS, root / "benchmarks" / "results", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == (root / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("name", ["near_twins.json", "crop_margin_tiny.json", "bias.json"])
def test_figures_of_another_model_are_not_put_into_the_card(tmp_path: Path, name: str) -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    for path in results.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    figures = json.loads((results / name).read_text()) | {"model_sha256": "0" * 64}
    (tmp_path / name).write_text(json.dumps(figures))
    with pytest.raises(InputError, match=rf"{name}: was measured with another (emotion|tiny)\.tflite"):
        write_card(MODELS, tmp_path, tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()


@pytest.mark.training
@pytest.mark.filterwarnings(KERAS_NOISE)
def test_folding_the_scaling_away_changes_no_answer() -> None:
    keras = pytest.importorskip("keras", reason="needs the train extra")
    from quantization.folding import fold_scaling
    from training.model import build
    from training.recipe import Network

    keras.utils.set_random_seed(2)
    model = build(Network(widths=(8, 16), blocks=(1, 1), stem_stride=1))
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1)).astype(np.float32)
    folded = fold_scaling(model)
    assert [layer.scale for layer in folded.layers if isinstance(layer, keras.layers.Rescaling)] == [1.0]
    before, after = model.predict(images, verbose=0), folded.predict(images, verbose=0)
    for head, logits in before.items():
        np.testing.assert_allclose(after[head], logits, atol=0.01 * np.abs(logits).max())


@pytest.mark.training
@pytest.mark.filterwarnings(KERAS_NOISE)
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras looks for it for tf2onnx
@pytest.mark.timeout(300)
def test_the_onnx_file_answers_as_the_float_model(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="needs the train extra")
    onnx = pytest.importorskip("onnx", reason="needs onnx and tf2onnx")
    pytest.importorskip("tf2onnx", reason="needs onnx and tf2onnx")
    from onnx.reference import ReferenceEvaluator

    from training.model import build
    from training.released import round_weights

    recipe = load_recipe(find_recipe("tiny"), network={"widths": (4, 8), "blocks": (1, 1)})
    (tmp_path / "config.yaml").write_text(recipe.model_dump_json())
    keras.utils.set_random_seed(4)
    model = build(recipe.network)
    model.save(tmp_path / "model.keras")
    assert main(["onnx", str(tmp_path)]) == 0
    round_weights(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1)).astype(np.float32)
    wanted = model(images, training=False)
    written = onnx.load(tmp_path / "model.onnx")
    answers = ReferenceEvaluator(written).run(None, {"images": images})
    for head, found in zip(("fer2013", "ferplus"), answers, strict=True):
        np.testing.assert_allclose(found, np.asarray(wanted[head]), atol=1e-4)
    assert json.loads(written.metadata_props[0].value)[3] == "happy"


@pytest.mark.training
@pytest.mark.shared
@pytest.mark.timeout(600)
@pytest.mark.parametrize("weights", sorted(WEIGHTS.glob("[et]*.npz")), ids=lambda path: path.stem)
def test_converting_the_released_weights_gives_the_shipped_file(weights: Path, fer2013: Faces, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs the train extra")
    from quantization.convert import quantized
    from training.released import read_weights

    training = divide(fer2013).training
    content = quantized(*read_weights(weights), training.images[representative(training)])
    shipped = load_model(MODELS / f"{weights.stem}.tflite").content
    # Names of tensors count how many networks were built before; everything that computes is the same.
    assert len(content) == pytest.approx(len(shipped), abs=2000)
    (tmp_path / "a.tflite").write_bytes(content)
    (tmp_path / "b.tflite").write_bytes(shipped)
    images = training.images[:300]
    again, before = ask(tmp_path / "a.tflite", images), ask(tmp_path / "b.tflite", images)
    for head, logits in before.items():
        np.testing.assert_array_equal(again[head], logits)


@pytest.mark.training
@pytest.mark.filterwarnings(KERAS_NOISE)
def test_folding_the_pooling_away_changes_no_answer() -> None:
    keras = pytest.importorskip("keras", reason="needs the train extra")
    from quantization.folding import fold_pooling
    from training.model import build
    from training.recipe import Network

    keras.utils.set_random_seed(3)
    model = build(Network(widths=(8, 16), blocks=(1, 1)))
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 1)).astype(np.float32)
    folded = fold_pooling(model)
    assert not any(isinstance(layer, keras.layers.GlobalAveragePooling2D) for layer in folded.layers)
    before, after = model.predict(images, verbose=0), folded.predict(images, verbose=0)
    for head, logits in before.items():
        np.testing.assert_allclose(after[head], logits, atol=1e-4)


@pytest.mark.training
@pytest.mark.filterwarnings(KERAS_NOISE)
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("trained_limit", "limit"), [(None, 6), (2.0, 2)])
def test_convert_makes_an_int8_file_that_agrees_with_the_float_one(
    tmp_path: Path, trained_limit: float | None, limit: float
) -> None:
    keras = pytest.importorskip("keras", reason="needs the train extra")
    pytest.importorskip("tensorflow", reason="needs the train extra")
    from training.model import build

    keras.utils.set_random_seed(1)
    network = {"widths": (8, 16), "blocks": (1, 1), "limit": trained_limit}
    recipe = load_recipe(find_recipe("tiny"), network=network)
    (tmp_path / "config.yaml").write_text(recipe.model_dump_json())  # JSON is YAML
    model = build(recipe.network)
    norm = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)][2]
    norm.gamma.assign(10 * norm.gamma)  # a branch that goes far beyond the 6 that its block can use
    model.save(tmp_path / "model.keras")
    data = write_csv(tmp_path, training=140, public=14)
    command = [sys.executable, "-m", "quantization", "convert", str(tmp_path), "--data", str(data)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"})
    images = load(find_source(data)).images[:50]
    exact, rounded = ask(tmp_path / "float.tflite", images), ask(tmp_path / "int8.tflite", images)
    assert set(exact) == set(rounded) == {"fer2013", "ferplus"}
    for head, logits in exact.items():
        spread = logits.max() - logits.min()
        assert np.abs(rounded[head] - logits).max() < 0.08 * spread
    _, interpreter = open_interpreter((tmp_path / "int8.tflite").read_bytes())
    steps = [tensor["quantization"][0] for tensor in interpreter.get_tensor_details()]
    assert pytest.approx(2 * limit / 255) in steps, "the branch is cut"
    assert (pytest.approx(6 / 255) in steps) == (trained_limit is None), "and so is every activation"
    operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert operations <= {"SUB", "CONV_2D", "ADD", "RESHAPE", "DELEGATE"}, "cutting costs nothing"
