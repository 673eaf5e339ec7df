"""The bench runs the shipped model through the agent's own pipeline."""

import json

import pytest

from edge_agent.cli import bench
from edge_agent.cli.main import main
from edge_agent.config import Config

CONFIG = Config.model_validate({"camera": {"width_px": 320, "height_px": 240}})


@pytest.mark.parametrize("faces", [0, 1, 3])
def test_every_stage_is_timed_and_takes_no_longer_than_the_frame(faces: int) -> None:
    done = bench.run(CONFIG, threads=(1,), faces=faces, frames=10)
    (row,) = done.rows
    assert set(row.stages_ms) == set(bench.STAGES)
    assert row.stages_ms["detect"][0] > 0.05, "the real detector has worked"
    assert (row.stages_ms["classify"][0] > 0) == (faces > 0)
    # Not more than their sum: on a busy machine a frame of two milliseconds is often interrupted between its stages.
    assert sum(p50 for p50, _ in row.stages_ms.values()) < 1.5 * row.frame_ms[0]
    assert row.frames_per_s == pytest.approx(1000 / row.frame_ms[0])


def test_more_faces_are_more_work() -> None:
    one, eight = (bench.run(CONFIG, threads=(1,), faces=n, frames=20).rows[0].stages_ms["classify"] for n in (1, 8))
    assert eight[0] > 3 * one[0]


def test_the_table_says_where_and_on_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--threads", "1,2", "--frames", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "cores" in lines[0]
    assert "640x480" in lines[1]
    assert [line.split("|")[1].strip() for line in lines[5:]] == ["1", "2"]


def test_json_holds_a_row_for_each_number_of_threads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--threads", "1,2", "--frames", "5", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert [row["threads"] for row in done["rows"]] == [1, 2]
    assert done["machine"]["cores"] >= 1
    assert all(row["frame_ms"]["p50"] <= row["frame_ms"]["p95"] for row in done["rows"])
