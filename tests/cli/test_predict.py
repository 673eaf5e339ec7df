"""`edge-agent predict` on real and on bad pictures, as a user calls it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.cli.main import main
from edge_agent.cli.predict import _meet, _room
from tests.support.faces import FACE_CENTRE, YUNET, astronaut_bgr, shared, write_astronaut
from tests.support.windows import LABELS


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_astronaut(tmp_path / "astronaut.png")


def answers(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("kind", ["built_in", "yunet"])
def test_a_smile_is_read_as_happy_where_it_is(picture, capsys, monkeypatch, kind):
    if kind == "yunet":
        monkeypatch.setenv("COUNTENANCE_DETECTOR__PATH", str(shared(YUNET)))
    assert main(["predict", str(picture), "--json", "--detector", kind]) == 0
    (answer,) = answers(capsys)
    assert answer["image"] == str(picture)
    assert answer["detector"] == kind
    (face,) = answer["faces"]
    x, y, width, height = face["box"]
    assert x < FACE_CENTRE[0] < x + width
    assert y < FACE_CENTRE[1] < y + height
    assert 0 < face["score"] <= 1
    assert tuple(face["probabilities"]) == LABELS
    assert sum(face["probabilities"].values()) == pytest.approx(1.0, abs=0.001)
    assert max(face["probabilities"], key=face["probabilities"].get) == "happy"
    assert sum(round(10 * share) for share in answer["percentages"].values()) == 1000


def test_a_picture_without_a_face_has_null_percentages(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((100, 100, 3), 128, np.uint8))
    assert main(["predict", str(tmp_path / "grey.png"), "--json"]) == 0
    (answer,) = answers(capsys)
    assert answer["faces"] == []
    assert answer["percentages"] is None


def test_bad_pictures_are_lines_on_stderr_and_the_rest_go_on(picture, tmp_path, capsys):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    names = [tmp_path / "empty.jpg", picture, tmp_path / "absent.jpg", tmp_path / "text.jpg", picture]
    assert main(["predict", "--json", *map(str, names)]) == 3
    out, err = capsys.readouterr()
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(picture)] * 2
    assert [str(name) in err for name in (names[0], names[2], names[3])] == [True] * 3


def test_the_whole_frame_reads_a_picture_that_is_a_face(tmp_path, capsys):
    x, y = FACE_CENTRE
    cv2.imwrite(str(tmp_path / "crop.png"), astronaut_bgr()[y - 60 : y + 60, x - 60 : x + 60])
    assert main(["predict", str(tmp_path / "crop.png"), "--json", "--detector", "whole_frame"]) == 0
    (answer,) = answers(capsys)
    assert answer["faces"][0]["box"] == [0, 0, 120, 120]
    assert max(answer["percentages"], key=answer["percentages"].get) == "happy"


def test_annotated_copies_show_a_box_and_leave_the_picture_alone(picture, tmp_path):
    before = picture.read_bytes()
    assert main(["predict", str(picture), "--annotate", str(tmp_path / "out")]) == 0
    (copy,) = (tmp_path / "out").iterdir()
    drawn = cv2.imread(str(copy))
    assert drawn.shape == (512, 512, 3)
    assert (np.abs(drawn.astype(int) - astronaut_bgr()) > 100).any(axis=2).sum() > 300
    assert picture.read_bytes() == before


@pytest.mark.parametrize("top", [0, 3, 60, 400])
def test_labels_stay_in_the_picture_and_off_each_other(top):
    """Also near the upper edge, and where people stand shoulder to shoulder."""
    faces = [(5 + 75 * column, top + 90 * row, 60, 80) for row in range(2) for column in range(6)]
    labels: list[tuple[int, int, int, int]] = []
    for x, y, width, height in faces:
        corner = _room((64, 14), (x, y, x + width, y + height), (460, 580), taken=labels)
        labels.append((*corner, 64, 14))
    assert all(x >= 0 and y >= 0 and x + w <= 460 and y + h <= 580 for x, y, w, h in labels)
    assert not any(_meet(a, b) for a, b in itertools.combinations(labels, 2))


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_folder_for_copies_that_cannot_be_is_told_before_any_work(picture, tmp_path, capsys, folder):
    (tmp_path / "file").touch()
    assert main(["predict", str(picture), "--annotate", str(tmp_path / folder)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge-agent: --annotate {tmp_path / folder}: cannot make this folder: ")
    assert len(err.splitlines()) == 1


def test_a_copy_that_cannot_be_written_is_a_line_on_stderr_and_the_rest_go_on(picture, tmp_path, capsys):
    """Here a folder is in the place of the first copy, and the second picture is too tall for a JPEG."""
    taken = tmp_path / "out" / "00000-astronaut.jpg"
    taken.mkdir(parents=True)
    tall = tmp_path / "tall.png"
    cv2.imwrite(str(tall), np.zeros((70_000, 40, 3), np.uint8))
    names = [picture, tall, picture]
    command = ["predict", "--json", "--annotate", str(tmp_path / "out")]
    assert main([*command, *map(str, names)]) == 3
    out, err = capsys.readouterr()
    assert [json.loads(line)["image"] for line in out.splitlines()] == list(map(str, names))
    lines = [line for line in err.splitlines() if line.startswith(str(tmp_path))]
    assert [line.split(":")[0] for line in lines] == [str(taken), str(tmp_path / "out" / "00001-tall.jpg")]
    assert (tmp_path / "out" / "00002-astronaut.jpg").is_file()


def test_the_same_picture_gives_the_same_bytes_in_every_call(picture):
    command = [sys.executable, "-m", "edge_agent", "predict", str(picture), "--json"]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second


def test_a_closed_pipe_ends_quietly(picture):
    command = f"{sys.executable} -m edge_agent predict --json {' '.join([str(picture)] * 40)} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_many_pictures_take_no_more_memory_than_few(picture):
    code = (
        "import resource, sys\n"
        "from edge_agent.cli.main import main\n"
        "main(['predict', *[sys.argv[1]] * int(sys.argv[2])])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )

    def peak_kb(count: int) -> int:
        command = [sys.executable, "-c", code, str(picture), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stderr.splitlines()[-1])

    assert peak_kb(60) < peak_kb(10) + 10_000


def test_names_of_any_bytes_are_read_and_printed_on_one_line(picture, tmp_path):
    """A name in Latin-1 under a UTF-8 locale; and one that would clear the terminal."""
    odd = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"new\nline.png", b"\x1b[2Jclear.png")]
    for path in odd:
        path.write_bytes(picture.read_bytes())
    command = [sys.executable, "-m", "edge_agent", "predict", "--detector", "whole_frame"]
    for locale in ("C.UTF-8", "C"):
        done = subprocess.run(
            [*command, *odd, tmp_path / os.fsdecode(b"not \xe9\n there")],
            capture_output=True,
            env={**os.environ, "LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8"},
        )
        assert done.returncode == 3
        lines = done.stdout.splitlines()
        assert [line.rpartition(b"/")[2].partition(b":")[0] for line in lines] == [
            rb"caf\xe9.png", rb"new\nline.png", rb"\x1b[2Jclear.png"
        ]  # fmt: skip
        assert rb"not \xe9\n there: cannot read the picture" in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr


def test_a_folder_is_read_in_natural_order_without_hidden_files(picture, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("10.png", "2.png", "1.png", "._1.png"):
        (folder / name).write_bytes(picture.read_bytes() if name[0] != "." else b"Mac OS X")
    assert main(["predict", "--json", "--detector", "whole_frame", str(folder)]) == 0
    assert [Path(answer["image"]).name for answer in answers(capsys)] == ["1.png", "2.png", "10.png"]
    (tmp_path / "empty").mkdir()
    assert main(["predict", "--detector", "whole_frame", str(tmp_path / "empty"), str(picture)]) == 3
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "empty: no picture in this folder" in err
