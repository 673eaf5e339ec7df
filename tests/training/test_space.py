"""Spaces of a search: the shipped ones load; wrong ones are refused by key before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from training.__main__ import main
from training.recipe import find_recipe, load_recipe
from training.tuning.space import SPACES, Parameter, changed, find_space, load_space

HEAD = "name: mine\nrecipe: quick\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in SPACES.glob("*.yaml")))
def test_shipped_spaces_load(name: str) -> None:
    space, recipe = load_space(find_space(name))
    assert space.name == recipe.name == name
    assert recipe.epochs == space.fixed["epochs"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "not YAML"),
        ("- a list", "valid dictionary"),
        ("parameters: {learning_rate: {low: 0.1}}", "parameters.learning_rate: .*give low and high, or choices"),
        ("parameters: {learning_rate: {choices: [0.1], low: 0.1, high: 1}}", "are not for choices"),
        ("parameters: {learning_rate: {low: 1, high: 0.1}}", "low must be less than high"),
        ("parameters: {momentum: {low: 0, high: 0.9, log: true}}", "log wants a low above 0"),
        ("parameters: {momentum: {choices: [0.9, 0.9]}}", "a choice is there twice"),
        ("parameters: {}", "parameters: .*at least 1 item"),
        ("sampler: grid\nparameters: {momentum: {low: 0, high: 0.9}}", "a grid needs choices, or a step, of momentum"),
        ("parameters: {learning_rates: {low: 0.1, high: 1}}", "parameters: learning_rates: Extra inputs"),
        ("parameters: {augmentation.shifts: {low: 0.1, high: 0.2}}", r"augmentation\.shifts: Extra inputs"),
        ("parameters: {momentum: {low: 0.5, high: 1.5}}", r"momentum: Input should be less than 1 \(got 1\.5\)"),
        ("parameters: {network.widths: {choices: [[8, 8]]}}", "2 widths and 4 blocks"),
        ("fixed: {epoch: 3}\nparameters: {momentum: {low: 0.5, high: 0.9}}", "fixed: epoch: Extra inputs"),
        ("objective: accuracy\nparameters: {momentum: {low: 0.5, high: 0.9}}", "objective: Input should be 'ferplus_"),
    ],
)
def test_a_wrong_space_is_refused_by_key(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text if text.startswith(("name", "-")) else HEAD + text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{reason}"):
        load_space(path)


def test_a_space_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "nowhere.yaml"]) == ConfigError.exit_code
    assert capsys.readouterr().err == "training: nowhere.yaml: cannot read the space: No such file or directory\n"


def test_keys_with_points_reach_into_a_recipe_and_mappings_change_only_what_they_name() -> None:
    quick = load_recipe(find_recipe("quick"))
    other = changed(quick, {"augmentation.camera.noise": 0.3, "network": {"dropout": 0.4}})
    assert other.augmentation.camera.noise == 0.3
    assert other.network == quick.network.model_copy(update={"dropout": 0.4})
    assert changed(other, {"augmentation.camera.noise": 0, "network.dropout": 0}) == quick


def test_a_grid_has_both_ends_and_no_rounding_in_its_steps() -> None:
    assert Parameter(low=0.1, high=0.5, step=0.1).grid() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert Parameter(low=8, high=32, step=8).grid() == [8, 16, 24, 32]
    assert Parameter(low=0.0, high=1.0).grid() is None
    lists = Parameter(choices=([8, 16], None))
    assert lists.grid() == ["[8, 16]", None]
    assert [lists.value(kept) for kept in lists.grid() or []] == [[8, 16], None]
