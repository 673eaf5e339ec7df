"""``edge-agent export``: the stored windows as CSV and JSON lines, with a running agent and without one."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from edge_agent.cli.export import Wanted, export, load_corrector
from edge_agent.cli.main import main
from edge_agent.config import Config
from edge_agent.errors import StoreError
from edge_agent.message import window_payload
from edge_agent.shares.pool import pooled
from edge_agent.store import open_store
from edge_agent.store.table import PLAIN, columns, csv_lines
from tests.support.windows import LABELS, make_report

START = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate({"device": {"id": "hall"}, "store": {"path": tmp_path / "windows.sqlite"}})


def fill(config: Config, count: int = 6) -> list[dict[str, object]]:
    """Windows of every kind, and their payloads; the store is closed again."""
    store = open_store(config.store, "session-1", "student-1")
    people = (5, None, 0)
    stored = [
        store.append(make_report(n, START + timedelta(seconds=10 * n), people=people[n % 3])) for n in range(count)
    ]
    store.close()
    return [window_payload(window, "hall") for window in stored]


def as_csv(config: Config, start: datetime | None = None, end: datetime | None = None) -> list[dict[str, str]]:
    target = io.StringIO()
    count = export(config, Wanted(start, end), target)
    rows = list(csv.DictReader(io.StringIO(target.getvalue())))
    assert count == len(rows)
    return rows


def test_csv_holds_each_window_s_figures_exactly(config: Config):
    payloads = fill(config)
    rows = as_csv(config)
    assert list(rows[0]) == columns(LABELS)
    for row, payload in zip(rows, payloads, strict=True):
        assert row["seq"] == str(payload["seq"])
        assert row["window_start"] == payload["window_start"]
        assert row["suppressed"] == ("true" if payload["suppressed"] else "false")
        shares = payload["percentages"]
        for label in LABELS:
            assert row[label] == ("" if shares is None else str(shares[label]))  # type: ignore[index]


def test_what_is_withheld_is_empty_and_not_zero(config: Config):
    fill(config)
    suppressed = [row for row in as_csv(config) if row["suppressed"] == "true"]
    assert len(suppressed) == 2
    for row in suppressed:
        assert {row[name] for name in ("people", "faces", "method", "happy", "happy_low", "happy_raw")} == {""}


def test_json_lines_are_the_payloads_of_mqtt(config: Config):
    payloads = fill(config)
    target = io.StringIO()
    assert export(config, Wanted(as_json=True), target) == 6
    assert [json.loads(line) for line in target.getvalue().splitlines()] == json.loads(json.dumps(payloads))


def test_a_range_takes_windows_from_its_start_up_to_its_end(config: Config):
    fill(config)
    rows = as_csv(config, START + timedelta(seconds=10), START + timedelta(seconds=30))
    assert [row["window_start"] for row in rows] == ["2026-03-01T12:00:10.000Z", "2026-03-01T12:00:20.000Z"]


def test_more_windows_than_one_read_takes_come_in_order(config: Config):
    fill(config, 1200)
    assert [int(row["seq"]) for row in as_csv(config)] == list(range(1, 1201))


def test_it_reads_beside_a_running_agent_and_changes_nothing(config: Config):
    store = open_store(config.store, "session-1", "student-1")
    try:
        store.append(make_report(1, START))
        before = config.store.path.read_bytes()
        assert len(as_csv(config)) == 1
        assert config.store.path.read_bytes() == before
        store.append(make_report(2, START + timedelta(seconds=10)))
        assert len(as_csv(config)) == 2
    finally:
        store.close()


def test_a_missing_store_is_a_clear_error_and_is_not_created(config: Config):
    with pytest.raises(StoreError, match="there is no store here"):
        as_csv(config)
    assert not config.store.path.exists()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_file_that_is_no_store_is_a_clear_error(config: Config, content: bytes):
    config.store.path.write_bytes(content)
    with pytest.raises(StoreError):
        as_csv(config)
    assert config.store.path.read_bytes() == content


@pytest.mark.parametrize("value", ["'[1, 2'", "CAST(x'5BFF5D' AS TEXT)"], ids=["cut", "no UTF-8"])
def test_a_damaged_window_is_left_out_alone_and_told(config: Config, caplog: pytest.LogCaptureFixture, value: str):
    fill(config)
    with sqlite3.connect(config.store.path) as sql:
        sql.execute(f"UPDATE windows SET shares = {value} WHERE seq = 1")
    sql.close()
    assert [row["seq"] for row in as_csv(config)] == ["2", "3", "4", "5", "6"]
    assert "1 windows are damaged" in caplog.text


def test_labels_that_a_window_does_not_have_are_empty(config: Config):
    store = open_store(config.store, "session-1", "student-1")
    stored = store.append(make_report(1, START))
    store.close()
    (header, line) = csv_lines([stored], (*LABELS, "contempt"), "hall")
    row = next(csv.DictReader(io.StringIO(header + line)))
    assert (row["contempt"], row["contempt_low"], row["contempt_raw"]) == ("", "", "")
    assert len(row) == len(PLAIN) + 5 * 8


def test_the_command_writes_a_file_or_to_standard_output(
    config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    payloads = fill(config)
    settings = tmp_path / "agent.yaml"
    settings.write_text(f"device: {{id: hall}}\nstore: {{path: {config.store.path}}}\n", encoding="utf-8")
    assert main(["export", "-c", str(settings), "-o", str(tmp_path / "all.csv")]) == 0
    assert "6 windows" in capfd.readouterr().out
    assert len((tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()) == 7
    assert main(["export", "-c", str(settings), "--json", "--from", "2026-03-01T12:00:50Z"]) == 0
    assert [json.loads(line)["seq"] for line in capfd.readouterr().out.splitlines()] == [payloads[5]["seq"]]


def test_the_command_s_failures_have_a_line_and_a_code_and_leave_no_half_file(
    config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    settings = tmp_path / "agent.yaml"
    settings.write_text(f"store: {{path: {config.store.path}}}\n", encoding="utf-8")
    assert main(["export", "-c", str(settings), "-o", str(tmp_path / "x.csv")]) == StoreError.exit_code
    assert "there is no store here" in capfd.readouterr().err
    fill(config)
    assert main(["export", "-c", str(settings), "-o", str(tmp_path / "none" / "x.csv")]) == StoreError.exit_code
    assert "cannot write the export" in capfd.readouterr().err
    assert not list(tmp_path.glob("**/*.part"))
    with pytest.raises(SystemExit) as stop:
        main(["export", "--from", "yesterday"])
    assert stop.value.code == 2


def test_hours_are_added_up_and_corrected_together(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What one model read is one group of the hour; withheld windows are counted and nothing more."""
    corrector = load_corrector(config)
    store = open_store(config.store, "session-1", corrector.model)
    rng = np.random.default_rng(1)
    groups = [rng.dirichlet(np.ones(len(LABELS)), 8) for _ in range(4)]
    for number, rows in enumerate(groups):
        shares = corrector.estimator.estimate(rows)
        report = make_report(number, START + timedelta(minutes=20 * number), people=8)
        store.append(replace(report, shares=shares))
    store.append(make_report(9, START + timedelta(minutes=5), people=None))
    store.close()
    settings = tmp_path / "agent.yaml"
    settings.write_text(f"store: {{path: {config.store.path}}}\n")
    assert main(["export", "-c", str(settings), "--bucket", "hour", "--json"]) == 0
    hours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(hour["start"], hour["windows"], hour["suppressed"], hour["people"]) for hour in hours] == [
        ("2026-03-01T12:00:00.000Z", 4, 1, 24),
        ("2026-03-01T13:00:00.000Z", 1, 0, 8),
    ]
    first = pooled([("hall", corrector.estimator.estimate(rows)) for rows in groups[:3]], corrector.estimator)
    assert hours[0]["percentages"] == first.percentages
    assert hours[0]["method"] == "adjusted_means"
    assert main(["export", "-c", str(settings), "--bucket", "day"]) == 0
    (day,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (day["start"], day["people"], day["suppressed"]) == ("2026-03-01T00:00:00.000Z", "32", "1")
    assert float(day["happy_low"]) <= float(day["happy"]) <= float(day["happy_high"])
