"""Every camera that can run here gives frames, says why when it cannot, and can always be closed."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import psutil
import pytest

from edge_agent.cameras import gstreamer, open_camera
from edge_agent.cameras.capture import LatestFrame
from edge_agent.cameras.child import HEAD, ChildCamera
from edge_agent.cameras.orient import orient
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, CameraStalledError, InputError, MissingPackageError
from edge_agent.types import CameraState
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import free_port, wait_until
from tests.support.faces import write_astronaut
from tests.support.mjpeg import MjpegCamera
from tests.support.programs import require

CAPTURES_AND_STREAMS = struct.pack("16s 32s 32s 3I 12x", b"uvcvideo", b"Camera", b"usb", 0x60C00, 0x84200001, 0x4200001)
"""What VIDIOC_QUERYCAP answers of a USB camera."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_astronaut(tmp_path / "astronaut.png")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Ten frames of grey values 0, 20, 40, ... as a lossless-enough MJPEG film."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for value in range(0, 200, 20):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    return path


def replay(source: Path, **settings) -> CameraConfig:
    return CameraConfig(backend="replay", source=str(source), **{"fps": 0, **settings})


def read_all(config: CameraConfig) -> list[np.ndarray]:
    images = []
    with closing(open_camera(config)) as camera:
        while (picture := camera.read()) is not None:
            images.append(picture.image)
    return images


def test_replay_gives_a_picture_once_or_for_ever(picture):
    assert len(read_all(replay(picture, loop=False))) == 1
    with closing(open_camera(replay(picture, loop=True))) as camera:
        assert [camera.read().image.shape for _ in range(5)] == [(512, 512, 3)] * 5


def test_replay_gives_a_folder_in_the_order_of_names(tmp_path):
    for name, value in (("b.png", 2), ("a.png", 1), ("c.png", 3)):
        cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [image[0, 0, 0] for image in read_all(replay(tmp_path, loop=False))] == [1, 2, 3]


def test_replay_gives_a_film_to_its_end_and_loops_it(film):
    values = [round(float(image.mean()) / 20) for image in read_all(replay(film, loop=False))]
    assert values == list(range(10))
    with closing(open_camera(replay(film, loop=True))) as camera:
        looped = [camera.read() for _ in range(11)]
    assert round(float(looped[-1].image.mean()) / 20) == 0
    assert [round(picture.at_s, 3) for picture in looped] == [number / 10 for number in range(11)]


def test_replay_keeps_the_pace(picture):
    with closing(open_camera(replay(picture, fps=50))) as camera:
        camera.read()
        started = time.monotonic()
        for _ in range(10):
            camera.read()
    assert 0.15 < time.monotonic() - started < 2.0  # 0.2 s, and a busy machine


def test_replay_refuses_what_it_cannot_read(tmp_path, film):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "broken.mp4").write_bytes(film.read_bytes()[:100])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for source, reason in (("absent", "does not exist"), ("empty", "no picture"), ("broken.mp4", "nor a film")):
        with pytest.raises(InputError, match=reason):
            open_camera(replay(tmp_path / source)).read()
    with pytest.raises(InputError, match=r"broken\.png"):
        open_camera(replay(tmp_path / "broken.png")).read()


def test_a_film_that_is_damaged_in_the_middle_gives_its_readable_frames(film):
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    film.write_bytes(data)
    assert 3 <= len(read_all(replay(film, loop=False))) <= 10


def cut_film(folder: Path, suffix: str, codec: str) -> Path:
    """The first half of the file of a film of 60 frames."""
    path = folder / f"cut{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 30, (64, 48))
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    for step in range(60):
        writer.write(np.roll(noise, step, 1))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "XVID"), (".webm", "VP80")])
def test_a_film_that_is_cut_off_gives_its_frames_and_ends_with_an_error(tmp_path, suffix, codec):
    frames = 0
    film = replay(cut_film(tmp_path, suffix, codec), loop=False)
    with closing(open_camera(film)) as camera, pytest.raises(InputError) as caught:  # noqa: PT012
        while camera.read() is not None:  # it may only be raised after the last frame
            frames += 1
    assert 10 < frames < 45
    assert f"cut{suffix} is damaged or cut off: {frames} frames (" in str(caught.value)


def test_a_film_that_is_cut_off_loops_with_one_warning(tmp_path, caplog):
    with closing(open_camera(replay(cut_film(tmp_path, ".avi", "MJPG"), loop=True))) as camera:
        assert all(camera.read() is not None for _ in range(150))
    (record,) = caplog.records
    assert "is damaged or cut off" in record.message


