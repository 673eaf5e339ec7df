"""Recipes: the shipped ones keep their promises of size; wrong ones are refused by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from training.__main__ import main
from training.data import SPLIT_SEED
from training.recipe import RECIPES, Recipe, find_recipe, load_recipe


@pytest.fixture(params=sorted(path.stem for path in RECIPES.glob("*.yaml")))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return load_recipe(find_recipe(request.param))


def test_shipped_recipes_load_and_keep_smoothing_small(recipe: Recipe) -> None:
    assert recipe.label_smoothing <= 0.05
    assert sum(recipe.head_weights.values()) == pytest.approx(1)


def test_the_split_that_older_runs_name_is_the_one_there_is() -> None:
    """`quantization` and the benchmarks take the halves of SPLIT_SEED; a run must not have chosen on others."""
    assert load_recipe(find_recipe("tiny"), split_seed=SPLIT_SEED) == load_recipe(find_recipe("tiny"))
    with pytest.raises(ConfigError, match=r"tiny\.yaml: split_seed: Extra inputs are not permitted \(got 7\)"):
        load_recipe(find_recipe("tiny"), split_seed=7)


def test_changes_replace_keys() -> None:
    assert load_recipe(find_recipe("tiny"), epochs=3).epochs == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "not YAML"),
        ("- a list", "a recipe is a mapping"),
        ("name: base\nepocs: 5", r"epocs: Extra inputs are not permitted \(got 5\)"),
        ("name: base\nmomentum: 1.5", r"momentum: Input should be less than 1 \(got 1\.5\)"),
        ("network: {widths: [8, 16], blocks: [1]}", "network: .*2 widths and 1 blocks; each stage has one of both"),
        ("network: {widths: [], blocks: []}", r"network\.widths: Tuple should have at least 1 item"),
        ("network: {widths: [8], blocks: [0]}", r"network\.blocks\.0: Input should be greater than 0"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{reason}"):
        load_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_the_command_says_who_refuses_and_ends_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "nowhere.yaml"]) == ConfigError.exit_code
    assert capsys.readouterr().err == "training: nowhere.yaml: cannot read the recipe: No such file or directory\n"
