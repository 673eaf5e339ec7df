"""Reading a handed-in picture over HTTP: answers, refusals, bounds, and a worker that cannot hurt the agent."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import jsonschema
import numpy as np
import psutil
import pytest
from skimage.data import astronaut

from edge_agent.config import Config
from edge_agent.kiosk.reading.refusal import RefusalError
from edge_agent.kiosk.reading.routes import predict_mode
from edge_agent.kiosk.reading.worker import Worker
from edge_agent.kiosk.render import STATIC
from tests.support.broker import wait_until
from tests.support.kiosk_stage import Stage
from tests.support.windows import LABELS

OPENAPI = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))
TOKEN = "correct horse battery staple"


def encoded(kind: str) -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))[1].tobytes()


JPEG = encoded(".jpg")


def png_bomb(side: int) -> bytes:
    """A valid grey PNG of ``side`` x ``side`` pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(side + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.fixture
def client(stage: Stage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stage.url, timeout=60) as http:
        yield http


def refused(answer: httpx.Response, code: str, status: int) -> str:
    """The explanation of a refusal that is as the OpenAPI description says."""
    body = answer.json()
    jsonschema.validate(body, {"$ref": "#/components/schemas/Error", "components": OPENAPI["components"]})
    assert (answer.status_code, body["error"]["code"]) == (status, code)
    return str(body["error"]["detail"])


@pytest.mark.parametrize(("kind", "media"), [(".jpg", "jpeg"), (".png", "png"), (".webp", "webp")])
def test_a_face_is_found_and_read_and_the_answer_is_as_described(client: httpx.Client, kind: str, media: str):
    answer = client.post("/api/predict", content=encoded(kind), headers={"content-type": f"image/{media}"})
    body = answer.json()
    jsonschema.validate(body, {"$ref": "#/components/schemas/Prediction", "components": OPENAPI["components"]})
    (face,) = body["faces"]
    x, y, width, height = face["box"]
    assert x < 225 < x + width  # her nose is at about (225, 120)
    assert y < 120 < y + height
    assert sum(face["probabilities"].values()) == pytest.approx(1.0, abs=0.001)
    assert sum(body["percentages"].values()) == pytest.approx(100.0, abs=0.01)
    assert max(body["percentages"], key=body["percentages"].get) == "happy"


def test_asked_why_it_says_which_parts_of_the_face_the_answer_hangs_on(client: httpx.Client):
    answer = client.post("/api/predict?why=1", content=JPEG)
    jsonschema.validate(answer.json(), {"$ref": "#/components/schemas/Prediction", "components": OPENAPI["components"]})
    (face,) = answer.json()["faces"]
    left, top, side = face["why"]["square"]
    assert left < 225 < left + side
    assert top < 120 < top + side
    assert face["why"]["emotion"] == "happy"
    falls = np.array(face["why"]["falls"])
    assert falls.shape == (6, 6)
    assert falls.max() > 0
    assert "why" not in client.post("/api/predict", content=JPEG).json()["faces"][0]


def test_the_page_and_the_command_line_give_the_same_answer(client: httpx.Client, tmp_path: Path):
    from edge_agent.cameras.picture_files import read_picture
    from edge_agent.vision.reading import Reader

    (tmp_path / "her.jpg").write_bytes(JPEG)
    expected = Reader(Config()).read(read_picture(tmp_path / "her.jpg"), "her.jpg").as_dict()
    assert client.post("/api/predict", files={"picture": ("her.jpg", JPEG)}).json() == json.loads(json.dumps(expected))


def test_a_form_without_script_gets_a_page_with_the_figures(client: httpx.Client):
    answer = client.post("/predict", files={"picture": ("her.jpg", JPEG)})
    assert answer.status_code == 200
    assert "The whole picture" in answer.text
    assert 'data-label="happy"' in answer.text


def test_a_picture_without_a_face_has_no_percentages(client: httpx.Client):
    grey = cv2.imencode(".png", np.full((200, 300, 3), 128, np.uint8))[1].tobytes()
    body = client.post("/api/predict", content=grey).json()
    assert (body["faces"], body["percentages"]) == ([], None)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"GIF89a" + bytes(50), b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_other_files_are_refused_by_their_first_bytes(client: httpx.Client, data: bytes):
    refused(client.post("/api/predict", content=data, headers={"content-type": "image/jpeg"}), "type", 415)


@pytest.mark.parametrize("data", [JPEG[:200], b"\x89PNG\r\n\x1a\n" + bytes(100), b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8)])
def test_damaged_pictures_are_refused(client: httpx.Client, data: bytes):
    refused(client.post("/api/predict", content=data), "picture", 422)


