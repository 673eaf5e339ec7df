"""Detectors find a real face, whatever the picture's size, and YuNet's file is the official one or none."""

from __future__ import annotations

import hashlib
import http.server
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_agent.cli.main import main
from edge_agent.config import DetectorConfig, ModelConfig
from edge_agent.detectors import load_detector
from edge_agent.detectors.built_in import BuiltInDetector
from edge_agent.detectors.built_in_file import SHIPPED, read_detector
from edge_agent.detectors.yunet_file import FILE_NAME, fetch_yunet, find_yunet
from edge_agent.errors import DetectorError, ModelError
from tests.support.broker import wait_until
from tests.support.faces import FACE_CENTRE, YUNET, astronaut_bgr, shared


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No detector that the machine happens to have is found."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("edge_agent.detectors.yunet_file.STATE_DIR", tmp_path / "state")


def config(kind: str, **settings) -> DetectorConfig:
    path = shared(YUNET) if kind == "yunet" else None
    return DetectorConfig(kind=kind, path=path, **settings)


@pytest.mark.parametrize("kind", ["built_in", "yunet"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_face_is_found_in_the_pictures_own_pixels_at_any_size(kind, factor):
    image = cv2.resize(astronaut_bgr(), None, fx=factor, fy=factor)
    faces = load_detector(config(kind)).detect(image)
    centres = [face.box.centre for face in faces]
    assert any(np.hypot(x / factor - FACE_CENTRE[0], y / factor - FACE_CENTRE[1]) < 25 for x, y in centres), centres
    assert all(0.0 <= face.score <= 1.0 for face in faces)


@pytest.mark.parametrize("kind", ["built_in", "yunet"])
def test_landmarks_lie_in_the_box_in_their_documented_order(kind):
    (face,) = load_detector(config(kind)).detect(astronaut_bgr())
    right_eye, left_eye, nose, *mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]  # her right is on the picture's left
    assert all(eye[1] < nose[1] < corner[1] for eye in (right_eye, left_eye) for corner in mouth)
    box = face.box
    assert all(box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height for x, y in face.landmarks)


@pytest.mark.parametrize("kind", ["built_in", "yunet"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (480, 640, 3), (3, 2000, 3), (31, 17, 3)])
def test_a_picture_without_a_face_has_none(kind, shape):
    assert load_detector(config(kind)).detect(np.full(shape, 90, np.uint8)) == []


def test_detection_leaves_the_picture_as_it_is():
    image = astronaut_bgr()
    load_detector(config("built_in")).detect(image)
    assert (image == astronaut_bgr()).all()


def test_the_whole_frame_is_one_face():
    (face,) = load_detector(config("whole_frame")).detect(np.zeros((48, 64, 3), np.uint8))
    assert (face.box.x, face.box.y, face.box.width, face.box.height) == (0, 0, 64, 48)


def test_asking_for_yunet_without_its_file_says_how_to_get_it(tmp_path):
    with pytest.raises(DetectorError, match="edge-agent fetch-detector"):
        load_detector(DetectorConfig(kind="yunet"))
    with pytest.raises(DetectorError, match="names no file"):
        load_detector(DetectorConfig(kind="yunet", path=tmp_path / "absent.onnx"))


def test_a_file_that_is_not_the_official_one_is_refused_wherever_it_lies(tmp_path):
    fake = tmp_path / FILE_NAME
    fake.write_bytes(b"something else")
    with pytest.raises(DetectorError, match="not the official YuNet file"):
        find_yunet(fake)
    with pytest.raises(DetectorError, match="not the official YuNet file"):
        fetch_yunet(tmp_path / "target", fake)
    assert list((tmp_path / "target").iterdir()) == []


def test_fetch_refuses_a_missing_file_and_a_folder_it_may_not_write(tmp_path):
    with pytest.raises(DetectorError, match="no such file"):
        fetch_yunet(tmp_path, tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DetectorError, match="--to DIR"):
        fetch_yunet(tmp_path / "file" / "below", tmp_path / "file")


def serve(answer: bytes, status: int = 200, pause: Callable[[], object] | None = None) -> http.server.HTTPServer:
    """``pause`` is called in the middle of the answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[: len(answer) // 2])
            if pause is not None:
                pause()
            with suppress(ConnectionError):
                self.wfile.write(answer[len(answer) // 2 :])

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def test_a_download_that_stalls_is_not_blamed_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.detectors.yunet_file.TIMEOUT_S", 0.3)
    given_up = threading.Event()
    server = serve(bytes(100), pause=lambda: given_up.wait(30))
    with pytest.raises(DetectorError, match=r"cannot download http://127\.0\.0\.1:.* \(.*timed out\).*--from FILE"):
        fetch_yunet(tmp_path, None, f"http://127.0.0.1:{server.server_port}/yunet.onnx")
    given_up.set()
    server.shutdown()
    server.server_close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer", [b"", b"not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx"]
)
def test_a_server_that_hangs_up_or_speaks_another_language_is_not_blamed_on_the_disk(tmp_path, answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with listener.accept()[0] as connection:
                connection.recv(10_000)
                connection.sendall(answer)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DetectorError, match=r"cannot download http.*--from FILE"):
            fetch_yunet(tmp_path, None, f"http://127.0.0.1:{listener.getsockname()[1]}/yunet.onnx")
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_no_file_changes_its_mode_that_somebody_puts_in_place_of_the_download(tmp_path, monkeypatch):
    """As root it goes into a folder of the service's user, who could lead it to any file of the machine."""
    content = b"the detector" * 1000
    monkeypatch.setattr("edge_agent.detectors.yunet_file.SHA256", hashlib.sha256(content).hexdigest())
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(0o600)
    folder = tmp_path / "folder"

    def swap() -> None:
        part = wait_until(lambda: next(folder.glob(".fetch-*"), None))
        part.unlink()
        part.symlink_to(secret)

    server = serve(content, pause=swap)
    fetch_yunet(folder, None, f"http://127.0.0.1:{server.server_port}/yunet.onnx")
    server.shutdown()
    server.server_close()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [(b"<html>log in to the hotel's network</html>", 200, "not the official"), (b"", 404, "--from FILE")],
)
def test_a_download_that_is_not_the_file_leaves_nothing_behind(tmp_path, answer, status, reason):
    server = serve(answer, status)
    with pytest.raises(DetectorError, match=reason):
        fetch_yunet(tmp_path / "target", None, f"http://127.0.0.1:{server.server_port}/yunet.onnx")
    server.shutdown()
    server.server_close()
    assert list((tmp_path / "target").iterdir()) == []


