"""A search: real trials on a small set, by workers that share SQLite or a real PostgreSQL, one of them killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from edge_agent.errors import InputError
from tests.support.fer import write_csv
from tests.support.postgres import PASSWORD, postgres
from training.data import find_source
from training.recipe import load_recipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(1800)]
optuna = pytest.importorskip("optuna", reason="needs the tune extra")
pytest.importorskip("tensorflow", reason="needs the train extra")

EPOCHS = 3
SPACE = {
    "name": "small",
    "recipe": "quick",
    "fixed": {"epochs": EPOCHS, "batch_size": 28, "network": {"widths": [8], "blocks": [1]}},
    "parameters": {
        "learning_rate": {"low": 0.01, "high": 0.3, "log": True},
        "network.widths": {"choices": [[8], [12]]},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data"), training=140, public=70)


@pytest.fixture(scope="module")
def searched(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with two trials."""
    folder = tmp_path_factory.mktemp("search")
    run(write(folder), data, folder, trials=2)
    return folder


def write(folder: Path, **changes: object) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE | changes))
    return path


def run(space: Path, data: Path, folder: Path, *, trials: int | None, storage: str | None = None) -> str:
    from training.tuning.space import load_space
    from training.tuning.study import Search, tune

    search = Search(*load_space(space), find_source(data), folder)
    return tune(search, trials, storage).read_text()


def facts(space: Path, data: Path, folder: Path) -> dict[str, object]:
    from training.tuning.space import load_space
    from training.tuning.study import Search

    return Search(*load_space(space), find_source(data), folder).facts()


def command(space: Path, data: Path, folder: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "training", "tune", str(space), "--data", str(data), "--to", str(folder)]
    return [*program, *options]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PGPASSWORD": PASSWORD}


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder / 'study.db'}")


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def test_the_best_trial_becomes_a_recipe_that_fit_takes(searched: Path) -> None:
    best = study_in(searched).best_trial
    recipe = load_recipe(searched / "best.yaml")
    assert recipe == load_recipe(searched / best.user_attrs["folder"] / "config.yaml")
    assert recipe.learning_rate == best.params["learning_rate"]
    assert list(recipe.network.widths) == json.loads(best.params["network.widths"])
    history = json.loads((searched / best.user_attrs["folder"] / "history.json").read_text())
    assert best.value == history[-1]["selection_ferplus_entropy"]
    assert best.intermediate_values == {row["epoch"]: row["selection_ferplus_entropy"] for row in history}


def test_the_page_needs_no_other_file_and_says_what_chose(searched: Path) -> None:
    page = (searched / "index.html").read_text()
    names = {path.stem for path in searched.glob("*.png")}
    assert names >= {"history", "curves", "parameters"}
    assert page.count('src="data:image/png;base64,') == len(names) == page.count("src=")
    assert "2 trials of 3 epochs are complete, 0 were pruned" in page
    assert f"{study_in(searched).best_value:.4f}" in page
    assert re.search(r"On the other half of PublicTest, which chose nothing: fer2013 accuracy 0\.\d{4}", page)


