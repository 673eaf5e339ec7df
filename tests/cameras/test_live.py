"""A live camera is paced in its process, and noticed when it freezes, changes its size or gives single pictures."""

from __future__ import annotations

import http.server
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import cv2
import numpy as np
import pytest

from edge_agent.cameras import open_camera
from edge_agent.cameras.capture import LatestFrame
from edge_agent.cameras.orient import orient
from edge_agent.cameras.pace import Pace
from edge_agent.cameras.reader import changing
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, CameraStalledError
from edge_agent.types import CameraState
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import free_port, wait_until
from tests.support.faces import astronaut_bgr
from tests.support.mjpeg import MjpegCamera, noisy
from tests.support.programs import require

SCENE = np.random.default_rng(2).integers(0, 255, (48, 64, 3), np.uint8)


def passed(times_s: Iterator[float] | list[float], fps: float) -> list[float]:
    pace = Pace(fps)
    return [at_s for at_s in times_s if pace.is_due(at_s)]


def test_a_pace_thins_a_faster_camera():
    assert len(passed([n / 30 for n in range(300)], 5)) == pytest.approx(50, abs=1)
    assert len(passed([n / 20 for n in range(200)], 15)) == pytest.approx(150, abs=1)


def test_a_pace_loses_nothing_of_a_camera_of_its_own_rate_that_jitters():
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, 300)
    times_s = [n / 15 + late_s for n, late_s in enumerate(jitter)]
    assert passed(times_s, 15) == times_s


def test_a_pace_lets_a_slow_camera_through_and_no_burst_after_a_gap():
    assert len(passed([n / 2 for n in range(20)], 15)) == 20
    assert len(passed([0.0, *(10 + n / 1000 for n in range(100))], 10)) == 3  # 10.0 and, half an interval early, 10.05
    assert len(passed([0.0] * 10, 0)) == 10


@pytest.mark.parametrize(("fps", "looks_per_s"), [(5, 0.0), (30, 5.0)])
def test_a_network_camera_is_thinned_to_the_pace_and_to_the_looks(fps, looks_per_s):
    stream = MjpegCamera(free_port(), fps=30, scene=SCENE).start()
    try:
        with closing(open_camera(CameraConfig(source=stream.url, fps=fps), looks_per_s)) as camera:
            camera.read()
            started_s = time.monotonic()
            for _ in range(10):
                camera.read()
            assert 1.5 < time.monotonic() - started_s < 4.0
    finally:
        stream.stop()


def test_a_pipeline_is_thinned_to_the_pace():
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    source = "videotestsrc pattern=snow is-live=true ! video/x-raw,framerate=30/1"
    config = CameraConfig(backend="gstreamer", source=source, width_px=64, height_px=48, fps=5)
    with closing(open_camera(config)) as camera:
        camera.read()
        started_s = time.monotonic()
        for _ in range(10):
            camera.read()
        assert 1.5 < time.monotonic() - started_s < 4.0


def test_the_very_same_picture_is_no_new_one():
    first, second = SCENE, SCENE ^ 1
    assert list(changing(iter([first, first]))) == []
    assert len(list(changing(iter([first, first, second, second, first, second])))) == 3


def test_a_frozen_stream_is_a_stall_and_gives_nothing_when_it_is_opened_again():
    stream = MjpegCamera(free_port(), scene=SCENE).start()
    states: list[CameraState] = []
    config = CameraConfig(source=stream.url, fps=20, stall_s=1.0)
    latest = LatestFrame(config, lambda state, _: states.append(state))
    latest.start()
    try:
        wait_until(lambda: CameraState.RUNNING in states, 20, "running")
        stream.pictures = stream.pictures[:1]
        wait_until(lambda: states[-1] is CameraState.STALLED, 20, "stalled")
        frozen = latest.captured
        time.sleep(3.0)  # it is opened again, and gives its one picture again
        assert states[-1] is CameraState.STALLED
        assert latest.captured == frozen
        stream.pictures = noisy(SCENE)
        wait_until(lambda: states[-1] is CameraState.RUNNING, 30, "running again")
    finally:
        stream.stop()
        latest.stop()