def test_a_whole_film_of_uneven_pace_is_not_taken_for_a_cut_one(tmp_path):
    """Its file tells no number of frames, only its length and the rate that was never reached."""
    gst_launch = require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    require_element("vp8enc")
    pipeline = (
        "videotestsrc num-buffers=60 ! video/x-raw,width=64,height=48,framerate=30/1 ! identity drop-probability=0.5 "
        f"! vp8enc ! webmmux ! filesink location={tmp_path}/film.webm"
    )
    subprocess.run([gst_launch, "-q", *pipeline.split()], check=True)
    assert 15 < len(read_all(replay(tmp_path / "film.webm", loop=False))) < 45


BALL_ON_RED = "videotestsrc pattern=ball background-color=0xffff0000 foreground-color=0xff000000"
"""Something has to move: the same picture again and again is a stall."""


def is_red(image: np.ndarray) -> bool:
    """Whether the last of BGR is the only strong one, and so in every column: then the stride is right."""
    blue, _, red = image.max(axis=0).T
    return bool((red > 200).all() and (blue < 60).all())


@pytest.mark.parametrize("width", [320, 322, 321])
def test_gstreamer_gives_frames_of_any_width(width):
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    config = CameraConfig(
        backend="gstreamer", source=f"{BALL_ON_RED} is-live=true", width_px=width, height_px=48, fps=20
    )
    with closing(open_camera(config)) as camera:
        image = camera.read().image
    assert image.shape == (48, width, 3)
    assert is_red(image)


def test_a_pipeline_that_prints_shifts_no_frame():
    """As Jetson's camera source does; here one that dumps each picture, in hexadecimal, on standard output."""
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    picture = f"{BALL_ON_RED} is-live=true ! video/x-raw,format=BGR,width=64,height=48"
    source = f"{picture} ! tee name=copy copy. ! queue ! fakesink dump=true copy. ! queue"
    config = CameraConfig(backend="gstreamer", source=source, width_px=64, height_px=48, fps=20)
    with closing(open_camera(config)) as camera:
        assert all(is_red(camera.read().image) for _ in range(10))


def test_gstreamer_says_what_is_wrong_with_a_pipeline():
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    with pytest.raises(CameraError, match="no element"):
        open_camera(CameraConfig(backend="gstreamer", source="nosuchelement"))
    with pytest.raises(CameraError, match="must be a pipeline"):
        open_camera(CameraConfig(backend="gstreamer", source=0))
    with pytest.raises(CameraError, match="no pipeline: "):
        open_camera(CameraConfig(backend="gstreamer", source="videotestsrc ! !"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("filesrc location=/nonexistent", 'filesrc0: Resource not found. (No such file "/nonexistent")'),
        (
            "v4l2src device=/dev/video99",
            "Cannot identify device '/dev/video99'. (system error: No such file or directory)",
        ),
        ("videotestsrc pattern=odd", 'could not set property "pattern" in element "videotestsrc" to "odd"'),
    ],
)
def test_gstreamer_tells_the_cause_and_not_what_followed_from_it(source, reason, monkeypatch):
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    if source.startswith("v4l2src"):
        require_element("v4l2src")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(CameraError) as caught:
        open_camera(CameraConfig(backend="gstreamer", source=source))
    assert str(caught.value).startswith("gstreamer camera: ")
    assert str(caught.value).endswith(reason)


def require_element(name: str) -> None:
    inspect = require("gst-inspect-1.0", "gstreamer1.0-tools")
    if subprocess.run([inspect, name], capture_output=True).returncode:
        pytest.skip(f"the element {name} is not installed: apt-get install gstreamer1.0-plugins-good")


def test_a_password_in_a_pipeline_reaches_neither_the_log_nor_the_page(tmp_path):
    """GStreamer repeats the address that it was given; the whole agent runs here."""
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base")
    port = free_port()
    config = configure(
        tmp_path,
        camera={"backend": "gstreamer", "source": "filesrc location=/none/http://user:hunter2@cam/1"},
        mqtt={"enabled": False},
        kiosk={"enabled": True, "port": port},
    )
    with AgentProcess("run", "-c", config, folder=tmp_path) as agent:
        wait_until(lambda: "camera lost" in agent.log, 30)
        with urlopen(f"http://127.0.0.1:{port}/api/current") as answer:
            told = answer.read().decode()
        assert agent.stop() == 0
    assert "Resource not found" in agent.log
    assert "http://user:***@cam/1" in agent.log
    assert "hunter2" not in agent.log
    assert "cam/1" not in told


def test_gstreamer_without_its_library_names_the_install_command(monkeypatch):
    monkeypatch.setattr(gstreamer, "LIBRARY", "libnone.so.0")
    with pytest.raises(MissingPackageError, match=r"apt install gstreamer1\.0-plugins-base"):
        next(gstreamer.frames(CameraConfig(backend="gstreamer", source="videotestsrc"), 5.0))