def test_a_bomb_of_a_hundred_megapixels_costs_neither_agent_nor_reader_its_memory(stage: Stage, client: httpx.Client):
    client.post("/api/predict", content=JPEG)
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = png_bomb(10_000)
    assert len(bomb) < 200_000
    assert "64 megapixels" in refused(client.post("/api/predict", content=bomb), "picture", 422)
    pid = stage.kiosk._site.pictures.worker.pid
    assert pid is not None
    assert psutil.Process(pid).memory_info().rss < 400e6
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) * 1024 < 50e6


def test_the_largest_allowed_picture_is_read_within_the_reader_s_memory(client: httpx.Client):
    answer = client.post("/api/predict", content=png_bomb(8000))
    assert answer.status_code == 200, answer.text
    assert answer.json()["faces"] == []


@pytest.mark.parametrize("announced", [True, False])
def test_fifty_megabytes_are_refused_with_bounded_memory(client: httpx.Client, announced: bool):
    def body() -> Iterator[bytes]:
        for _ in range(50):
            yield b"\xff\xd8\xff" + bytes(999_997)

    headers = {"content-length": "50000000"} if announced else {}
    before = psutil.Process().memory_info().rss
    answer = client.post("/api/predict", content=body(), headers=headers)
    assert "20 MB" in refused(answer, "too_large", 413)
    assert psutil.Process().memory_info().rss - before < 60e6


