"""Nothing about a single person gets out: not by subtracting figures, not in a file, not in a message.

The argument that these tests check is in docs/privacy.md.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.cli.doctor.check import Status
from edge_agent.cli.doctor.privacy import examine
from edge_agent.config import Config, DetectorConfig, PrivacyConfig, WindowConfig
from edge_agent.detectors import load_detector
from edge_agent.shares.window import Window
from edge_agent.types import Box, EmotionScores, Face, Frame, TrackedFace, WindowReport
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import Pipeline
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber, free_port, wait_until
from tests.support.clocks import StandingClock
from tests.support.faces import astronaut_bgr
from tests.support.programs import require

INFO = load_model().info
ESTIMATOR = INFO.heads[INFO.default_head].share_estimator(INFO.labels)
SECONDS = 10.0
ROLLING_S = 45.0
Term = tuple[int, int]
"""(person, window): what one person showed in one window, the unit that must not be isolated."""


# -- subtracting published figures ------------------------------------------------------------------------------------


@dataclass
class Told:
    """Everything that a reader gets, and whose terms each figure was made from."""

    reports: list[WindowReport]
    sets: list[frozenset[Term]]


def tell(visits: list[set[int]], min_people: int, scores: dict[Term, np.ndarray]) -> Told:
    """Run the real window over these visits; ``scores`` holds everybody's posterior in each window."""
    window = Window(
        WindowConfig(seconds=SECONDS, rolling_s=ROLLING_S),
        PrivacyConfig(min_people=min_people),
        ESTIMATOR,
        clock=StandingClock(datetime(2026, 1, 1, tzinfo=timezone.utc)),
    )
    told = Told([], [])
    for index, people in enumerate(visits):
        ordered = sorted(people)
        window.count_frame(index * SECONDS)
        if ordered:
            tracked = [TrackedFace(Face(Box(0, 0, 50, 50), 0.9), person, person) for person in ordered]
            rows = np.stack([scores[person, index] for person in ordered]).astype(np.float32)
            window.add(
                tracked, EmotionScores(INFO.labels, rows), np.ones(len(ordered)), alive=np.ones(len(ordered), bool)
            )
        report = window.close((index + 1) * SECONDS)
        told.reports.append(report)
        if report.shares is not None:
            told.sets.append(frozenset((person, index) for person in ordered))
        if report.rolling is not None and report.rolling.shares is not None:
            told.sets.append(_rolling_terms(window))
    return told


def _rolling_terms(window: Window) -> frozenset[Term]:
    """Whose terms the rolling estimate holds now."""
    return frozenset(
        (person, round(cohort.entered_monotonic_s / SECONDS) - 1)
        for cohort in window.rolling_people.cohorts
        for person in cohort.people
    )


def atoms(sets: list[frozenset[Term]]) -> list[set[Term]]:
    """The finest groups that sums and differences of all figures can tell apart."""
    groups: dict[tuple[int, ...], set[Term]] = defaultdict(set)
    distinct = list(dict.fromkeys(sets))
    for term in frozenset().union(*distinct):
        groups[tuple(i for i, terms in enumerate(distinct) if term in terms)].add(term)
    return list(groups.values())


def random_scores(visits: list[set[int]], seed: int) -> dict[Term, np.ndarray]:
    rng = np.random.default_rng(seed)
    terms = [(person, index) for index, people in enumerate(visits) for person in sorted(people)]
    return {term: rng.dirichlet(np.full(len(INFO.labels), 0.5)) for term in terms}


VISITS = st.lists(st.sets(st.integers(1, 12), max_size=9), min_size=2, max_size=14)


@settings(max_examples=400, deadline=None)
@given(VISITS, st.integers(2, 4))
def test_no_sum_or_difference_of_figures_is_about_fewer_than_min_people(visits, min_people):
    """However people come, stay and go: every group that all published figures together can single out is large."""
    told = tell(visits, min_people, random_scores(visits, 0))
    for group in atoms(told.sets):
        assert len({person for person, _ in group}) >= min_people