def test_a_password_in_a_pipeline_is_on_no_command_line():
    before = set(psutil.Process().children(recursive=True))
    source = f"{BALL_ON_RED} name=user-pw-hunter2 is-live=true"
    with closing(open_camera(CameraConfig(backend="gstreamer", source=source, width_px=64, height_px=48))):
        children = set(psutil.Process().children(recursive=True)) - before
        assert children
        assert not any("hunter2" in f"{child.cmdline()} {child.environ()}" for child in children)


def test_picamera2_without_its_package_names_the_install_command():
    with pytest.raises((MissingPackageError, CameraError), match="picamera2"):
        open_camera(CameraConfig(backend="picamera2", source=0)).read()


def test_an_absent_device_is_an_error_that_says_how_to_list_cameras():
    with pytest.raises(CameraError, match="ls /dev/v4l/by-id"):
        open_camera(CameraConfig(backend="opencv", source=97))


def test_an_unreachable_stream_is_an_error_without_its_password():
    config = CameraConfig(backend="opencv", source="rtsp://user:hunter2@127.0.0.1:9/stream")
    with pytest.raises(CameraError) as caught:
        open_camera(config)
    assert "cannot open the stream" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_stream_address_never_stands_on_a_command_line():
    config = CameraConfig(backend="opencv", source="rtsp://user:hunter2@127.0.0.1:9/stream")
    seen = []

    def look() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue  # it ended meanwhile

    timer = threading.Timer(0.4, look)
    timer.start()
    with pytest.raises(CameraError):
        open_camera(config)
    timer.join()
    assert not any(b"hunter2" in line for line in seen)


def child(code: str, stall_s: float = 0.5) -> ChildCamera:
    camera = ChildCamera([sys.executable, "-c", code], "test camera", stall_s)
    camera._opening_s = 0.0  # no allowance for opening: these children write at once
    return camera


def test_a_read_that_never_returns_is_given_up_and_its_process_killed():
    with (
        closing(child("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")) as camera,
        pytest.raises(CameraStalledError, match="stalled"),
    ):
        camera.read()
    assert camera._child.returncode == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path):
    """A pipeline that hangs would keep the camera, and the next one could not be opened."""
    pid = tmp_path / "pid"
    start = "p = subprocess.Popen(['sleep', '600']); "
    code = f"import subprocess, time; {start} open({str(pid)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    with closing(child(code)):
        wait_until(lambda: pid.exists() and pid.read_text(), 10)
    wait_until(lambda: not is_alive(int(pid.read_text())), 5)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_half_a_picture_and_then_silence_is_a_stall():
    with (
        closing(
            child("import sys, time; sys.stdout.buffer.write(b'x' * 7); sys.stdout.flush(); time.sleep(600)")
        ) as camera,
        pytest.raises(CameraStalledError),
    ):
        camera.read()


def test_a_child_that_dies_leaves_its_last_words():
    code = "import sys; sys.exit('the cable came off')"
    with closing(child(code)) as camera, pytest.raises(CameraError, match="the cable came off"):
        camera.read()


def test_a_child_that_crashes_is_an_error_that_says_so():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with closing(child(code)) as camera, pytest.raises(CameraError, match="its process was ended by SIGSEGV"):
        camera.read()


def test_a_child_that_writes_much_to_stderr_does_not_block():
    head = HEAD.pack(2, 4, 0.0, 0.0, 0)
    code = f"import sys; sys.stderr.write('x' * 500000); sys.stdout.buffer.write({head!r} + bytes(range(24)))"
    with closing(child(code, 10.0)) as camera:
        assert camera.read().image.tolist()[0][0] == [0, 1, 2]


def test_a_slow_pipeline_gets_the_newest_frame_and_the_others_are_counted():
    stream = MjpegCamera(free_port(), fps=100).start()
    latest = LatestFrame(CameraConfig(source=stream.url, fps=100), lambda *_: None)
    latest.start()
    first = latest.get(20.0)
    counted = latest.captured
    wait_until(lambda: latest.captured > counted + 20, 20)
    second = latest.get(5.0)
    latest.stop()
    stream.stop()
    assert first is not None
    assert second is not None
    assert second.captured_monotonic_s - first.captured_monotonic_s > 0.15
    assert latest.dropped >= 20


def test_as_fast_as_possible_loses_no_frame_to_a_slow_pipeline(film):
    latest = LatestFrame(replay(film, loop=False), lambda *_: None)
    latest.start()
    greys: list[int] = []
    while not latest.ended:
        time.sleep(0.01)
        if frame := latest.get(1.0):
            greys.append(round(frame.image.mean() / 20))
    assert greys == list(range(10))
    assert latest.dropped == 0