def test_pictures_of_another_size_are_an_error_that_names_both():
    stream = MjpegCamera(free_port(), scene=SCENE).start()
    try:
        with closing(open_camera(CameraConfig(source=stream.url, fps=20))) as camera:
            camera.read()
            stream.pictures = noisy(SCENE[::2, ::2])
            with pytest.raises(CameraError, match="size changed from 64x48 to 32x24"):  # noqa: PT012
                for _ in range(100):
                    camera.read()
    finally:
        stream.stop()


def test_one_person_stays_one_where_the_stream_changes_its_size(tmp_path):
    stream = MjpegCamera(free_port(), fps=10).start()
    path = configure(
        tmp_path,
        camera={"backend": "opencv", "source": stream.url, "fps": 10},
        window={"seconds": 600},
        mqtt={"enabled": False},
    )
    with AgentProcess("run", "-c", path, folder=tmp_path) as agent:
        wait_until(lambda: "camera running" in agent.log, 30)
        time.sleep(2.0)
        stream.pictures = noisy(cv2.resize(astronaut_bgr(), (320, 320)))
        wait_until(lambda: "size changed from 512x512 to 320x320" in agent.log, 30)
        wait_until(lambda: agent.log.count("camera running") == 2, 30)
        time.sleep(2.0)
        assert agent.stop() == 0
    stream.stop()
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as store:
        assert store.execute("SELECT people FROM windows").fetchall() == [(1,), (1,)]


@contextmanager
def snapshots(pictures: list[bytes]) -> Iterator[tuple[str, list[float]]]:
    """An address that gives one picture for each request, and when it was asked."""
    asked_s: list[float] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            picture = pictures[len(asked_s) % len(pictures)]
            asked_s.append(time.monotonic())
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/snapshot.jpg", asked_s
        server.shutdown()


@pytest.mark.parametrize(("fps", "interval_s"), [(2, 0.5), (15, 0.2)])
def test_the_address_of_a_single_picture_is_asked_again_and_again(fps, interval_s):
    with snapshots(noisy(SCENE)) as (url, asked_s), closing(open_camera(CameraConfig(source=url, fps=fps))) as camera:
        assert all(camera.read().image.shape == SCENE.shape for _ in range(5))
    assert (asked_s[-1] - asked_s[0]) / (len(asked_s) - 1) > interval_s * 0.7


def test_a_picture_that_never_changes_is_named_for_what_it_is(monkeypatch):
    monkeypatch.setattr("edge_agent.cameras.child.OPENING_S", 2.0)
    still = noisy(SCENE)[:1]
    with snapshots(still) as (url, _), pytest.raises(CameraStalledError, match="always the very same"):
        open_camera(CameraConfig(source=url, fps=5, stall_s=1.0))


def test_masks_are_black_in_the_turned_picture_and_leave_the_source_alone():
    image = np.full((40, 80, 3), 200, np.uint8)
    config = CameraConfig(rotate_deg=90, masks=((0.0, 0.0, 0.5, 0.25), (0.9, 0.9, 0.1, 0.1)))
    seen = orient(image, config)
    assert seen.shape == (80, 40, 3)
    assert (seen[:20, :20] == 0).all()
    assert (seen[72:, 36:] == 0).all()
    assert (seen > 0).sum() == 3 * (80 * 40 - 20 * 20 - 8 * 4)
    assert (image == 200).all()
    cut = orient(image, CameraConfig(masks=((0.0, 0.0, 0.5, 1.0),), region=(0.25, 0.0, 0.5, 1.0)))
    assert (cut[:, :20] == 0).all()
    assert (cut[:, 20:] == 200).all()


def test_masks_are_black_before_a_picture_leaves_the_cameras_process(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((40, 80, 3), 255, np.uint8))
    config = CameraConfig(backend="replay", source=str(tmp_path / "white.png"), masks=((0.5, 0.0, 0.5, 1.0),))
    with closing(open_camera(config)) as camera:
        for _ in range(3):
            image = camera.read().image
            assert (image[:, :40] == 255).all()
            assert (image[:, 40:] == 0).all()
