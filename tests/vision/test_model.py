"""The model's two files: what is wrong with them is said in one line before anything runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import ModelError
from edge_agent.vision.model import MODELS, default_model_path, load_model

SHIPPED = sorted(path.name for path in MODELS.glob("*.tflite"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the shipped model that a test may spoil."""
    for suffix in (".tflite", ".json"):
        shutil.copy(default_model_path().with_suffix(suffix), tmp_path)
    return tmp_path / default_model_path().name


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    description = json.loads(path.with_suffix(".json").read_text())
    change(description)
    path.with_suffix(".json").write_text(json.dumps(description))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_what_their_descriptions_say(name: str) -> None:
    model = load_model(MODELS / name)
    assert set(model.info.heads) == {"fer2013", "ferplus"}
    assert model.info.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    for head in model.info.heads.values():
        assert sum(head.prior) == pytest.approx(1, abs=1e-4)
        right = sum(head.confusion[i][i] for i in range(7))
        total = sum(sum(row) for row in head.confusion)
        assert right / total == pytest.approx(head.figures["accuracy"], abs=1e-4)


def test_the_shipped_model_is_the_default() -> None:
    assert load_model().path == default_model_path()


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.json: cannot read the model: No such file"):
        load_model(tmp_path / "nowhere.tflite")


def test_a_missing_tflite_beside_its_description_is_named(copy: Path) -> None:
    copy.unlink()
    with pytest.raises(ModelError, match=r"emotion\.tflite: cannot read the model: No such file"):
        load_model(copy)


def test_a_truncated_file_is_told_by_its_size(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"truncated: 1000 of \d+ bytes"):
        load_model(copy)


def test_another_kind_of_file_is_not_tflite(copy: Path) -> None:
    copy.write_bytes(b"\x89PNG" * copy.stat().st_size)
    with pytest.raises(ModelError, match="not a TFLite file"):
        load_model(copy)


def test_one_flipped_bit_is_found_by_the_hash(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[-1000] ^= 1
    copy.write_bytes(content)
    with pytest.raises(ModelError, match="sha256 begins"):
        load_model(copy)


def test_a_head_for_another_number_of_labels_is_refused(copy: Path) -> None:
    rewrite(copy, lambda description: description["labels"].pop())
    with pytest.raises(ModelError, match="is not made for 6 labels"):
        load_model(copy)


def test_a_default_head_that_is_not_there_is_refused(copy: Path) -> None:
    rewrite(copy, lambda description: description.update(default_head="affectnet"))
    with pytest.raises(ModelError, match="default_head 'affectnet' is none of"):
        load_model(copy)


def test_an_unknown_key_is_named(copy: Path) -> None:
    rewrite(copy, lambda description: description["input"].update(mean=127))
    with pytest.raises(ModelError, match=r"input\.mean: Extra inputs"):
        load_model(copy)


def test_a_description_that_is_no_json_is_refused(copy: Path) -> None:
    copy.with_suffix(".json").write_text("{labels: ")
    with pytest.raises(ModelError, match="Invalid JSON"):
        load_model(copy)


def test_crops_of_the_self_test_that_are_no_base64_are_refused(copy: Path) -> None:
    rewrite(copy, lambda description: description["self_test"].update(crops="???"))
    with pytest.raises(ModelError, match="not base64"):
        load_model(copy)