def test_the_same_command_adds_only_what_is_missing(searched: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(searched, tmp_path / "again")
    run(folder / "space.yaml", data, folder, trials=2)
    assert states(study_in(folder)) == ["COMPLETE"] * 2


def test_a_trial_worse_than_the_median_is_pruned(searched: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(searched, tmp_path / "pruned")
    study = study_in(folder)
    template = study.get_trials()[0]
    for _ in range(5):
        study.add_trial(
            optuna.create_trial(
                value=0.001,
                params=template.params,
                distributions=template.distributions,
                user_attrs=template.user_attrs,
                intermediate_values=dict.fromkeys(range(1, EPOCHS + 1), 0.001),
            )
        )
    page = run(folder / "space.yaml", data, folder, trials=8)
    assert states(study_in(folder))[-1] == "PRUNED"
    assert len(study_in(folder).get_trials()[-1].intermediate_values) < EPOCHS
    assert "1 were pruned" in page


def test_a_grid_tries_every_combination_once(data: Path, tmp_path: Path) -> None:
    grid = {"momentum": {"choices": [0.5, 0.9]}, "network.widths": {"choices": [[8], [12]]}}
    space = write(tmp_path, sampler="grid", pruner="none", parameters=grid, fixed=SPACE["fixed"] | {"epochs": 1})
    page = run(space, data, tmp_path, trials=None)
    tried = {(t.params["momentum"], t.params["network.widths"]) for t in study_in(tmp_path).get_trials()}
    assert tried == {(m, w) for m in (0.5, 0.9) for w in ("[8]", "[12]")}
    assert states(study_in(tmp_path)) == ["COMPLETE"] * 4
    assert (tmp_path / "importance.png").is_file()
    assert "PED-ANOVA" in page


def test_a_study_stays_with_its_space_and_its_data(searched: Path, data: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{searched / 'study.db'}"
    other = write(tmp_path, fixed=SPACE["fixed"] | {"epochs": 2})
    with pytest.raises(InputError, match=r"study small was begun with another space, recipe; give the space another"):
        run(other, data, tmp_path, trials=3, storage=storage)
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="begun with another data_sha256"):
        run(searched / "space.yaml", write_csv(tmp_path / "data", training=70), tmp_path, trials=3, storage=storage)


def test_without_votes_the_objective_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(data / "fer2013.csv", tmp_path / "data")
    with pytest.raises(InputError, match=r"has no FER\+ votes; choose an objective that begins with fer2013"):
        run(write(tmp_path), tmp_path / "data", tmp_path, trials=1)


def test_a_killed_worker_s_trial_is_taken_up_where_it_was(data: Path, tmp_path: Path) -> None:
    """SIGKILL after an epoch: the same command waits until the silence is long enough, and goes on."""
    space = write(tmp_path, fixed=SPACE["fixed"] | {"epochs": 30})
    history = tmp_path / "trial-0000" / "history.json"
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command(space, data, tmp_path, "--trials", "1"), env=environment(), stderr=log)
    while not history.is_file() and worker.poll() is None:
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()[-500:]
    before = json.loads(history.read_text())
    again = command(space, data, tmp_path, "--trials", "1")
    subprocess.run(again, env=environment(), capture_output=True, check=True)
    assert 0 < len(before) < 30
    after = json.loads(history.read_text())
    assert after[: len(before)] == before
    assert [row["epoch"] for row in after] == list(range(1, 31))
    study = study_in(tmp_path)
    assert states(study) == ["FAIL", "COMPLETE"]
    assert study.get_trials()[0].params == study.get_trials()[1].params
    assert [path.name for path in tmp_path.glob("trial-*")] == ["trial-0000"]


def test_a_worker_that_was_taken_for_dead_leaves_its_trial_to_others(data: Path, tmp_path: Path) -> None:
    """As after a minute in which its machine did not answer: somebody else ends its trial while it works on it."""
    space = write(tmp_path, fixed=SPACE["fixed"] | {"epochs": 2})
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=storage, study_name="small").set_user_attr("facts", facts(space, data, tmp_path))

    def end_the_first() -> None:
        study = optuna.load_study(study_name="small", storage=storage)
        while not (running := study.get_trials(states=(optuna.trial.TrialState.RUNNING,))):
            time.sleep(0.01)
        study.tell(running[0].number, state=optuna.trial.TrialState.FAIL)

    other = threading.Thread(target=end_the_first)
    other.start()
    run(space, data, tmp_path, trials=1)
    other.join()
    assert states(study_in(tmp_path)) == ["FAIL", "COMPLETE"]


def test_two_workers_share_a_real_postgresql(data: Path, tmp_path: Path) -> None:
    """They start at once on an empty database, each with a folder of its own, as on two machines."""
    trials = 4
    with postgres() as storage:
        space = write(tmp_path, fixed=SPACE["fixed"] | {"epochs": 1})
        folders = [tmp_path / "one", tmp_path / "two"]
        workers = [
            subprocess.Popen(
                command(space, data, folder, "--trials", str(trials), "--storage", storage),
                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for folder in folders
        ]  # fmt: skip
        try:
            said = [worker.communicate() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        assert [worker.returncode for worker in workers] == [0, 0], said
        url = storage.replace("postgresql://searcher", f"postgresql+psycopg://searcher:{PASSWORD}")
        study = optuna.load_study(study_name="small", storage=url)
        assert states(study) == ["COMPLETE"] * trials
        made = [{path.name for path in folder.glob("trial-*")} for folder in folders]
        assert all(made), "both worked"
        assert made[0].isdisjoint(made[1])
        assert made[0] | made[1] == {trial.user_attrs["folder"] for trial in study.get_trials()}
        best = [(folder / "best.yaml").read_text() for folder in folders]
        assert best[0] == best[1]
        assert PASSWORD not in "".join(err for _, err in said)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (
            "postgresql://me:secret@127.0.0.1:1/search",
            r"postgresql://me:\*\*\*@127\.0\.0\.1:1/search: the storage failed",
        ),
        ("mysql://127.0.0.1/search", "searches are kept in sqlite:///FILE or postgresql://"),
        ("search.db", "is no address such as sqlite:///search.db"),
        ("sqlite:////no/such/folder/search.db", "the storage failed: unable to open database file"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(
    data: Path, tmp_path: Path, storage: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.__main__ import main

    options = [str(write(tmp_path)), "--data", str(data), "--to", str(tmp_path), "--storage", storage]
    assert main(["tune", *options]) == InputError.exit_code
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(said, line)
    assert "secret" not in line
