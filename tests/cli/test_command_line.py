"""Numbers and times on the command line are judged before anything starts."""

from __future__ import annotations

import pytest

from edge_agent.cli.main import _parser


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("bench --frames 0", "'0' is wrong: must be a whole number from 1 to"),
        ("bench --frames=-3", "'-3' is wrong: must be a whole number from 1 to"),
        ("bench --frames many", "'many' is wrong: must be a whole number from 1 to"),
        ("bench --faces=-1", "'-1' is wrong: must be a whole number from 0 to"),
        ("bench --faces 1001", "'1001' is wrong: must be a whole number from 0 to"),
        ("bench --threads 1,1000000", "'1000000' is wrong: input should be less than or equal to 64"),
        ("bench --threads 0", "'0' is wrong: input should be greater than or equal to 1"),
        ("bench --threads 1,", "'' is wrong: input should be a valid integer"),
        ("bench --threads one", "'one' is wrong: input should be a valid integer"),
        ("demo --seconds nan", "'nan' is wrong: must be a number of seconds above 0"),
        ("demo --seconds inf", "'inf' is wrong: must be a number of seconds above 0"),
        ("demo --seconds=-1", "'-1' is wrong: must be a number of seconds above 0"),
        ("demo --seconds 0", "'0' is wrong: must be a number of seconds above 0"),
        ("demo --seconds soon", "'soon' is wrong: must be a number of seconds above 0"),
        ("export --from yesterday", "'yesterday' is wrong: must be an ISO 8601 time"),
        ("export --to 0001-01-01T00:00:00+14:00", "'0001-01-01T00:00:00+14:00' is wrong: must be an ISO 8601 time"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(
    arguments: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only parsed: a command that took it would start a million threads, say."""
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args(arguments.split())
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_what_makes_sense_is_taken() -> None:
    bench = _parser().parse_args(["bench", "--frames", "1", "--faces", "0", "--threads", "1,64"])
    assert (bench.frames, bench.faces, bench.threads) == (1, 0, (1, 64))
    assert _parser().parse_args(["demo", "--seconds", "0.5"]).seconds == 0.5