def test_a_network_camera_that_stalls_or_vanishes_is_opened_again_and_its_states_are_told(monkeypatch):
    monkeypatch.setattr("edge_agent.cameras.capture.FIRST_WAIT_S", 0.05)
    stream = MjpegCamera(free_port())
    states: list[CameraState] = []
    config = CameraConfig(backend="opencv", source=stream.url, fps=20, stall_s=1.0, reopen_max_s=0.5)
    latest = LatestFrame(config, lambda state, _: states.append(state))
    latest.start()
    try:
        wait_until(lambda: CameraState.GONE in states, 20, "gone before it is started")
        stream.start()
        wait_until(lambda: states[-1] is CameraState.RUNNING, 20, "running")
        frame = latest.get(5.0)
        assert frame is not None
        assert frame.image.shape == (512, 512, 3)
        stream.silent.set()
        wait_until(lambda: states[-1] is CameraState.STALLED, 20, "stalled")
        stream.silent.clear()
        wait_until(lambda: states[-1] is CameraState.RUNNING, 30, "running after the stall")
        stream.stop()
        wait_until(lambda: states[-1] is CameraState.GONE, 20, "gone")
    finally:
        stream.stop()
        latest.stop()


def test_a_pause_closes_the_camera_and_a_resume_opens_it(picture):
    latest = LatestFrame(replay(picture, fps=100), lambda *_: None)
    latest.start()
    assert latest.get(5.0) is not None
    latest.pause(paused=True)
    time.sleep(0.1)
    counted = latest.captured
    assert latest.get(0.2) is None
    assert latest.captured == counted
    latest.pause(paused=False)
    assert latest.get(5.0) is not None
    latest.stop()


def test_a_paused_camera_is_not_opened_by_a_stop(picture, monkeypatch):
    """Its light would come on, for a moment, just because the agent restarts."""
    opened = []
    monkeypatch.setattr("edge_agent.cameras.capture.open_camera", opened.append)
    latest = LatestFrame(replay(picture, fps=100), lambda *_: None)
    latest.pause(paused=True)
    latest.start()
    time.sleep(0.1)
    latest.stop()
    assert latest.ended
    assert opened == []


def test_an_input_that_cannot_be_read_ends_the_capture_with_its_reason(tmp_path):
    latest = LatestFrame(replay(tmp_path / "absent.mp4"), lambda *_: None)
    latest.start()
    wait_until(lambda: latest.ended, 5.0)
    assert isinstance(latest.failure, InputError)


def test_orient_turns_mirrors_and_cuts():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    clockwise = orient(image, CameraConfig(rotate_deg=90))
    assert clockwise.shape == (4, 2, 3)
    assert (clockwise[0, -1] == image[0, 0]).all()  # the top left corner goes to the top right
    assert (orient(image, CameraConfig(rotate_deg=180))[0, 0] == image[-1, -1]).all()
    assert (orient(image, CameraConfig(mirror=True))[0, 0] == image[0, -1]).all()
    cut = orient(image, CameraConfig(region=(0.5, 0.0, 0.5, 1.0)))
    assert cut.shape == (2, 2, 3)
    assert (cut[0, 0] == image[0, 2]).all()
    assert orient(image, CameraConfig(region=(0.999, 0.999, 0.001, 0.001))).size > 0


@pytest.mark.skipif(
    not os.environ.get("COUNTENANCE_CAMERA"), reason="needs a camera: set COUNTENANCE_CAMERA=/dev/video0"
)
def test_a_real_camera_gives_frames():
    camera = open_camera(CameraConfig(source=os.environ["COUNTENANCE_CAMERA"]))
    try:
        assert camera.read().image.ndim == 3
    finally:
        camera.close()


@pytest.mark.parametrize(
    ("injected", "reason"),
    [
        ((), "captures nothing"),
        (("-e", "inject=openat:error=EBUSY"), "is busy; see which program uses it with: fuser -v"),
        # The first and the third question (OpenCV's, ours) are answered as by a camera, the one between fails.
        (
            ("-e", f"inject=ioctl:retval=0:poke_exit=@arg3={CAPTURES_AND_STREAMS.hex()}:when=1+2"),
            "is busy; see which program uses it with: fuser -v",
        ),
    ],
)
def test_a_v4l2_node_that_is_busy_or_no_camera_says_so(injected: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """Where there is no camera to be busy, strace gives the kernel's answers in its place."""
    strace = require("strace", "strace")
    node = tmp_path / "video9"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node needs root")
    script = (
        "import sys; from edge_agent.cameras.opencv import frames; from edge_agent.config import CameraConfig; "
        "next(frames(CameraConfig(backend='opencv', source=sys.argv[1]), 0.0))"
    )
    command = [
        strace,
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-P",
        str(node),
        "-e",
        "trace=openat,ioctl",
        *injected,
    ]
    said = subprocess.run(
        [*command, sys.executable, "-c", script, str(node)], capture_output=True, text=True, timeout=60
    )
    if "Operation not permitted" in said.stderr:
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    assert f"CameraError: opencv camera {node}: {node} {reason}" in said.stderr
