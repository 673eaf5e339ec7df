"""Windows: who counts, what is withheld, and that one window's figures never carry into the next."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from edge_agent.config import PrivacyConfig, WindowConfig
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.window import FrameRate, Window
from edge_agent.types import Box, EmotionScores, Face, TrackedFace
from tests.support.clocks import StandingClock
from tests.support.windows import LABELS

FPS = 15.0
PRIOR = (0.14, 0.015, 0.14, 0.25, 0.17, 0.115, 0.17)


def make_window(min_people: int = 3, rolling_s: float = 900.0, seconds: float = 10.0) -> Window:
    """A window that began at monotonic second 0."""
    return Window(
        WindowConfig(seconds=seconds, rolling_s=rolling_s),
        PrivacyConfig(min_people=min_people),
        ShareEstimator(LABELS, PRIOR),
        clock=StandingClock(datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)),
    )


def one_hot(emotion: str, sure: float = 0.94) -> np.ndarray:
    rest = (1 - sure) / (len(LABELS) - 1)
    return np.array([sure if label == emotion else rest for label in LABELS], dtype=np.float32)


def look(window: Window) -> None:
    """One more frame at :data:`FPS`, counted from the window's start."""
    window.count_frame(window.frames / FPS)


def see(window: Window, people: dict[int, str], frames: int = 1, weight: float = 1.0) -> None:
    """Show the same people for a number of frames."""
    tracked = [TrackedFace(Face(Box(0, 0, 50, 50), 0.9), person, person) for person in people]
    rows = np.stack([one_hot(emotion) for emotion in people.values()])
    for _ in range(frames):
        look(window)
        window.add(tracked, EmotionScores(LABELS, rows), np.full(len(people), weight), alive=np.ones(len(people), bool))


def test_an_empty_window_has_no_percentages():
    """Nobody seen is null, not zeros, and not suppressed."""
    window = make_window()
    look(window)
    report = window.close(10.0)
    assert (report.frames, report.faces, report.people, report.suppressed) == (1, 0, 0, False)
    assert report.shares is None
    assert report.window_s == 10.0


def test_a_person_counts_once_however_long_they_stay():
    """One person who stands still for the whole window weighs as much as one who passes by."""
    window = make_window(min_people=1)
    see(window, {1: "happy"}, frames=200)
    see(window, {2: "sad"}, frames=10)
    report = window.close(10.0)
    assert report.people == 2
    assert report.faces == 210
    assert report.shares is not None
    assert report.shares.percentages_raw["happy"] == pytest.approx(report.shares.percentages_raw["sad"], abs=0.11)


def test_too_few_people_are_withheld_completely():
    """Below min_people nothing but the fact is told: no shares, no counts, no reasons."""
    window = make_window(min_people=3)
    see(window, {1: "happy", 2: "sad"}, frames=20)
    window.gate("small", 9)
    report = window.close(10.0)
    assert report.suppressed
    assert report.shares is None
    assert report.people is None
    assert report.faces is None
    assert report.gated is None
    assert report.rolling is not None
    assert report.rolling.shares is None


def test_enough_people_are_published():
    """At min_people the window is published, with the gated faces by reason."""
    window = make_window(min_people=3)
    see(window, {1: "happy", 2: "sad", 3: "happy"}, frames=20)
    window.gate("small", 9)
    window.gate("small", 9)
    window.gate("turned", 9)
    report = window.close(10.0)
    assert not report.suppressed
    assert report.people == 3
    assert report.gated == {"small": 2, "turned": 1}
    assert report.shares is not None
    assert sum(report.shares.percentages.values()) == pytest.approx(100.0, abs=1e-9)


def test_a_face_that_flashes_up_is_no_person():
    """False detections flash up; they neither count nor lift a window over min_people."""
    window = make_window(min_people=3)
    see(window, {1: "happy", 2: "sad"}, frames=150)
    see(window, {3: "angry"}, frames=2)
    assert window.close(10.0).suppressed


def test_a_camera_that_comes_late_makes_no_false_face_a_person():
    """What counts is the frame rate while frames came, not how long the window waited for the camera."""
    window = make_window(min_people=3)
    see(window, {1: "happy", 2: "sad"}, frames=28)
    see(window, {3: "angry"}, frames=2)
    assert window.close(10.0).suppressed


@pytest.mark.parametrize(
    ("at_s", "fps"),
    [
        ([0, 1, 2], 1.0),
        ([0, 0.1, 5.1, 5.2], 10.0),
        ([0, 4, 8], 0.25),
        ([0, 2.2, 4.4, 4.44, 6.64], 1 / 2.2),
        ([0, 8, 8.1], 10.0),
        ([7], 0.0),
    ],
)
def test_gaps_and_bursts_are_no_part_of_the_frame_rate(at_s: list[float], fps: float):
    rate = FrameRate()
    for moment in at_s:
        rate.count(moment)
    assert rate.fps == pytest.approx(fps)