@settings(max_examples=40, deadline=None)
@given(VISITS, st.integers(2, 4), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_exchanging_two_people_of_a_group_changes_no_figure(visits, min_people, seed, random):
    """The same said for any function of the figures, not just sums: nobody can tell which of a group showed what."""
    scores = random_scores(visits, seed)
    told = tell(visits, min_people, scores)
    groups = atoms(told.sets)
    if not groups:
        return
    first, second = random.sample(sorted(random.choice(groups)), 2)
    exchanged = {**scores, first: scores[second], second: scores[first]}
    for before, after in zip(told.reports, tell(visits, min_people, exchanged).reports, strict=True):
        _assert_same(before, after)


def _assert_same(before: WindowReport, after: WindowReport) -> None:
    """Equal to the last tenth of a point, except for the order of floating-point sums."""
    assert (before.people, before.faces, before.suppressed) == (after.people, after.faces, after.suppressed)
    pairs = [(before.shares, after.shares)]
    if before.rolling is not None and after.rolling is not None:
        pairs.append((before.rolling.shares, after.rolling.shares))
    for old, new in pairs:
        assert (old is None) == (new is None)
        if old is not None and new is not None:
            for name in ("percentages", "percentages_raw", "intervals"):
                old_values, new_values = (np.array(list(getattr(s, name).values())) for s in (old, new))
                assert np.abs(old_values - new_values).max() < 0.11


@settings(max_examples=200, deadline=None)
@given(VISITS, st.integers(2, 4))
def test_the_rolling_estimate_moves_only_with_enough_new_people(visits, min_people):
    """Between two different rolling figures at least min_people people have entered, each for the first time."""
    scores = random_scores(visits, 1)
    previous: frozenset[Term] = frozenset()
    for upto in range(1, len(visits) + 1):
        told = tell(visits[:upto], min_people, scores)
        rolling = told.reports[-1].rolling
        assert rolling is not None
        current = told.sets[-1] if rolling.shares is not None else frozenset()
        if rolling.shares is not None:
            people = [person for person, _ in current]
            assert len(people) == len(set(people)) == rolling.shares.people
        if current and current != previous:
            assert len(current - previous) >= min_people
        previous = current


def test_a_suppressed_window_leaves_no_trace():
    """Two people for an hour, then five: the rolling figure is about the five."""
    visits = [{1, 2}] * 5 + [{3, 4, 5, 6, 7}]
    told = tell(visits, 3, random_scores(visits, 2))
    assert [report.suppressed for report in told.reports] == [True] * 5 + [False]
    rolling = told.reports[-1].rolling
    assert rolling is not None
    assert rolling.shares is not None
    assert rolling.shares.people == 5


def test_a_single_newcomer_waits():
    """Four people known, one new: the rolling figure stays, for its change would be about one person."""
    visits = [{1, 2, 3, 4}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6, 7}]
    told = tell(visits, 3, random_scores(visits, 3))
    people = [report.rolling.shares.people for report in told.reports]
    assert people == [4, 4, 7]


def test_newcomers_wait_with_those_who_are_known_already():
    """Two known and five new: one of the five waits, so that the rest of the window is three, and enters afterwards."""
    visits = [{1, 2, 3}, {2, 3, 4, 5, 6, 7, 8}, {8, 9, 10, 11}]
    told = tell(visits, 3, random_scores(visits, 4))
    assert [report.rolling.shares.people for report in told.reports] == [3, 7, 11]


# -- what the running agent writes and sends --------------------------------------------------------------------------

SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG",
    "GIF": b"GIF8",
    "WebP": b"WEBP",
    "JPEG in base64": b"/9j/",
    "PNG in base64": b"iVBORw0K",
    "GIF in base64": b"R0lGOD",
    "RIFF in base64": b"UklGR",
}
WORDS = re.compile(
    rb'"(person|person_id|people_ids|track|track_id|tracks|face_id|id|box|boxes|landmarks|embedding)"\s*:'
)
NUMBER_LIST = re.compile(rb"(?:-?\d+(?:\.\d+)?\s*,\s*){48,}")
BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{512,}")


def traces_of_pictures(content: bytes, picture: np.ndarray) -> list[str]:
    """Everything in ``content`` that looks like an image, or is a piece of this one."""
    found = [name for name, mark in SIGNATURES.items() if mark in content]
    found += [f"{name} at {match.start()}" for name, pattern in (("numbers", NUMBER_LIST), ("base64", BASE64_RUN))
              if (match := pattern.search(content))]  # fmt: skip
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    for pixels, width in ((picture, 36), (grey, 24)):
        for row in pixels[60:200:4]:
            piece = row[200 : 200 + 24].tobytes()[:width]
            found += ["pixels"] * (piece in content)
    return found


def film(folder: Path, frames: int = 50) -> Path:
    """A folder of pictures in which one person stands still."""
    pictures = folder / "film"
    pictures.mkdir()
    for i in range(frames):
        assert cv2.imwrite(str(pictures / f"{i:03}.png"), np.roll(astronaut_bgr(), i, axis=1))
    return pictures


