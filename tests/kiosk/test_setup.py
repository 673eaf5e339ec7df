"""``/setup``: one browser, by the code, from a local network, encrypted beyond this machine; then off for good."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.cli.setup.browser import apply, make_inspector
from edge_agent.cli.setup.checking import verdict_of
from edge_agent.config import load_config
from edge_agent.errors import ConfigError, InputError
from edge_agent.first_start.answers import WHY_BANNED, CameraAnswer
from edge_agent.first_start.code import WRONG_A_MINUTE, WRONG_IN_ALL, CodeCheck, SetupPlaces, fingerprint, make_code
from edge_agent.kiosk.language import available
from edge_agent.kiosk.setup.looking import SHOWN_S, UNWATCHED_S, Looking
from edge_agent.kiosk.setup.pages import code_page, questions_page, tls_page
from edge_agent.kiosk.setup.site import COOKIE, LocalOnly, SetupSite, is_local
from edge_agent.kiosk.setup.words import preferred, setup_language
from tests.support.broker import Broker, free_port, wait_until
from tests.support.mjpeg import MjpegCamera
from tests.support.setup_stage import SetupStage

ENGLISH = setup_language("en").texts


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegCamera]:
    served = MjpegCamera(free_port()).start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SetupStage]:
    with SetupStage(tmp_path_factory.mktemp("setup")) as running:
        yield running


# -- the code -------------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> SetupPlaces:
    made = SetupPlaces(tmp_path / "config", tmp_path / "asked", tmp_path / "told")
    for each in (made.config, made.asked, made.told):
        each.mkdir()
    return made


def test_the_code_is_taken_once_and_not_after_a_restart(places: SetupPlaces) -> None:
    code = make_code(places)
    assert CodeCheck(places).refusal(code.replace("-", " ")) == ""
    assert CodeCheck(places).refusal(code) == "used"
    assert CodeCheck(places).refusal(make_code(places)) == ""
    assert stat.S_IMODE(places.code.stat().st_mode) == 0o640
    places.code.unlink()
    assert CodeCheck(places).refusal(code) == "off"


def test_guessing_is_slow_and_ends(places: SetupPlaces) -> None:
    now_s = 0.0
    check = CodeCheck(places, lambda: now_s)
    code = make_code(places)
    wrong = f"{(int(code.replace('-', '')) + 1) % 10**8:08d}"
    tried = 0
    while check.refusal(wrong) == "wrong":
        tried += 1
    assert tried == WRONG_A_MINUTE
    assert check.refusal(code) == "wait", "also the right one"
    while (said := check.refusal(wrong)) != "void":
        tried += said == "wrong"
        now_s += 20.0
    assert tried == WRONG_IN_ALL
    assert check.refusal(code) == "void"
    now_s += 3600.0
    assert check.refusal(make_code(places)) == ""


def test_nothing_but_the_code_page_is_shown_without_the_code(stage: SetupStage) -> None:
    with stage.client() as client:
        page = client.get("/setup")
        assert 'id="code"' in page.text
        assert 'id="questions"' not in page.text
        for path in ("look", "broker", "answers"):
            assert client.post(f"/setup/{path}", json={}).status_code == 403
        client.cookies.set(COOKIE, "guess", path="/setup")
        assert client.post("/setup/look", json={"source": "0"}).status_code == 403


def test_the_code_makes_one_browser_the_one(stage: SetupStage) -> None:
    with stage.admitted() as first, stage.client() as second:
        assert 'id="questions"' in first.get("/setup").text
        taken = second.post("/setup/code", data={"code": stage.places.code.read_text()})
        assert (taken.status_code, ENGLISH["setup_code_used"] in taken.text) == (403, True)
        with stage.admitted() as third:
            assert 'id="questions"' in third.get("/setup").text
        assert 'id="questions"' not in first.get("/setup").text, "a new code takes the place of the first"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_other_sites_get_nothing(stage: SetupStage, headers: dict[str, str], status: int) -> None:
    with stage.admitted() as client:
        sent = {"content-type": "application/json", **headers}
        assert client.post("/setup/look", content=b'{"source":"0"}', headers=sent).status_code == status


# -- the network ----------------------------------------------------------------------------------------------------


def beyond(places: SetupPlaces, method: str, path: str, **options: Any) -> httpx.Response:
    """One request as it comes from another machine of the network, not encrypted."""
    site = SetupSite(
        places=places, port=8765, looking=Looking(make_inspector), found=tuple, check_broker=verdict_of,
        end=lambda _seconds: None,
    )  # fmt: skip

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(site.app(), client=("192.168.1.9", 50000))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://192.168.1.5:8765") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


def test_what_comes_over_the_network_in_the_clear_is_sent_to_the_encrypted_port(places: SetupPlaces) -> None:
    code = make_code(places)
    page = beyond(places, "GET", "/setup?lang=de")
    assert "https://192.168.1.5:8766/setup?lang=de" in page.text
    assert 'id="code"' not in page.text
    assert beyond(places, "POST", "/setup/code", data={"code": code}).status_code == 403
    assert beyond(places, "POST", "/setup/look", json={"source": "0"}).status_code == 403
    assert CodeCheck(places).refusal(code) == "", "it was not used up"


def test_the_encrypted_port_has_the_printed_certificate(stage: SetupStage) -> None:
    assert fingerprint(ssl.get_server_certificate(("127.0.0.1", stage.port + 1))) == stage.fingerprint
    with stage.client(f"https://127.0.0.1:{stage.port + 1}") as client:
        admitted = client.post("/setup/code", data={"code": make_code(stage.places)})
        cookie = admitted.headers["set-cookie"]
        assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        assert 'id="questions"' in client.get("/setup").text


def test_without_a_certificate_only_this_machine_is_answered(tmp_path: Path) -> None:
    with SetupStage(tmp_path, encrypted=False) as stage:
        listening = Path("/proc/net/tcp").read_text()
        assert f" 0100007F:{stage.port:04X} 00000000:0000 0A" in listening
        with stage.client() as here:
            assert 'id="code"' in here.get("/setup").text


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("192.168.1.7", True), ("10.1.2.3", True), ("172.31.0.1", True), ("169.254.3.4", True),
        ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:192.168.1.7", True),
        ("8.8.8.8", False), ("172.32.0.1", False), ("100.64.0.1", False), ("2001:db8::1", False),
        ("::ffff:8.8.8.8", False), ("", False), ("unix", False),
    ],
)  # fmt: skip
def test_only_local_networks_are_answered(address: str, local: bool) -> None:
    assert is_local(address) is local
    sent: list[Any] = []

    async def inside(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def keep(message: Any) -> None:
        sent.append(message)

    asyncio.run(LocalOnly(inside)({"type": "http", "client": (address, 1)}, None, keep))  # type: ignore[arg-type]
    assert sent[0]["status"] == (200 if local else 403)


# -- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_comes_with_what_the_gate_says_and_is_kept_nowhere(
    stage: SetupStage, camera: MjpegCamera, tmp_path: Path
) -> None:
    with stage.admitted() as client:
        for _ in range(20):
            answer = client.post("/setup/look", json={"source": camera.url})
            if answer.json()["state"] == "seen":
                break
        seen = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert base64.b64decode(seen["picture"]).startswith(b"\xff\xd8\xff")
        (face,) = seen["faces"]
        assert (face["reason"], face["size_px"] > 60) == (None, True)
        assert seen["left_s"] <= SHOWN_S
        refused = client.post("/setup/look", json={"source": "/etc/passwd"})
        assert (refused.status_code, "from the list" in refused.json()["fault"]) == (422, True)
    assert not [path for path in stage.places.asked.rglob("*") if path.name != "used"]


def test_it_ends_after_ten_minutes_and_the_camera_closes_when_nobody_looks(camera: MjpegCamera) -> None:
    now_s = 0.0
    looking = Looking(make_inspector, lambda: now_s)
    asked = CameraAnswer(source=camera.url)
    wait_until(lambda: looking.look(asked)["state"] == "seen", 90, "a picture")
    now_s = UNWATCHED_S
    looking.rest()
    assert looking.is_open
    now_s += 1.0
    looking.rest()
    assert not looking.is_open
    now_s = SHOWN_S - 1.0
    assert looking.look(asked)["left_s"] == 1
    now_s = SHOWN_S
    assert looking.look(asked) == {"state": "over", "left_s": 0}
    assert not looking.is_open


# -- the answers ----------------------------------------------------------------------------------------------------


def test_a_broker_is_tested_as_the_doctor_does(stage: SetupStage, broker: Broker) -> None:
    with stage.admitted() as client:

        def verdict(**broker_: Any) -> dict[str, str]:
            return dict(client.post("/setup/broker", json=broker_).json())

        assert verdict(host="127.0.0.1", port=broker.port)["word"] == "good"
        assert verdict(host="127.0.0.1", port=free_port())["word"] == "link"
        assert verdict(host="no.such.name.invalid")["word"] == "name"
        assert "write host: hub" in verdict(host="mqtt://hub")["fault"]


def test_answers_become_a_configuration_and_the_setup_is_over(tmp_path: Path, camera: MjpegCamera) -> None:
    with SetupStage(tmp_path) as stage, stage.admitted() as client:
        answers = {"camera": {"source": camera.url}, "place": "school", "page": "network", "name": "Foyer"}
        refused = client.post("/setup/answers", json=answers)
        assert (refused.status_code, WHY_BANNED in refused.json()["fault"]) == (422, True)
        wrong = client.post("/setup/answers", json={**answers, "place": "event", "language": "xx"})
        assert "no language 'xx'" in wrong.json()["fault"], "the unit's own words"
        assert not (stage.places.config / "agent.yaml").exists()
        done = client.post("/setup/answers", json={**answers, "place": "event"})
        assert done.json() == {"page": "/setup/wait"}
        config = load_config(stage.places.config / "agent.yaml", {})
        assert (config.device.name, config.kiosk.host, config.camera.source) == ("Foyer", "0.0.0.0", camera.url)
        assert not stage.places.code.exists()
        assert not stage.places.certificate.exists()
        assert not stage.places.answers.exists()
        assert 'id="waiting"' in client.get("/setup/wait").text
        wait_until(lambda: stage.process.poll() == 0, 60, "the end of the server")


def test_the_unit_takes_no_answers_once_the_setup_is_over(places: SetupPlaces) -> None:
    places.answers.write_text("{}")
    with pytest.raises(ConfigError, match="closed"):
        apply(places)
    assert not places.answers.exists(), "or systemd would start it again and again"
    assert "closed" in json.loads(places.result.read_text())["fault"]
    assert not (places.config / "agent.yaml").exists()


def test_the_unit_follows_no_link(places: SetupPlaces, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    make_code(places)
    places.answers.symlink_to(secret)
    with pytest.raises(InputError, match="answers"):
        apply(places)
    assert secret.exists()


def test_a_csi_camera_brings_its_drop_in(places: SetupPlaces, tmp_path: Path) -> None:
    make_code(places)
    places.answers.write_text(json.dumps({"camera": {"backend": "picamera2", "source": "0"}}))
    apply(places, drop_ins=tmp_path / "drop-ins", shipped=Path(__file__).parents[2] / "systemd" / "drop-ins")
    assert "char-drm" in (tmp_path / "drop-ins" / "40-raspberry-pi.conf").read_text()


# -- languages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", available())
def test_every_language_has_the_words_of_setup(tag: str) -> None:
    words = setup_language(tag)
    assert set(words.texts) == set(ENGLISH)
    assert all(text.strip() for text in words.texts.values())
    assert all(
        ("{n}" in text) == ("{n}" in ENGLISH[key]) for key, text in words.texts.items() if key.startswith("setup_")
    )
    for page in (questions_page(words, ()), code_page(words, "", "wrong"), tls_page(words, "https://x/")):
        assert f'lang="{tag}"' in page
        assert words.text("setup_title") in page


def test_the_browser_s_language_is_taken() -> None:
    assert [preferred(text) for text in ("tr-TR,tr;q=0.9,en;q=0.8", "xx, fr;q=0.5", "", "*")] == [
        "tr",
        "fr",
        "en",
        "en",
    ]


def test_a_display_that_waits_for_the_page_sees_the_setup(stage: SetupStage) -> None:
    with stage.client() as client:
        moved = client.get("/?wall&theme=dark")
        assert (moved.status_code, moved.headers["location"]) == (303, "/setup?wall&theme=dark")
        assert client.get("/setup/alive").status_code == 204