def test_without_a_frame_nobody_knows_whether_anybody_was_there():
    window = make_window(min_people=3)
    report = window.close(10.0)
    assert (report.frames, report.people, report.faces, report.suppressed, report.shares) == (
        0,
        None,
        None,
        False,
        None,
    )
    window.count_frame(11.0)
    report = window.close(20.0)
    assert (report.frames, report.people, report.faces) == (1, 0, 0)


def test_from_one_frame_a_second_on_a_single_sighting_does_not_count():
    window = make_window(min_people=1)
    for second in range(10):
        window.count_frame(float(second))
    flash = [TrackedFace(Face(Box(0, 0, 50, 50), 0.9), 1, 1)]
    window.add(flash, EmotionScores(LABELS, one_hot("happy")[None]), np.ones(1), alive=np.ones(1, bool))
    assert window.close(10.0).people == 0


def test_at_one_frame_in_many_seconds_one_sighting_counts():
    """A slow camera sees everybody once, and they count."""
    window = make_window(min_people=3)
    see(window, {1: "happy", 2: "sad", 3: "happy"}, frames=1)
    assert window.close(10.0).people == 3


def test_better_faces_weigh_more_within_a_person():
    """A person's posterior is the average over sightings, weighted by quality."""
    window = make_window(min_people=1)
    see(window, {1: "happy"}, frames=5, weight=0.9)
    see(window, {1: "sad"}, frames=5, weight=0.1)
    shares = window.close(10.0).shares
    assert shares is not None
    assert shares.percentages_raw["happy"] == pytest.approx(100 * (0.9 * 0.94 + 0.1 * 0.01), abs=0.11)


def test_boundaries_are_monotonic_and_the_start_is_utc_to_the_millisecond():
    """A window is due by the monotonic clock, and its stamp has no more than milliseconds."""
    window = make_window(seconds=10)
    assert not window.due(9.99, 10.0)
    assert window.due(10.0, 10.0)
    report = window.close(10.25)
    assert report.window_start == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
    assert (report.start_monotonic_s, report.window_s) == (0.0, 10.25)
    assert not window.due(20.2, 10.0)
    assert window.due(20.25, 10.0)


def test_the_next_window_begins_empty():
    """Nothing of one window is left in the next."""
    window = make_window(min_people=1)
    see(window, {1: "happy"}, frames=30)
    window.gate("small", 9)
    window.close(10.0)
    report = window.close(20.0)
    assert (report.frames, report.faces, report.people, report.gated) == (0, None, None, None)


def test_faces_that_are_left_out_are_not_told_when_nobody_counts():
    """They might be all of one person, who looks away."""
    window = make_window(min_people=3)
    for _ in range(150):
        look(window)
        window.gate("turned", 9)
    report = window.close(10.0)
    assert (report.people, report.suppressed, report.gated) == (0, False, None)


def test_a_restart_drops_what_was_seen():
    """After a pause the window begins again."""
    window = make_window(min_people=1)
    see(window, {1: "happy"}, frames=30)
    window.restart(50.0)
    report = window.close(60.0)
    assert (report.frames, report.people, report.window_s) == (0, None, 10.0)


def test_unequal_lengths_are_refused():
    """Faces, scores and weights belong together one by one."""
    window = make_window()
    tracked = [TrackedFace(Face(Box(0, 0, 50, 50), 0.9), 1, 1)]
    with pytest.raises(ValueError, match="zip"):
        window.add(tracked, EmotionScores(LABELS, np.stack([one_hot("happy")] * 2)), np.ones(1), alive=np.ones(1, bool))


def test_the_rolling_figure_stands_still_until_the_newest_of_it_is_too_old():
    """That some of its people are older is no reason to withdraw all; without newcomers it ends as a whole."""
    window = make_window(min_people=1, rolling_s=25.0)
    people: list[int | None] = []
    for visitors in ({1: "happy"}, {2: "sad"}, {}, {}, {}):
        if visitors:
            see(window, visitors, frames=30)
        rolling = window.close(10.0 * (len(people) + 1)).rolling
        assert rolling is not None
        people.append(None if rolling.shares is None else rolling.shares.people)
    assert people == [1, 2, 2, 2, None]


def test_rolling_off_is_no_field():
    """window.rolling_s: 0 switches the rolling estimate off."""
    window = make_window(rolling_s=0.0)
    assert window.close(10.0).rolling is None


def test_somebody_lost_and_found_again_does_not_pass_for_two():
    """Two people, one of whom got a second track: three tracks, but too few certain people to publish."""
    window = make_window(min_people=3)
    rows = np.stack([one_hot("happy"), one_hot("sad"), one_hot("happy")])
    for _ in range(30):
        look(window)
        faces = [
            TrackedFace(Face(Box(0, 0, 50, 50), 0.9), track, lineage) for track, lineage in ((1, 1), (2, 2), (3, 1))
        ]
        window.add(faces, EmotionScores(LABELS, rows), np.ones(3), alive=np.ones(3, bool))
    assert window.close(10.0).suppressed