def test_the_search_for_pictures_finds_one():
    """A thumbnail in base64, a raw crop and a list of pixels would all be noticed."""
    picture = astronaut_bgr()
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    assert traces_of_pictures(b"..." + jpeg, picture)
    assert traces_of_pictures(b'{"thumbnail": "' + base64.b64encode(jpeg) + b'"}', picture)
    assert traces_of_pictures(grey[50:220, 150:300].tobytes(), picture)
    assert traces_of_pictures(json.dumps(grey[100, 200:260].tolist()).encode(), picture)
    assert WORDS.search(b'{"track_id": 7}')


@pytest.mark.timeout(240)
def test_nothing_that_is_published_or_stored_holds_a_picture_or_an_id(broker: Broker, tmp_path: Path):
    """A real agent with a real broker: every message, the store's files and the log, byte by byte."""
    path = configure(
        tmp_path,
        camera={"source": str(film(tmp_path)), "fps": 15},
        mqtt={"port": broker.port, "health_s": 1},
        log={"level": "debug"},
    )
    with Subscriber(broker.port, "#") as subscriber, AgentProcess("run", "-c", path, folder=tmp_path) as agent:
        subscriber.wait_for("/emotions", 3, 60)
        assert agent.stop() == 0, agent.log
    published = b"\n".join(message.payload for message in subscriber.messages)
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("windows.sqlite*"))
    assert b'"people":1' in published  # it did look at the face
    assert len(stored) > 4096
    for name, content in (("MQTT", published), ("store", stored), ("log", agent.log.encode())):
        assert traces_of_pictures(content, astronaut_bgr()) == [], name
    windows = b"\n".join(message.payload for message in subscriber.of("/emotions"))
    assert not WORDS.search(windows)


@pytest.mark.timeout(240)
def test_too_few_people_are_withheld_everywhere(broker: Broker, tmp_path: Path):
    """One person before a camera that wants three: the fact is told, and not one figure on any way out."""
    pytest.importorskip("starlette", reason="the extra kiosk is not installed")
    page = free_port()
    path = configure(
        tmp_path,
        camera={"source": str(film(tmp_path)), "fps": 15},
        mqtt={"port": broker.port},
        privacy={"min_people": 3},
        kiosk={"enabled": True, "port": page},
    )
    with (
        Subscriber(broker.port, "countenance/#") as subscriber,
        AgentProcess("run", "-c", path, folder=tmp_path) as agent,
    ):
        wait_until(lambda: any(m.json["suppressed"] for m in subscriber.of("/emotions")), 60, "a suppressed window")
        answers = {name: httpx.get(f"http://127.0.0.1:{page}{name}").text for name in WAYS_OUT}
        assert agent.stop() == 0, agent.log
    seen = [message.json for message in subscriber.of("/emotions") if message.json["suppressed"]]
    for message in seen:
        for name in ("people", "faces", "gated", "quality", "percentages", "percentages_raw", "intervals", "method"):
            assert message[name] is None
        assert figures_in(message) == []
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as database:
        rows = database.execute("SELECT faces, people, gated, shares FROM windows WHERE suppressed").fetchall()
    assert len(rows) >= len(seen)
    assert {value for row in rows for value in row} == {None}
    assert json.loads(answers["/api/current"])["state"] == "too_few"
    assert figures_in(json.loads(answers["/api/current"])) == []
    assert figures_in(json.loads(answers["/api/history"])) == []
    assert figures_in(list(csv.DictReader(answers["/api/windows.csv"].splitlines()))) == []
    assert "countenance_share_percent{" not in answers["/metrics"]
    # How often faces were read would be one person's time before the camera.
    assert 'countenance_stage_seconds_count{stage="read"}' in answers["/metrics"]
    assert not re.search(r'stage_seconds_\w+\{[^}]*stage="(track|crop|classify|window)"', answers["/metrics"])


@pytest.mark.parametrize(
    ("suppressed", "published", "told"),
    [(True, False, set()), (False, False, {"detect"}), (False, True, {"detect", "track", "crop"})],
    ids=["withheld", "nobody", "published"],
)
def test_of_withheld_people_no_stage_tells_how_long_it_took(suppressed: bool, published: bool, told: set[str]):
    heard = []
    config = Config()
    classifier = Classifier(load_model(None), "auto", 1, head=config.model.labels)
    window = Window(config.window, config.privacy, classifier.head.share_estimator(classifier.labels))
    detector = load_detector(DetectorConfig())
    pipeline = Pipeline(detector, classifier, window, observe=lambda stage, _: heard.append(stage))
    for number in range(3):
        pipeline.process(Frame(np.zeros((120, 160, 3), np.uint8), number / 10))
    assert heard == [], "while the window is open"
    pipeline.tell_timings(suppressed=suppressed, published=published)
    assert set(heard) == told
    heard.clear()
    pipeline.tell_timings(suppressed=False, published=True)
    assert heard == [], "a window tells once"