def test_a_download_is_verified_and_put_in_place(tmp_path):
    server = serve(shared(YUNET).read_bytes())
    found = fetch_yunet(tmp_path, None, f"http://127.0.0.1:{server.server_port}/yunet.onnx")
    server.shutdown()
    server.server_close()
    assert find_yunet(found) == found


def test_without_a_network_the_message_says_what_to_do_instead(tmp_path):
    with pytest.raises(DetectorError, match="--from FILE"):
        fetch_yunet(tmp_path, None, "http://127.0.0.1:9/yunet.onnx")


def test_the_command_fetches_from_a_file_and_prints_where_it_is(tmp_path, capsys):
    assert main(["fetch-detector", "--from", str(shared(YUNET)), "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / FILE_NAME)
    assert main(["fetch-detector", "--from", str(tmp_path / "absent")]) == DetectorError.exit_code


def built_in(runtime: str = "auto", **settings) -> BuiltInDetector:
    return BuiltInDetector(read_detector(), **{"longer_side": 448, "runtime": runtime, **settings})


@pytest.mark.parametrize(("runtime", "package"), [("litert", "ai_edge_litert"), ("tflite", "tflite_runtime")])
def test_the_built_in_detector_finds_the_same_in_every_runtime_and_at_sizes_in_turn(runtime, package):
    pytest.importorskip(package)
    detector = built_in(runtime)
    detector.self_test()
    for factor in (1.0, 0.5, 0.8, 1.0):  # the input is resized between them, and back
        (face,) = detector.detect(cv2.resize(astronaut_bgr(), None, fx=factor, fy=factor))
        x, y = face.box.centre
        assert np.hypot(x / factor - FACE_CENTRE[0], y / factor - FACE_CENTRE[1]) < 15


def test_the_built_in_detector_takes_grey_pictures_as_they_are():
    grey = cv2.cvtColor(astronaut_bgr(), cv2.COLOR_BGR2GRAY)
    assert built_in().detect(grey) == built_in().detect(astronaut_bgr())


def test_a_face_at_the_very_edge_of_what_is_filled_up_is_found_as_in_the_middle():
    """Sides that are no multiple of 32 are filled up with black on the right and below."""
    image = astronaut_bgr()[:199, :301]
    assert built_in(longer_side=640).detect(image), image.shape


@pytest.mark.parametrize("longer_side", [320, 448, 640])
def test_a_face_that_fills_the_picture_is_found(longer_side):
    """It is larger than any that the network was trained on."""
    x, y = FACE_CENTRE
    near = cv2.resize(astronaut_bgr()[y - 80 : y + 80, x - 65 : x + 65], (520, 640), interpolation=cv2.INTER_CUBIC)
    (face,) = built_in(longer_side=longer_side).detect(near)
    assert face.box.height > 350


def test_min_score_drops_what_is_less_sure():
    (face,) = built_in().detect(astronaut_bgr())
    assert built_in(min_score=face.score + 0.01).detect(astronaut_bgr()) == []


def test_a_runtime_that_finds_something_else_than_the_stored_face_is_refused():
    file = read_detector()
    test = file.info.self_test
    moved = {name: (found[0] + 9, *found[1:]) for name, found in test.found.items()}
    info = file.info.model_copy(update={"self_test": test.model_copy(update={"found": moved})})
    with pytest.raises(ModelError, match=r"self-test failed in \w+: found .*, should be"):
        BuiltInDetector(replace(file, info=info), longer_side=448).self_test()


def test_a_damaged_network_is_refused_by_name(tmp_path):
    for name in ("faces.tflite", "faces.json"):
        (tmp_path / name).write_bytes(SHIPPED.with_name(name).read_bytes())
    content = bytearray((tmp_path / "faces.tflite").read_bytes())
    content[50_000] ^= 1
    (tmp_path / "faces.tflite").write_bytes(content)
    with pytest.raises(ModelError, match="belong to different models"):
        read_detector(tmp_path / "faces.tflite")
    (tmp_path / "faces.json").write_text("{}")
    with pytest.raises(ModelError, match=r"faces\.json: .*sha256: Field required"):
        read_detector(tmp_path / "faces.tflite")


def test_opencv_computes_with_as_many_threads_as_the_model():
    before = cv2.getNumThreads()
    try:
        load_detector(config("whole_frame"), ModelConfig(threads=2))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_a_yunet_file_without_its_kind_is_told_what_to_set(tmp_path):
    """As a configuration has it that was written when YuNet was what a path meant."""
    with pytest.raises(ModelError, match=r"set detector\.kind: yunet"):
        load_detector(DetectorConfig(path=tmp_path / "face_detection_yunet_2023mar.onnx"))
