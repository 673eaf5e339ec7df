"""A film is shown as players show it, at its own time, and the same file always gives the same windows."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest

from edge_agent.cameras import Picture, open_camera
from edge_agent.cameras.capture import LatestFrame
from edge_agent.cameras.film import pictures
from edge_agent.config import CameraConfig
from edge_agent.errors import InputError
from edge_agent.types import Frame
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import wait_until
from tests.support.faces import SHARED, shared

RATE = 30
FRAMES = 60
EVEN = [number / RATE for number in range(FRAMES)]
UNEVEN = [0.0, *np.cumsum(np.random.default_rng(1).uniform(0.01, 0.15, FRAMES - 1)).tolist()]
"""Seconds."""


def write_film(
    path: Path,
    times_s: Sequence[float] = (),
    *,
    sound_s: float = 0.0,
    pixel: Fraction = Fraction(1),
    turned_deg: int = 0,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """``FRAMES`` small pictures with a white upper left corner, at ``times_s``, by default ``RATE`` a second."""
    with av.open(str(path), "w", container_options=options or {}) as film:
        video = film.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base, video.codec_context.sample_aspect_ratio = Fraction(1, 1000), pixel
        sound = film.add_stream("aac", rate=44100) if sound_s else None
        if turned_deg and not hasattr(video, "set_display_rotation"):
            pytest.skip("this PyAV reads how a film is turned, and cannot write it")
        if turned_deg:
            video.set_display_rotation(turned_deg)
        for number, at_s in enumerate(times_s or EVEN):
            image = np.full((size[1], size[0], 3), 3 * number, np.uint8)
            image[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(at_s * 1000), Fraction(1, 1000)
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if sound is not None:
            _write_silence(film, sound, sound_s)
    return path


def _write_silence(film: av.container.OutputContainer, sound: av.AudioStream, sound_s: float) -> None:
    for number in range(int(sound_s * 44100 / 1024)):
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts, silence.time_base = 44100, number * 1024, Fraction(1, 44100)
        film.mux(sound.encode(silence))
    film.mux(sound.encode(None))


def read(source: Path | str, **settings) -> list[Picture]:
    """What the camera's process reads, without one."""
    return list(pictures(CameraConfig(backend="replay", source=str(source), **{"fps": 0, "loop": False, **settings})))


def times(found: Sequence[Picture]) -> list[float]:
    return [picture.at_s for picture in found]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_a_frame_carries_the_films_time(tmp_path, suffix):
    assert times(read(write_film(tmp_path / f"film{suffix}"))) == pytest.approx(EVEN, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_uneven_frame_rate_is_kept(tmp_path, suffix):
    assert times(read(write_film(tmp_path / f"film{suffix}", UNEVEN))) == pytest.approx(UNEVEN, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_film_that_begins_late_is_whole_and_begins_at_zero(tmp_path, suffix):
    film = write_film(tmp_path / f"film{suffix}", [5 + at_s for at_s in EVEN])
    assert times(read(film)) == pytest.approx(EVEN, abs=2e-3)


def test_what_an_edit_list_leaves_out_is_not_shown_and_not_missed(tmp_path):
    """What is before zero is for the decoder, as in a film that was cut without encoding it again."""
    film = write_film(tmp_path / "film.mp4", [at_s - 0.5 for at_s in EVEN], options={"avoid_negative_ts": "disabled"})
    assert len(read(film)) == FRAMES - 15


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_goes_on_for_longer_than_the_picture_cuts_nothing_off(tmp_path, suffix):
    assert len(read(write_film(tmp_path / f"film{suffix}", sound_s=10))) == FRAMES


def test_half_of_a_film_is_called_cut_off_also_beside_its_sound(tmp_path):
    film = write_film(tmp_path / "film.mkv", sound_s=2)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 3])
    with pytest.raises(InputError, match="is damaged or cut off"):
        read(film)


