"""Maps of what answers hang on: they find the mouth, they need what the network learnt, and a page shows them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import InputError
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import MODELS, Model, load_model
from tests.support.faces import write_astronaut
from tests.support.fer import VOTES_HEADER, csv_row, votes_row
from training.data import EMOTIONS, PUBLIC, TRAINING, find_source, load

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras", "ignore::DeprecationWarning:shap"),
]
pytest.importorskip("shap", reason="needs the explain extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

SHOWN = ("happy", "surprise", "angry")
"""Emotions of the model's mean faces."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(MODELS / "emotion.tflite")


@pytest.fixture(scope="module")
def crops(model: Model) -> np.ndarray:
    """Mean faces and their mirror images, which are nobody's, (6, 48, 48)."""
    faces = model.self_test_crops()[..., 0]
    return np.concatenate([faces, faces[:, :, ::-1]])


@pytest.fixture(scope="module")
def data(crops: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy mean faces as a data set: 36 to train on, 12 public."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows, votes = ["emotion,pixels,Usage"], [VOTES_HEADER]
    for split, copies in ((TRAINING, 6), (PUBLIC, 2)):
        for number in range(len(crops) * copies):
            face = number % len(crops)
            noisy = np.clip(crops[face] + rng.normal(0, 8, crops[face].shape), 0, 255).astype(np.uint8)
            label = EMOTIONS.index(SHOWN[face % len(SHOWN)])
            rows.append(csv_row(label, noisy, split))
            votes.append(votes_row(label, split))
    (folder / "fer2013.csv").write_text("\n".join(rows) + "\n")
    (folder / "fer2013new.csv").write_text("\n".join(votes) + "\n")
    return folder


@pytest.fixture(scope="module")
def subject(model: Model):
    from quantization.explanations.maps import Subject
    from training.released import WEIGHTS, read_weights

    return Subject(read_weights(WEIGHTS / "emotion.npz")[0], Classifier(model))


@pytest.fixture(scope="module")
def answers(subject, crops: np.ndarray) -> np.ndarray:
    return subject.classifier.classify(crops[..., None]).probabilities.argmax(axis=1)


@pytest.fixture(scope="module")
def maps(subject, crops: np.ndarray, answers: np.ndarray):
    from quantization.explanations.maps import occlusion_maps, shap_maps

    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 48)).astype(np.uint8)
    background = np.concatenate([crops, noise])
    return (
        occlusion_maps(subject, crops, answers),
        shap_maps(subject, crops, answers, background=background, samples=150).maps,
        background,
    )


def test_both_ways_find_that_a_smile_hangs_on_the_mouth(subject, maps, answers: np.ndarray) -> None:
    happy = int(np.flatnonzero(answers == subject.labels.index("happy"))[0])
    for each in maps[:2]:
        assert each.shape[1:] == (12, 12)
        assert each[happy, 6:].mean() > each[happy, :6].mean()


def test_a_network_that_forgot_gives_other_maps(subject, maps, crops, answers, data: Path) -> None:
    """Adebayo et al. 2018: a map that outlives the weights would show the picture and not the network."""
    from quantization.explanations.checks import randomised, rank_correlations
    from quantization.explanations.maps import occlusion_maps, shap_maps
    from training.released import WEIGHTS, read_weights

    occlusion, shap, background = maps
    network, training = read_weights(WEIGHTS / "emotion.npz")[1], load(find_source(data))
    again = shap_maps(subject, crops, answers, background=background, samples=150, seed=1)
    itself = rank_correlations(shap, again.maps).mean()
    forgetful = randomised(subject, network, training[training.splits == TRAINING], heads_only=False)
    other = shap_maps(forgetful, crops, answers, background=background, samples=150)
    assert rank_correlations(shap, other.maps).mean() < itself - 0.3
    assert rank_correlations(occlusion, occlusion_maps(forgetful, crops, answers)).mean() < 0.5


def test_hiding_first_what_a_map_calls_important_hurts_more_than_at_random(subject, maps, crops, answers) -> None:
    from quantization.explanations.checks import deletion

    chance = np.random.default_rng(0).random(maps[0].shape).astype(np.float32)
    occlusion, at_random = (
        deletion(subject.classifier, crops, answers, importance=order) for order in (maps[0], chance)
    )
    assert occlusion.log_odds[0] == at_random.log_odds[0]
    assert occlusion.log_odds[-1] == pytest.approx(at_random.log_odds[-1])
    assert occlusion.area < at_random.area


def test_rank_correlation_is_spearmans(maps) -> None:
    from quantization.explanations.checks import rank_correlations

    first = maps[0]
    np.testing.assert_allclose(rank_correlations(first, np.exp(first)), 1)
    np.testing.assert_allclose(rank_correlations(first, -first), -1)


def test_the_page_has_means_faces_mistakes_a_photo_and_the_checks(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from quantization.__main__ import main

    photo = write_astronaut(tmp_path / "astronaut.png")
    options = ["--faces", "2", "--samples", "10", "--pictures", str(photo), "--to", str(tmp_path / "page")]
    assert main(["explain", "--data", str(data), *options]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page' / 'index.html'}\n"
    page = (tmp_path / "page" / "index.html").read_text()
    names = {path.stem for path in (tmp_path / "page").glob("*.png")}
    assert names >= {"means", "photo_0", "sanity", "deletion", *(f"faces_{emotion}" for emotion in SHOWN)}
    assert page.count('src="data:image/png;base64,') == len(names) == page.count("src=")
    assert "http" not in page
    assert re.search(r"same top label</td><td>\d+\.\d %", page)


def test_a_run_that_was_not_converted_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from quantization.__main__ import main

    assert main(["explain", str(tmp_path), "--data", str(data)]) == InputError.exit_code
    assert "run first: python -m quantization convert" in capsys.readouterr().err
