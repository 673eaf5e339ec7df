"""Training end to end on a small set: it learns, it is the same for the same seed, and a kill costs nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from edge_agent.errors import InputError
from tests.support.fer import write_csv
from training.data import divide, find_source, load
from training.metrics import softmax
from training.recipe import Recipe, find_recipe, load_recipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]
keras = pytest.importorskip("keras", reason="needs the train extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

EPOCHS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data"), training=280, public=70)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base`` in everything but size: mixup, dropout and averaging are what a resumed run could get wrong."""
    plain = yaml.safe_load(find_recipe("base").read_text())
    plain |= {
        "name": "small",
        "epochs": EPOCHS,
        "batch_size": 28,
        "ema_decay": 0.9,
        "network": {"widths": [8, 16], "blocks": [1, 1], "stem_stride": 2, "dropout": 0.2},
    }
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def fit_command(recipe: Path, data: Path, run: Path) -> list[str]:
    return [sys.executable, "-m", "training", "fit", str(recipe), "--data", str(data), "--run", str(run)]


def environment() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="module")
def finished(data: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(fit_command(recipe_file, data, run), check=True, env=environment(), capture_output=True)
    return run


def weights(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


def test_a_run_learns_and_says_how(finished: Path, data: Path) -> None:
    history = json.loads((finished / "history.json").read_text())
    facts = json.loads((finished / "run.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, EPOCHS + 1))
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["selection_fer2013_accuracy"] > 1 / 7
    assert facts["hyperparameters"]["learning_rate"] == load_recipe(find_recipe("base")).learning_rate
    assert isinstance(facts["git_dirty"], bool)
    assert set(facts["data_sha256"]) == {"fer2013.csv", "fer2013new.csv"}
    assert facts["images"] == {"training": 280, "selection": 35, "calibration": 35}
    assert list((finished / "tensorboard").rglob("events*"))


def test_a_killed_run_ends_as_one_that_was_not(finished: Path, data: Path, recipe_file: Path, tmp_path: Path) -> None:
    """SIGKILL after the second epoch; the same command continues, and ends with the same weights, bit for bit."""
    run = tmp_path / "killed"
    first = subprocess.Popen(fit_command(recipe_file, data, run), env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not ((run / "history.json").is_file() and len(json.loads((run / "history.json").read_text())) >= 2):
        assert time.monotonic() < deadline
        assert first.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(fit_command(recipe_file, data, run), check=True, env=environment(), capture_output=True)
    for whole, resumed in zip(weights(finished), weights(run), strict=True):
        np.testing.assert_array_equal(whole, resumed)


def test_the_report_is_one_file_that_needs_no_other(finished: Path, data: Path) -> None:
    """Every picture is inside the page and also next to it; nothing is loaded from elsewhere."""
    pytest.importorskip("matplotlib", reason="needs the train extra")
    from training.report import report

    page = report(finished, find_source(data), "PublicTest").read_text()
    names = {path.stem for path in (finished / "report").glob("*.png")}
    assert names >= {"learning_curves", "reliability", "confusion_fer2013", "mistakes_ferplus", "accuracy_by_agreement"}
    assert page.count('src="data:image/png;base64,') == len(names) == page.count("src=")
    assert "http" not in page
    links = re.findall(r'<a href="#([^"]+)">', page)
    assert len(links) >= 6
    assert all(f'<h2 id="{link}">' in page for link in links)


@pytest.mark.parametrize("mixup", [False, True])
def test_the_report_speaks_of_mixup_only_where_there_was_any(mixup: bool) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra")
    from training.plots import learning_curves

    figure = learning_curves([{"epoch": 1, "loss": 1.0}], mixup=mixup)
    assert ("mixup" in figure.axes[0].get_title()) == mixup


def test_the_page_of_the_data_counts_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra")
    from training.__main__ import main

    path = write_csv(tmp_path, training=70, public=28) / "fer2013.csv"
    rows = path.read_text().splitlines()
    rows[2] = rows[1].replace("0,", "3,", 1)  # the same picture under another label
    path.write_text("\n".join(rows) + "\n")
    assert main(["data", "--data", str(tmp_path), "--to", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page' / 'index.html'}\n"
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<td>all</td><td>70</td><td>28</td>" in page
    assert "<td>of these, under different labels</td><td>2</td>" in page
    assert "Label and majority agree on 99.0 % of the images." in page
    assert page.count("src=") == page.count('src="data:image/png;base64,') == 3


def test_averages_of_a_short_run_do_not_reach_back_to_its_beginning(recipe_file: Path) -> None:
    from training.train import _compiled

    recipe = load_recipe(recipe_file, epochs=2, ema_decay=0.999)
    assert _compiled(recipe, steps=10, taught=False).optimizer.ema_momentum == pytest.approx(1 - 3 / 20)
    long = load_recipe(recipe_file, epochs=400, ema_decay=0.999)
    assert _compiled(long, steps=10, taught=False).optimizer.ema_momentum == 0.999


def test_evaluate_names_a_split_that_the_data_lacks(finished: Path, data: Path) -> None:
    from training.evaluate import describe

    assert "fer2013  70 images" in describe(finished, find_source(data), "PublicTest")
    with pytest.raises(InputError, match="has no PrivateTest images"):
        describe(finished, find_source(data), "PrivateTest")


def test_another_recipe_may_not_go_on_in_a_run(finished: Path, data: Path, recipe_file: Path) -> None:
    from training.train import fit

    other = load_recipe(recipe_file, seed=99)
    with pytest.raises(InputError, match="begun with another recipe"):
        fit(other, find_source(data), finished, teachers=[])


def test_a_run_from_before_the_split_had_one_place_goes_on(
    finished: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Its recipe still names the seed of the split."""
    from training.train import fit

    run = shutil.copytree(finished, tmp_path / "older")
    with (run / "config.yaml").open("a") as config:
        config.write("split_seed: 2013\n")
    resumed = fit(load_recipe(recipe_file), find_source(data), run, teachers=[])
    for before, after in zip(weights(finished), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_more_epochs_go_on_with_a_finished_run_and_say_so(
    finished: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    from training.train import fit

    run = shutil.copytree(finished, tmp_path / "longer")
    fit(load_recipe(recipe_file, epochs=EPOCHS + 1), find_source(data), run, teachers=[])
    history = json.loads((run / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, EPOCHS + 2))
    assert history[:EPOCHS] == json.loads((finished / "history.json").read_text())
    note = json.loads((run / "run.json").read_text())["note"]
    assert note == f"the learning rate fell as in a run of {EPOCHS} epochs until epoch {EPOCHS}"
    with pytest.raises(InputError, match=f"has {EPOCHS + 1} epochs already, more than 1"):
        fit(load_recipe(recipe_file, epochs=1), find_source(data), run, teachers=[])


def test_a_run_goes_on_with_its_own_data_and_beginning(
    finished: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    from training.train import fit

    recipe = load_recipe(recipe_file)
    with pytest.raises(InputError, match=r"run\.json: this run was begun with other data; give the same"):
        fit(recipe, find_source(write_csv(tmp_path, training=287, public=70)), finished, teachers=[])
    with pytest.raises(InputError, match="begun with other weights"):
        fit(recipe, find_source(data), finished, teachers=[], begin_with=finished)


def test_a_beginning_that_nobody_described_is_refused(
    finished: Path, data: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """Weights that somebody copied by hand: the new run could not say what it came from."""
    from training.train import fit

    shutil.copy(finished / "model.keras", tmp_path)
    with pytest.raises(InputError, match=r"run\.json: is missing; the folder of --from"):
        fit(load_recipe(recipe_file), find_source(data), tmp_path / "new", teachers=[], begin_with=tmp_path)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        *((name, 1.5e6, 80e6) for name in ("base", "polish", "second")),
        ("tiny", 0.25e6, 12e6),
    ],
)
def test_shipped_networks_keep_their_promise_of_size(name: str, parameters: float, multiply_adds: float) -> None:
    from training import model

    built = model.build(load_recipe(find_recipe(name)).network)
    assert built.count_params() <= parameters
    assert model.multiply_adds(built) <= multiply_adds


def test_multiply_adds_are_counted_where_shapes_are_tuples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under JAX: 3 x 3 x 1 x 8 at 24 x 24 places and so on, by hand; TensorFlow's shapes count themselves."""
    from training import model
    from training.recipe import Network

    built = model.build(Network(widths=(8,), blocks=(1,)))
    shapes = {layer.name: tuple(layer.kernel.shape) for layer in built.layers if hasattr(layer, "kernel")}
    for kind in (keras.layers.Conv2D, keras.layers.Dense):
        monkeypatch.setattr(kind, "kernel", property(lambda layer: SimpleNamespace(shape=shapes[layer.name])))
    assert model.multiply_adds(built) == 24 * 24 * (3 * 3 * 8 + 2 * 3 * 3 * 8 * 8) + 2 * 8 * 7


def test_full_resolution_costs_four_times_as_much() -> None:
    """What base.yaml and docs/training.md say of the stem's stride."""
    from training import model

    network = load_recipe(find_recipe("base")).network
    half, full = (model.multiply_adds(model.build(network.model_copy(update={"stem_stride": s}))) for s in (2, 1))
    assert full / half == pytest.approx(4, abs=0.01)


def test_jax_trains_too(data: Path, recipe_file: Path, tmp_path: Path) -> None:
    """As the documentation advises for teachers on a GPU."""
    pytest.importorskip("jax", reason="needs jax")
    run = tmp_path / "run"
    command = [*fit_command(recipe_file, data, run), "--epochs", "2"]
    subprocess.run(command, check=True, env=environment() | {"KERAS_BACKEND": "jax"}, capture_output=True)
    assert json.loads((run / "run.json").read_text())["versions"]["keras_backend"] == "jax"
    first, second = json.loads((run / "history.json").read_text())
    assert second["loss"] < first["loss"]


def test_a_report_of_an_incomplete_run_names_what_is_missing(finished: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra")
    from training.report import report

    for name in ("history.json", "run.json", "config.yaml"):
        run = shutil.copytree(finished, tmp_path / name)
        (run / name).unlink()
        with pytest.raises(InputError, match=rf"{re.escape(name)}: No such file or directory; a run's folder must be"):
            report(run, find_source(data), "PublicTest")


def test_a_teacher_answers_for_an_image_as_for_its_mirror_image(finished: Path, data: Path, tmp_path: Path) -> None:
    from training.teachers import teach

    faces = load(find_source(data))[:14]
    mirrored = dataclasses.replace(faces, images=faces.images[:, :, ::-1])
    answers = {}
    for name, asked in (("as they are", faces), ("mirrored", mirrored)):
        (tmp_path / name).mkdir()
        answers[name] = teach([finished], asked, 3.0, cache=tmp_path / name)
    for head, soft in answers["as they are"].items():
        np.testing.assert_allclose(answers["mirrored"][head], soft, atol=1e-5)
        one_way = keras.saving.load_model(finished / "model.keras", compile=False).predict(
            faces.images[..., None].astype(np.float32), verbose=0
        )
        assert np.abs(softmax(one_way[head] / 3) - soft).max() > 1e-3, "the patterns look otherwise in a mirror"


def test_a_run_in_bfloat16_leaves_a_float32_model(data: Path, recipe_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe_file.read_text()) | {"precision": "mixed_bfloat16"}))
    run = tmp_path / "run"
    command = [*fit_command(recipe, data, run), "--epochs", "1"]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    model = keras.saving.load_model(run / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert np.isfinite(model.predict(np.zeros((1, 48, 48, 1), np.float32), verbose=0)["ferplus"]).all()


def test_a_student_learns_from_a_teacher(finished: Path, data: Path, recipe_file: Path, tmp_path: Path) -> None:
    """The teacher's answers are computed once, kept, and sum to 1; the student's run goes through."""
    run = tmp_path / "student"
    subprocess.run(
        [*fit_command(recipe_file, data, run), "--teacher", str(finished), "--epochs", "1"],
        check=True,
        env=environment(),
        capture_output=True,
    )
    with np.load(run / "teacher.npz") as kept:
        assert kept["fer2013"].shape == (280, 7)
        np.testing.assert_allclose(kept["ferplus"].sum(1), 1, atol=1e-4)
    assert len(json.loads((run / "history.json").read_text())) == 1
    # Without the teacher, or with another one, it does not go on.
    from training.train import fit

    recipe, source = load_recipe(recipe_file, epochs=1), find_source(data)
    for others in ([], [tmp_path / "another"]):
        with pytest.raises(InputError, match=rf"begun with other teachers \({re.escape(str(finished))}\)"):
            fit(recipe, source, run, teachers=others)
    assert fit(recipe, source, run, teachers=[finished]).output_names


def batches_of(recipe: Recipe, data: Path, first_epoch: int = 0) -> object:
    from training.batches import Batches

    return Batches(divide(load(find_source(data))).training, recipe, first_epoch=first_epoch)


def test_batches_of_a_later_epoch_do_not_depend_on_the_earlier_ones(data: Path, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    passed, jumped = batches_of(recipe, data), batches_of(recipe, data, first_epoch=2)
    passed.on_epoch_end()
    passed.on_epoch_end()
    np.testing.assert_array_equal(passed[3][0], jumped[3][0])
    assert (batches_of(recipe, data)[3][0] != jumped[3][0]).any()


def test_images_without_votes_do_not_teach_the_ferplus_head(data: Path, recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_bytes((data / "fer2013.csv").read_bytes())
    _, _, counted = batches_of(load_recipe(recipe_file), tmp_path)[0]
    assert counted["ferplus"].sum() == 0
    assert counted["fer2013"].sum() == 28


def test_distillation_with_the_students_own_answers_pulls_nowhere() -> None:
    """At weight 1 the loss is least, and flat, where student and teacher agree."""
    from training.losses import distilled
    from training.recipe import Distillation

    logits = np.random.default_rng(0).normal(0, 2, (4, 7)).astype(np.float32)
    powers = np.exp(logits / 3.0)
    wanted = np.concatenate([np.eye(7, dtype=np.float32)[[0, 1, 2, 3]], powers / powers.sum(1, keepdims=True)], 1)
    loss = distilled(Distillation(weight=1, temperature=3))
    same = np.array(loss(wanted, logits))
    for step in (-0.1, 0.1):
        assert (np.array(loss(wanted, logits + step * np.eye(7, dtype=np.float32)[[0, 1, 2, 3]])) > same).all()


def test_teachers_stop_when_their_minutes_are_over_and_continue(data: Path, recipe_file: Path, tmp_path: Path) -> None:
    """As documented for a GPU that is lent for ten minutes; here on the CPU, with two small teachers."""
    root = Path(__file__).parents[2]
    settings = {"TEACHERS": f"{recipe_file}:1 {recipe_file}:2", "PYTHON": sys.executable}

    def run(minutes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [root / "scripts" / "teachers", minutes, "--data", str(data), "--epochs", "1"],
            cwd=tmp_path, env=environment() | settings, capture_output=True, text=True, check=False,
        )  # fmt: skip

    over = run("0")
    assert over.returncode == 124
    assert f"0 minutes are over; the same command continues with {recipe_file}, seed 1" in over.stderr
    done = run("10")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "python -m training fit base --teacher runs/teachers/*" in done.stdout.replace(sys.executable, "python")
    taught = sorted((tmp_path / "runs" / "teachers").iterdir())
    assert [path.name for path in taught] == ["small-1", "small-2"]

    from training.teachers import teach

    faces = load(find_source(data))[:14]
    alone, both = [], tmp_path / "both"
    for number, teachers in enumerate(([taught[0]], [taught[1]])):
        (tmp_path / str(number)).mkdir()
        alone.append(teach(teachers, faces, 3.0, cache=tmp_path / str(number)))
    both.mkdir()
    for head, mean in teach(taught, faces, 3.0, cache=both).items():
        np.testing.assert_allclose(mean, (alone[0][head] + alone[1][head]) / 2, atol=1e-5)