@pytest.mark.parametrize(("turned_deg", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_a_film_that_says_how_it_is_turned_is_shown_upright(tmp_path, turned_deg, corner):
    """As telephones take them. The number turns against the clock, so the white corner goes down first."""
    image = read(write_film(tmp_path / "film.mp4", turned_deg=turned_deg))[0].image
    assert image.shape == ((64, 48, 3) if turned_deg % 180 else (48, 64, 3))
    assert image[corner].min() > 200
    assert (image > 200).mean() < 0.2


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    assert read(write_film(tmp_path / "film.mp4", pixel=Fraction(4, 3)))[0].image.shape == (48, 85, 3)


def test_a_colon_in_a_films_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4").rename("10:30:00.mp4")
    assert len(read("10:30:00.mp4")) == FRAMES


def test_a_song_is_no_film(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as film:
        _write_silence(film, film.add_stream("aac", rate=44100), 1.0)
    with pytest.raises(InputError, match="holds no moving picture"):
        read(tmp_path / "song.mp4")


def test_a_folder_is_read_in_natural_order_without_hidden_files(tmp_path):
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7Mac OS X")
    found = read(tmp_path, fps=4)
    assert [int(picture.image[0, 0, 0]) for picture in found] == [1, 2, 10]
    assert times(found) == [0.0, 0.25, 0.5]


def test_of_a_films_second_as_many_pictures_are_looked_at_as_asked_for_at_any_speed(tmp_path):
    film = write_film(tmp_path / "film.mp4", [number / 15 for number in range(45)])
    for fps in (0, 100):
        config = CameraConfig(backend="replay", source=str(film), fps=fps, loop=False)
        with closing(open_camera(config, looks_per_s=5)) as camera:
            looks = times(list(iter(camera.read, None)))
        assert 14 <= len(looks) <= 16
        assert np.diff(looks)[1:] == pytest.approx(0.2, abs=0.001)


def test_null_reads_a_film_at_its_own_pace_and_a_number_at_that(tmp_path):
    film = write_film(tmp_path / "film.mp4", [0.0, 0.3, 1.2])
    for fps, took_s in ((None, 1.2), (10, 0.2)):
        with closing(open_camera(CameraConfig(backend="replay", source=str(film), fps=fps, loop=False))) as camera:
            camera.read()
            started_s = time.monotonic()
            while camera.read() is not None:
                pass
            assert took_s - 0.15 < time.monotonic() - started_s < took_s + 1.0


def test_frames_of_a_film_are_as_far_apart_in_every_run(tmp_path):
    """To the last bit, whatever the clock says: a limit that is met exactly is met in every run."""
    film = write_film(tmp_path / "film.mp4", UNEVEN)
    assert gaps(film) == gaps(film)


def gaps(film: Path) -> list[float]:
    latest = LatestFrame(CameraConfig(backend="replay", source=str(film), fps=0, loop=False), lambda *_: None)
    latest.start()
    frames: list[Frame] = []
    while not latest.ended:
        if frame := latest.get(1.0):
            frames.append(frame)
            time.sleep(0.001)
    return [b.captured_monotonic_s - a.captured_monotonic_s for a, b in itertools.pairwise(frames)]


def test_the_same_film_gives_the_same_windows_at_any_speed(tmp_path):
    film = write_film(tmp_path / "film.mkv", UNEVEN)
    windows = [windows_of(film, tmp_path / f"speed {fps}", fps) for fps in (0, 100, 20)]
    assert sum(frames for _, frames, *_ in windows[0]) == FRAMES
    assert len(windows[0]) == 5
    assert windows[0] == windows[1] == windows[2]


def windows_of(film: Path, folder: Path, fps: float) -> list[tuple]:
    """Length, frames, people and shares of each window."""
    folder.mkdir()
    path = configure(
        folder,
        camera={"source": str(film), "fps": fps, "loop": False},
        detector={"kind": "whole_frame"},
        mqtt={"enabled": False},
    )
    with AgentProcess("run", "-c", path, folder=folder) as agent:
        assert agent.process.wait(60) == 0, agent.log
    with closing(sqlite3.connect(folder / "windows.sqlite")) as store:
        return store.execute("SELECT window_s, frames, people, shares FROM windows ORDER BY seq").fetchall()


def test_a_decoder_that_crashes_ends_the_film_and_not_the_agent(tmp_path):
    """One line, exit code 3, and the window until then is kept."""
    film = write_film(tmp_path / "film.mp4")
    path = configure(
        tmp_path,
        camera={"source": str(film), "fps": 10, "loop": True},
        detector={"kind": "whole_frame"},
        window={"seconds": 600},
        mqtt={"enabled": False},
    )
    with AgentProcess("run", "-c", path, folder=tmp_path) as agent:
        wait_until(lambda: "camera running" in agent.log, 30)
        time.sleep(1.0)
        (reader,) = psutil.Process(agent.process.pid).children()
        assert reader.rlimit(psutil.RLIMIT_CORE) == (0, 0), "a core dump would have pictures"
        reader.send_signal(signal.SIGSEGV)
        assert agent.process.wait(20) == 3
    (told,) = [line for line in agent.log.splitlines() if "SIGSEGV" in line]
    assert told.startswith(f"edge-agent: replay: {film}: its process was ended by SIGSEGV")
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as store:
        ((frames,),) = store.execute("SELECT frames FROM windows").fetchall()
    assert frames > 1


def test_a_films_memory_does_not_grow_with_its_frames(tmp_path):
    film = write_film(tmp_path / "film.mkv", size=(1280, 720))
    with closing(open_camera(CameraConfig(backend="replay", source=str(film), fps=0))) as camera:
        reader, megabytes = psutil.Process(camera._camera._child.pid), []
        for count in (20, 35):
            for _ in range(count):
                camera.read()
            megabytes.append(reader.memory_info().rss / 1e6)
    assert megabytes[1] - megabytes[0] < 20


def test_an_odd_name_in_a_message_stays_on_its_line(tmp_path):
    with pytest.raises(InputError, match=r"no\\nfilm\\xe9\.mp4 does not exist"):
        read(tmp_path / os.fsdecode(b"no\nfilm\xe9.mp4"))


def test_a_long_gap_in_a_film_belongs_to_no_window(tmp_path):
    """As where a camera records only while something moves."""
    film = write_film(tmp_path / "film.mkv", [n / 10 for n in range(30)] + [60 + n / 10 for n in range(30)])
    windows = [(length_s, frames) for length_s, frames, *_ in windows_of(film, tmp_path / "gap", 0)]
    assert windows == [(1.0, 10)] * 5 + [(0.933, 10)]  # its last frame lasts a thirtieth of a second


@pytest.mark.shared
@pytest.mark.parametrize(("name", "frames"), [("rot90.mp4", 150), ("editlist.mp4", 90), ("pixfmt_change_720p.avi", 3)])
def test_films_of_the_field_are_read_whole(name, frames):
    """A telephone's, one that was cut without encoding it again, and one whose pixel format changes on the way."""
    assert len(read(shared(SHARED / "reports" / name))) == frames
