"""A site's own calibration: what it is worth, what it keeps of people, and when it is refused or set aside."""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.cli.main import main
from edge_agent.config import Config
from edge_agent.errors import InputError
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.site import LEAST_FACES, LabelledFaces, Site, fit_site
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model, reading_id
from edge_agent.vision.site_file import read_site, site_in_use, site_path, write_site
from tests.shares.test_estimate import CLASSES, PRIOR, REFERENCE, draw_people
from tests.support.faces import SHARED, YUNET, shared
from tests.support.windows import LABELS

ESTIMATOR = ShareEstimator(LABELS, PRIOR, REFERENCE)
INFO = load_model().info


def faces_of(rng: np.random.Generator, count: int, tilt: np.ndarray) -> LabelledFaces:
    """Faces before a camera that adds ``tilt`` to every logit, asked for each emotion alike."""
    labels = np.arange(count) % CLASSES
    logits = np.log(draw_people(labels, rng)) + tilt
    return LabelledFaces(logits, labels, np.arange(count) // CLASSES)


def posteriors(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


TILT = np.array([1.5, 0.0, -1.5, 0.0, 1.0, 0.0, -1.0])


@pytest.fixture(scope="module")
def site() -> Site:
    faces = faces_of(np.random.default_rng(1), 210, TILT)
    return fit_site(faces, ESTIMATOR, INFO.sha256, head=INFO.default_head, seed=1)


def test_a_site_s_faces_put_its_camera_right(site: Site):
    """New people before the same camera are read far better, and intervals hold; the promised gain is real."""
    assert site.error_after < 0.8 * site.error_before
    rng, errors, held = np.random.default_rng(2), {"usual": [], "site": []}, []
    taught = ESTIMATOR.at_site(site.weights, site.reference)
    for _ in range(30):
        mix = rng.dirichlet(np.ones(CLASSES))
        labels = rng.choice(CLASSES, 200, p=mix)
        truth = 100 * np.bincount(labels, minlength=CLASSES) / 200
        logits = np.log(draw_people(labels, rng)) + TILT
        shares = taught.estimate(posteriors(site.reread(logits.astype(np.float32)).astype(np.float64)))
        for name, each in (("usual", ESTIMATOR.estimate(posteriors(logits))), ("site", shares)):
            errors[name].append(np.abs(np.array(list(each.percentages.values())) - truth).mean())
        low, high = np.array(list(shares.intervals.values())).T
        held.append((low <= truth) & (truth <= high))
    assert np.mean(errors["site"]) < 0.6 * np.mean(errors["usual"])
    assert np.mean(held) > 0.8


def test_it_keeps_seven_numbers_and_a_label_a_face_shuffled(site: Site, tmp_path: Path):
    """No picture, no time, no name, no person, and another order than that of the pictures."""
    path = tmp_path / "site.json"
    write_site(path, site)
    kept = json.loads(path.read_text())
    assert set(kept) == {"model_sha256", "head", "weights", "labels", "posteriors", "error_before", "error_after"}
    again = read_site(path)
    assert again is not None
    assert again.reference.posteriors.shape == (210, CLASSES)
    assert sorted(again.reference.labels) == sorted(np.arange(210) % CLASSES)
    assert (again.reference.labels != np.arange(210) % CLASSES).mean() > 0.5
    np.testing.assert_allclose(again.weights, site.weights)
    np.testing.assert_allclose(again.reference.posteriors, site.reference.posteriors, atol=1e-3)
    assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["site.json"]


def test_the_device_reads_with_it_and_says_so(site: Site, tmp_path: Path):
    """The same logits that evaluations calibrate, re-read; windows name the site, so that older ones stay apart."""
    path = tmp_path / "site.json"
    write_site(path, site)
    plain, read = Classifier(load_model()), Classifier(load_model(), site=path)
    crops = plain.model.self_test_crops()
    logits = plain.head.calibrated(plain.logits(crops))
    expected = posteriors(read_site(path).reread(logits).astype(np.float64))
    np.testing.assert_allclose(read.classify(crops).probabilities, expected, atol=1e-4)
    assert np.abs(read.classify(crops).probabilities - plain.classify(crops).probabilities).max() > 0.01
    assert read.id == f"{plain.id}+site@{read.site.id}"
    assert reading_id(INFO, "fer2013").endswith("+fer2013")


@pytest.mark.parametrize("change", [{"model_sha256": "0" * 64}, {"head": "fer2013"}])
def test_another_model_s_calibration_is_set_aside_and_said_so(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, str]
):
    path = tmp_path / "site.json"
    write_site(path, replace(site, **change))
    with caplog.at_level(logging.WARNING):
        assert site_in_use(path, INFO, INFO.default_head) is None
    assert "set aside" in caplog.text
    assert site_in_use(tmp_path / "none.json", INFO, INFO.default_head) is None


@pytest.mark.parametrize("text", ["", "{}", '{"model_sha256": 3}'])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str):
    path = tmp_path / "site.json"
    path.write_text(text)
    with pytest.raises(InputError, match="calibrate --remove"):
        read_site(path)


def test_few_faces_are_refused():
    with pytest.raises(ValueError, match=f"at least {LEAST_FACES}"):
        fit_site(faces_of(np.random.default_rng(3), LEAST_FACES - 1, TILT), ESTIMATOR, "", head="", seed=1)


@pytest.mark.shared
def test_a_folder_of_pictures_becomes_a_calibration_and_goes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Photos of part A2; and the same with labels that mean nothing are refused, and leave the file as it was."""
    monkeypatch.setattr("edge_agent.vision.sitting.secrets.randbits", lambda bits: 7)
    pictures = write_photos(tmp_path / "pictures", mixed=False)
    settings = tmp_path / "agent.yaml"
    settings.write_text(
        f"store: {{path: {tmp_path}/windows.sqlite}}\ndetector: {{kind: yunet, path: {shared(YUNET)}}}\n"
    )
    assert main(["calibrate", "-c", str(settings), str(pictures)]) == 0
    told = capsys.readouterr().out
    assert "points off with this calibration" in told
    path = site_path(Config.model_validate({"store": {"path": tmp_path / "windows.sqlite"}}))
    before = path.read_bytes()
    mixed = write_photos(tmp_path / "mixed", mixed=True)
    assert main(["calibrate", "-c", str(settings), str(mixed)]) == InputError.exit_code
    assert "no calibration: " in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["calibrate", "-c", str(settings), "--remove"]) == 0
    assert not path.exists()


def write_photos(folder: Path, mixed: bool) -> Path:
    """Photos of part A2 in folders by emotion, or by nothing."""
    with (shared(SHARED / "data" / "wild_faces_parts.csv")).open() as file:
        part = {row["image"] for row in csv.DictReader(file) if row["part"] == "A2"}
    names = ("anger", "happiness", "neutral", "sadness", "surprise")
    with zipfile.ZipFile(shared(SHARED / "data" / "wild_faces_dev.zip")) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"))))
        chosen = [r for n in names for r in [r for r in rows if r["image"] in part and r["emotion"] == n][:20]]
        for number, row in enumerate(chosen):
            name = names[number % len(names)] if mixed else row["emotion"]
            target = folder / name / row["image"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(f"images/{row['image']}"))
    return folder