def test_nothing_is_written_to_the_disk(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    """A form's picture of several megabytes stays in memory although the form parser likes temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    padded = JPEG + bytes(5_000_000)
    assert client.post("/api/predict", files={"picture": ("x.jpg", padded)}).status_code == 200


def test_a_form_without_a_picture_is_refused(client: httpx.Client):
    refused(client.post("/api/predict", files={"other": ("x.jpg", JPEG)}), "type", 415)
    broken = {"content-type": "multipart/form-data; boundary=b"}
    refused(client.post("/api/predict", content=b"--b\r\nno: form", headers=broken), "type", 415)


def test_more_pictures_than_are_held_at_a_time_are_refused_at_once(stage: Stage, client: httpx.Client):
    client.post("/api/predict", content=JPEG)
    pid = stage.kiosk._site.pictures.worker.pid
    assert pid is not None
    with ThreadPoolExecutor(8) as senders:
        os.kill(pid, signal.SIGSTOP)
        try:
            sent = [senders.submit(client.post, "/api/predict", content=JPEG) for _ in range(8)]
            wait_until(lambda: sum(answer.done() for answer in sent) == 5, 10, "five refusals")
            for answer in sent:
                if answer.done():
                    refused(answer.result(), "busy", 503)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert sorted(answer.result().status_code for answer in sent) == [200] * 3 + [503] * 5


# -- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kiosk", "mode"),
    [
        ({}, "open"),
        ({"host": "::1"}, "open"),
        ({"predict": "always"}, "open"),
        ({"predict": "never"}, "off"),
        ({"host": "0.0.0.0"}, "off"),
        ({"host": "0.0.0.0", "predict": "always"}, "token"),
        ({"allowed_hosts": ["wall.example"]}, "off"),
        ({"allowed_hosts": ["wall.example"], "predict": "always"}, "token"),
    ],
)
def test_pictures_are_read_for_this_machine_or_whoever_has_the_token(kiosk: dict[str, Any], mode: str):
    assert predict_mode(Config.model_validate({"kiosk": kiosk}).kiosk) == mode


def test_beyond_loopback_only_the_token_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COUNTENANCE_KIOSK_TOKEN", TOKEN)
    with Stage(tmp_path, kiosk={"host": "0.0.0.0", "predict": "always"}) as stage:
        url = f"{stage.url}/api/predict"
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            refused(httpx.post(url, content=JPEG, headers=headers, timeout=60), "token", 401)
        refused(httpx.post(url, files={"picture": ("a.jpg", JPEG)}, data={"token": TOKEN}, timeout=60), "token", 401)
        right = {"authorization": f"Bearer {TOKEN}"}
        assert httpx.post(url, content=JPEG, headers=right, timeout=60).status_code == 200
        form = httpx.post(f"{stage.url}/predict", files={"picture": ("a.jpg", JPEG)}, timeout=60)
        assert (form.status_code, form.headers["www-authenticate"][:5]) == (401, "Basic"), "a browser asks by itself"
        form = httpx.post(f"{stage.url}/predict", files={"picture": ("a.jpg", JPEG)}, auth=("", TOKEN), timeout=60)
        assert form.status_code == 200
        assert 'type="password"' in httpx.get(f"{stage.url}/predict").text


def test_where_it_is_off_page_and_api_say_so(tmp_path: Path):
    with Stage(tmp_path, kiosk={"predict": "never"}) as stage:
        refused(httpx.post(f"{stage.url}/api/predict", content=JPEG), "off", 403)
        page = httpx.get(f"{stage.url}/predict")
        assert page.status_code == 403
        assert "switched off" in page.text
        assert 'href="/predict"' not in httpx.get(stage.url).text


def test_the_token_comes_from_systemd_s_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from edge_agent.config.credentials import kiosk_token

    (tmp_path / "kiosk_token").write_text(f"{TOKEN}\n", encoding="utf-8")
    found = kiosk_token({"CREDENTIALS_DIRECTORY": str(tmp_path), "COUNTENANCE_KIOSK_TOKEN": "other"})
    assert found is not None
    assert found.get_secret_value() == TOKEN
    assert TOKEN not in repr(found)


# -- the worker -----------------------------------------------------------------------------------------------------


def with_worker(test: Any, **limits: Any) -> None:
    """Run ``test(worker)`` in a new loop and end the worker's process."""

    async def run() -> None:
        worker = Worker(Config(), **limits)
        try:
            await test(worker)
        finally:
            await worker.stop()

    asyncio.run(run())


async def code_of(reading: Any) -> str:
    try:
        await reading
    except RefusalError as refusal:
        return refusal.code
    return "read"


def test_a_reader_that_hangs_is_killed_and_replaced():
    async def check(worker: Worker) -> None:
        assert await code_of(worker.read(JPEG, "a")) == "read"
        hung = worker.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        worker._timeout_s = 0.5
        assert await code_of(worker.read(JPEG, "a")) == "timeout"
        assert not psutil.pid_exists(hung)
        worker._timeout_s = 20.0
        assert await code_of(worker.read(JPEG, "a")) == "read"
        assert worker.pid != hung

    with_worker(check)


def test_a_reader_that_dies_is_replaced():
    async def check(worker: Worker) -> None:
        assert await code_of(worker.read(JPEG, "a")) == "read"
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert await code_of(worker.read(JPEG, "a")) == "picture"
        assert await code_of(worker.read(JPEG, "a")) == "read"

    with_worker(check)


def test_a_picture_beyond_the_reader_s_memory_is_refused_and_the_next_one_is_read():
    async def check(worker: Worker) -> None:
        assert await code_of(worker.read(JPEG, "a")) == "read"
        assert await code_of(worker.read(png_bomb(8000), "b")) == "picture"
        assert await code_of(worker.read(JPEG, "a")) == "read"

    with_worker(check, memory_mb=90)


def test_an_answer_that_nobody_waited_for_is_not_given_to_the_next():
    async def check(worker: Worker) -> None:
        await worker.read(JPEG, "warm")
        reading = asyncio.create_task(worker.read(JPEG, "left"))
        await asyncio.sleep(0.02)
        reading.cancel()
        assert (await worker.read(JPEG, "next"))["image"] == "next"

    with_worker(check)


def test_the_reader_has_the_lowest_claim_on_the_processor_and_leaves_no_core_dump():
    async def check(worker: Worker) -> None:
        await worker.read(JPEG, "a")
        process = psutil.Process(worker.pid)
        assert process.nice() >= 10
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)

    with_worker(check)


def test_the_reader_ends_with_the_agent(tmp_path: Path):
    with Stage(tmp_path) as stage:
        httpx.post(f"{stage.url}/api/predict", content=JPEG, timeout=60)
        pid = stage.kiosk._site.pictures.worker.pid
        assert pid is not None
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_the_labels_of_the_stage_are_those_of_the_model(client: httpx.Client):
    assert set(client.post("/api/predict", content=JPEG).json()["percentages"]) == set(LABELS)