def visit(window: Window, people: dict[int, str], alive: bool = True) -> None:
    """These people, and nobody else, for two seconds."""
    tracked = [TrackedFace(Face(Box(0, 0, 50, 50), 0.9), person, person) for person in people]
    rows = np.stack([one_hot(emotion) for emotion in people.values()])
    for _ in range(round(2 * FPS)):
        look(window)
        window.add(tracked, EmotionScores(LABELS, rows), np.ones(len(people)), alive=np.full(len(people), alive))


@pytest.mark.parametrize("visits", [3, 100])
def test_one_person_who_returns_is_one_person_however_long_the_window(visits):
    """Each time with a new number: nobody is recognised, and nobody counts twice towards min_people."""
    window = make_window(min_people=3, seconds=3600)
    for number in range(visits):
        visit(window, {number: "happy"})
    report = window.close(3600.0)
    assert report.suppressed
    assert report.rolling is not None
    assert report.rolling.shares is None


def test_two_who_take_turns_with_a_third_at_their_side_are_enough_only_together():
    """Never more than two at a time: withheld. Once all three are seen at the same time: published."""
    window = make_window(min_people=3, seconds=3600)
    for number in range(0, 10, 2):
        visit(window, {100: "happy", number: "sad"})
    assert window.close(3600.0).suppressed
    visit(window, {100: "happy", 1: "sad"})
    visit(window, {100: "happy", 2: "sad", 3: "angry"})
    assert window.close(7200.0).people == 4


def test_photographs_do_not_count_and_hide_nobody():
    """Two photographs and a visitor are one person; three people before them are published without them."""
    window = make_window(min_people=3)
    visit(window, {1: "happy", 2: "happy"}, alive=False)
    visit(window, {3: "sad"})
    assert window.close(10.0).suppressed
    visit(window, {1: "happy", 2: "happy"}, alive=False)
    visit(window, {3: "sad", 4: "sad", 5: "sad"})
    report = window.close(20.0)
    assert report.people == 3
    assert report.shares is not None
    assert report.shares.percentages_raw["happy"] < 2


def test_a_window_of_many_groups_forgets_the_small_ones():
    """Memory is bounded, and the largest group is what decides."""
    window = make_window(min_people=3, seconds=3600)
    for number in range(0, 1200, 2):
        visit(window, {number: "happy", number + 1: "sad"})
        if number == 0:
            visit(window, {5000: "happy", 5001: "sad", 5002: "sad"})
    assert len(window._together) <= 500
    assert not window.close(3600.0).suppressed


def test_where_most_are_tilted_nobody_is_read():
    """The few of an upside-down crowd who pass for upright are mistakes."""
    window = make_window(min_people=3)
    for _ in range(30):
        for track in range(4, 8):
            window.gate("tilted", 9)
            window.lean(track, -3.0)
        for track in range(1, 4):
            window.lean(track, 1.0)
    see(window, {1: "neutral", 2: "neutral", 3: "neutral"}, frames=30)
    report = window.close(10.0)
    assert (report.people, report.shares, report.gated) == (0, None, None)


def test_three_who_pass_for_upright_do_not_turn_a_camera_that_hung_wrong():
    """By chance a window of an upside-down camera may look right; those before it tell. Put right, it soon recovers."""
    window = make_window(min_people=3, seconds=10)

    def people_of(number: int, odds: float) -> int | None:
        for track in range(5 * number + 1, 5 * number + 6):
            for _ in range(10):
                window.lean(track, odds)
        see(window, dict.fromkeys(range(5 * number + 1, 5 * number + 6), "neutral"), frames=30)
        return window.close(10.0 * (number + 1)).people

    assert [people_of(number, -1.5) for number in range(3)] == [0] * 3
    assert people_of(3, 4.0) == 0
    assert [people_of(number, 4.0) for number in range(4, 8)][-1] == 5


def test_one_who_lies_is_no_reason_to_read_nobody():
    window = make_window(min_people=3)
    for _ in range(30):
        window.lean(9, -4.0)
        for track in range(1, 5):
            window.lean(track, 4.0)
    see(window, {1: "neutral", 2: "neutral", 3: "neutral", 4: "happy"}, frames=30)
    assert window.close(10.0).people == 4


def test_a_photograph_that_is_alive_while_somebody_passes_does_not_count():
    """The tracker gave it the number of whoever stood before it, for a moment."""
    window = make_window(min_people=3)
    for _ in range(20):
        window.gate("still", 3)
    visit(window, {1: "happy", 2: "happy", 3: "sad"})
    assert not window.close(10.0).suppressed
    for _ in range(60):
        window.gate("still", 3)
    visit(window, {1: "happy", 2: "happy", 3: "sad"})
    assert window.close(20.0).suppressed