WAYS_OUT = ("/api/current", "/api/history", "/api/windows.csv", "/metrics")


def figures_in(value: object, name: str = "") -> list[str]:
    """Every place in a message where an emotion has a number."""
    if isinstance(value, dict):
        named = str(value.get("label") or value.get("emotion") or "")
        return [place for key, inner in value.items() for place in figures_in(inner, f"{name}.{named}.{key}")]
    if isinstance(value, list | tuple):
        return [place for inner in value for place in figures_in(inner, name)]
    about_emotion = any(label in name for label in INFO.labels) or "percent" in name or "share" in name
    return [f"{name} = {value}"] if about_emotion and re.fullmatch(r"-?\d+(\.\d+)?", str(value)) else []


def test_the_search_for_figures_finds_them():
    """In each form that a message may give them."""
    assert figures_in({"percentages": {"happy": 33.3}})
    assert figures_in({"emotions": [{"label": "happy", "percent": 33.3}]})
    assert figures_in([{"happy": "33.3", "people": ""}])
    assert figures_in({"people": 3, "window_s": 10.0}) == []


CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,"
    "memfd_create,connect"
)
WRITING = re.compile(r'open(?:at2?)?\((?:AT_FDCWD, |\d+(?:<[^>]*>)?, )?"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)')
MAKING = re.compile(r"(?:creat|mkdir|rename|link|symlink|mknod)(?:at2?)?\((.*)")
ADDRESS = re.compile(r"connect\(.*sa_family=(AF_\w+)(.*)")


@pytest.mark.timeout(240)
def test_the_agent_writes_its_store_and_nothing_else(broker: Broker, tmp_path: Path):
    """Every file that is opened for writing and every address that is connected to, as the kernel saw it."""
    strace = require("strace", "strace")
    path = configure(
        tmp_path, camera={"source": str(film(tmp_path)), "fps": 15, "loop": False}, mqtt={"port": broker.port}
    )
    trace = tmp_path / "trace"
    command = [strace, "-f", "-qq", "-s", "256", "-e", f"trace={CALLS}", "-o", str(trace)]
    agent = [sys.executable, "-B", "-m", "edge_agent", "run", "-c", str(path)]
    done = subprocess.run([*command, *agent], capture_output=True, timeout=200, text=True)
    if "ptrace" in done.stderr.lower() or "operation not permitted" in done.stderr.lower():
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    assert done.returncode == 0, done.stderr
    lines = [line for line in trace.read_text().splitlines() if not line.rstrip().endswith(")") and "= -1" not in line]
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM windows WHERE people = 1").fetchone()[0] > 0
    written = {match[1] for line in lines if (match := WRITING.search(line))}
    assert {name for name in written if not _expected(name, tmp_path)} == set()
    assert any(name.startswith(str(tmp_path / "windows.sqlite")) for name in written)
    assert [line for line in lines if MAKING.search(line) or "memfd_create" in line] == []
    _assert_only_the_broker(lines, broker.port)


def _expected(name: str, folder: Path) -> bool:
    """The store's own files, and devices that keep nothing."""
    return name.startswith(str(folder / "windows.sqlite")) or name in ("/dev/null", "/dev/tty")


def _assert_only_the_broker(lines: list[str], port: int) -> None:
    for line in lines:
        match = ADDRESS.search(line)
        if match is None or match[1] in ("AF_UNIX", "AF_UNSPEC"):
            continue
        assert f"sin_port=htons({port})" in match[2], line
        assert 'inet_addr("127.0.0.1")' in match[2], line


def test_doctor_reminds_of_the_place_until_its_owner_has_confirmed_it():
    """Not confirmed: a warning with what to do; confirmed, with a usual threshold: nothing to say."""
    config = Config(privacy=PrivacyConfig(min_people=1))
    warnings = [check for check in examine(config) if check.status is Status.WARNING]
    assert [check.name for check in warnings] == ["place of use", "small groups"]
    assert "privacy.acknowledged_use: true" in warnings[0].fix
    (check,) = examine(Config(privacy=PrivacyConfig(acknowledged_use=True)))
    assert check.status is Status.OK
