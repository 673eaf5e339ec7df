"""The page's server over real HTTP: addresses, headers, names, history, downloads, and errors at the start."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from prometheus_client import Counter

from edge_agent.config import KioskConfig
from edge_agent.errors import ConfigError, ListenError, MissingPackageError
from edge_agent.kiosk.render import STATIC
from edge_agent.kiosk.settings import quiet_until
from edge_agent.types import CameraState, Trouble
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber, free_port, wait_until
from tests.support.kiosk_stage import TYPICAL, Stage, report_of, shares_of
from tests.support.windows import LABELS

OPENAPI = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.fixture
def client(stage: Stage) -> Iterator[httpx.Client]:
    stage.play("live")
    with httpx.Client(base_url=stage.url, timeout=10) as http:
        yield http


def conforms(body: Any, schema: str) -> None:
    """The body is as the OpenAPI description says."""
    jsonschema.validate(body, {"$ref": f"#/components/schemas/{schema}", "components": OPENAPI["components"]})


def test_the_page_shows_the_current_figures_without_any_script(client: httpx.Client):
    page = client.get("/").text
    assert re.search(r'id="hero-number">23<', page)
    assert re.search(r'id="hero-word">People counted<', page)
    assert re.search(r'id="hero-lead">in the last 10 seconds<', page)
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page
    assert re.findall(r'data-label="(\w+)"', page)[0] == "happy"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("too_few", "Too few people"),
        ("nobody", "Nobody here"),
        ("paused", "Paused"),
        ("camera_off", "Camera off"),
        ("starting", "Starting"),
    ],
)
def test_each_state_is_told_apart_without_script_and_shows_no_figures(
    stage: Stage, client: httpx.Client, state: str, word: str
):
    stage.play(state)
    page = client.get("/").text
    assert f'data-state="{state}"' in page
    assert f'id="hero-word">{word}<' in page
    shown = re.findall(r'class="value">([^<]*)<', page)
    assert shown == ["–"] * len(LABELS)
    current = client.get("/api/current").json()
    conforms(current, "Figures")
    assert current["state"] == state
    assert {emotion["percent"] for emotion in current["emotions"]} == {None}


@pytest.mark.parametrize(
    ("trouble", "quality", "doubt", "words"),
    [
        (None, 0.6, None, ""),
        (None, 0.1, "low", "Most faces are hard to read here"),
        (Trouble.UPSIDE_DOWN, 0.6, "tilted", "Faces are tilted or upside down"),
        (Trouble.NOISY, 0.1, "noisy", "The picture is too noisy"),
    ],
)
def test_doubt_is_said_in_words(
    stage: Stage, client: httpx.Client, trouble: Trouble | None, quality: float, doubt: str | None, words: str
):
    stage.tell(report_of(replace(shares_of(TYPICAL), quality=quality)))
    stage.live.update(trouble=trouble)
    try:
        current = client.get("/api/current").json()
        conforms(current, "Figures")
        assert current["doubt"] == doubt
        assert re.search(rf'id="hero-text">{words}', client.get("/").text)
    finally:
        stage.live.update(trouble=None)


def test_old_figures_are_called_out_of_date_and_not_those_of_right_now(stage: Stage, client: httpx.Client):
    stage.play("stale")
    page = client.get("/").text
    assert 'data-state="stale"' in page
    assert re.search(r'id="last">Figures from \d', page)
    assert 'id="hero-lead"><' in page
    assert 'id="hero-number"><' in page
    assert 'id="people"><' in page


def test_a_window_that_was_cut_short_does_not_make_its_longer_successor_late(stage: Stage, client: httpx.Client):
    """As the command set_window does."""
    stage.tell(report_of(shares_of(TYPICAL), age_s=600.0))
    stage.live.update(window_s=3600.0)
    assert client.get("/api/current").json()["stale_after_s"] == 3 * 3600 + 5
    assert 'data-state="live"' in client.get("/").text
    stage.live.update(window_s=10.0)
    assert client.get("/api/current").json()["stale_after_s"] == 35
    assert 'data-state="stale"' in client.get("/").text


def test_the_page_of_a_running_agent_follows_set_window(broker: Broker, tmp_path: Path):
    page = free_port()
    path = configure(tmp_path, mqtt={"port": broker.port}, kiosk={"enabled": True, "port": page})

    def stale_after_s() -> float | None:
        with suppress(httpx.TransportError):
            answer: float | None = httpx.get(f"http://127.0.0.1:{page}/api/current").json()["stale_after_s"]
            return answer
        return None

    with Subscriber(broker.port, "countenance/#") as subscriber, AgentProcess("run", "-c", path, folder=tmp_path):
        subscriber.wait_for("/emotions", 1, 30)
        wait_until(lambda: 8 <= (stale_after_s() or 0) < 30, 10)
        subscriber.client.publish("countenance/test/command/set_window", b'{"seconds": 600}', qos=1)
        wait_until(lambda: stale_after_s() == 3 * 600 + 5, 10)


def test_a_suppressed_window_gives_away_no_number_of_people(stage: Stage, client: httpx.Client):
    stage.play("too_few")
    assert client.get("/api/current").json()["people"] is None


def test_the_rolling_estimate_stands_in_where_a_window_has_too_few_people(stage: Stage, client: httpx.Client):
    stage.play("rolling")
    current = client.get("/api/current").json()
    assert (current["state"], current["rolling"], current["span_s"], current["people"]) == ("too_few", True, 900.0, 41)
    assert "in the last 15 minutes" in client.get("/").text


CHANGES: list[dict[str, dict[str, Any]]] = [
    {"kiosk": {"title": "Foyer"}},
    {"kiosk": {"language": "de"}},
    {"kiosk": {"emotions": ["sad", "happy"]}},
    {"kiosk": {"predict": "never"}},
    {"device": {"id": "entrance", "name": "Exit"}},
    {"privacy": {"acknowledged_use": False}},
    {"privacy": {"acknowledged_use": True, "min_people": 7}},
    {"window": {"seconds": 30}},
]


def test_the_build_changes_with_whatever_the_page_shows_of_the_configuration_and_with_nothing_else(tmp_path: Path):
    def build(**sections: dict[str, Any]) -> str:
        with Stage(tmp_path, **sections) as stage:
            return str(httpx.get(f"{stage.url}/api/current").json()["build"])

    usual = build()
    assert usual == build(mqtt={"host": "elsewhere", "username": "me"})
    builds = {build(**change) for change in CHANGES}
    assert len({usual, *builds}) == len(CHANGES) + 1


def test_titles_and_labels_cannot_inject_html(tmp_path: Path):
    with Stage(tmp_path, kiosk={"title": "<script>alert(1)</script> & 'co'"}) as stage:
        page = httpx.get(stage.url).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x27;co&#x27;" in page


def test_every_answer_carries_the_fence(client: httpx.Client):
    for path in ("/", "/predict", "/api/current", "/static/kiosk.css", "/healthz", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_pages_hold_nothing_inline_and_nothing_from_elsewhere(client: httpx.Client):
    for path in ("/", "/predict"):
        page = client.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert not re.search(r"<script(?![^>]*(src=\"/static/|type=\"application/json\"))", page)
        assert not re.search(r"(?:src|href|action)=\"(?!/|#)", page)
    for file in STATIC.iterdir():
        if file.suffix in (".css", ".js"):
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", file.read_text(encoding="utf-8")), file.name


def test_no_class_of_the_drawn_faces_is_one_of_the_page_s():
    """A face inherits the style of its place: one class for both gave it outlines that it does not have."""
    templates = STATIC.parent / "templates"
    faces, *pages = (
        {name for names in re.findall(r"class(?:=|: )[\"`]([^\"`]+)", text) for name in names.split()}
        for text in [
            (templates / "faces.svg").read_text(encoding="utf-8"),
            *(file.read_text(encoding="utf-8") for file in [*templates.glob("*.html"), *STATIC.glob("*.js")]),
        ]
    )
    assert {"skin", "tongue"} <= faces
    assert {"bars", "drop", "piece"} <= set().union(*pages)
    assert not faces & set().union(*pages)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "192.168.1.5"])
def test_a_foreign_name_is_refused_on_loopback(client: httpx.Client, host: str):
    answer = client.get("/api/current", headers={"host": host})
    assert answer.status_code == 421
    assert "kiosk.allowed_hosts" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:8765", "wall.example"])
def test_own_names_are_served(tmp_path: Path, host: str):
    with Stage(tmp_path, kiosk={"allowed_hosts": ["wall.example"]}) as stage:
        assert httpx.get(f"{stage.url}/healthz", headers={"host": host}).status_code == 200


def test_beyond_loopback_addresses_and_the_machine_s_name_are_served_and_foreign_names_are_not(tmp_path: Path):
    with Stage(tmp_path, kiosk={"host": "0.0.0.0"}) as stage:
        for host in ("192.168.1.5:80", socket.gethostname(), f"{socket.gethostname()}.local"):
            assert httpx.get(f"{stage.url}/healthz", headers={"host": host}).status_code == 200
        assert httpx.get(f"{stage.url}/healthz", headers={"host": "evil.example"}).status_code == 421


def test_requests_from_another_site_are_refused(client: httpx.Client):
    answer = client.post("/api/predict", content=b"x", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_static_files_are_kept_for_ever_under_their_hash_and_asked_for_again_otherwise(client: httpx.Client):
    address = re.search(r'href="(/static/kiosk\.css\?v=\w+)"', client.get("/").text)
    assert address is not None
    assert "immutable" in client.get(address[1]).headers["cache-control"]
    plain = client.get("/static/kiosk.css")
    assert plain.headers["cache-control"] == "no-cache"
    again = client.get("/static/kiosk.css", headers={"if-none-match": plain.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "nothing.js", "..%5capp.py"])
def test_no_other_file_can_be_had(client: httpx.Client, name: str):
    assert client.get(f"/static/{name}").status_code == 404


def test_only_predict_takes_anything_but_get(client: httpx.Client):
    for path in ("/", "/api/current", "/api/history", "/api/windows.csv", "/metrics", "/api/events"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(method, path).status_code == 405


def test_events_bring_the_current_state_and_then_each_change(stage: Stage, client: httpx.Client):
    received: list[dict[str, Any]] = []
    with client.stream("GET", "/api/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if not line.startswith("data: "):
                continue
            received.append(json.loads(line[6:]))
            if len(received) == 1:
                stage.tell(report_of(shares_of({**TYPICAL, "sad": 300.0})))
            if len(received) == 2:
                break
    for figures in received:
        conforms(figures, "Figures")
    assert received[1]["seq"] == received[0]["seq"] + 1
    assert max(received[1]["emotions"], key=lambda one: one["percent"])["label"] == "sad"


def test_identify_is_told_for_some_seconds(stage: Stage, client: httpx.Client):
    stage.live.update(identified_monotonic_s=time.monotonic())
    assert 0 < client.get("/api/current").json()["identify_s"] <= 15
    stage.live.update(identified_monotonic_s=time.monotonic() - 60)
    assert client.get("/api/current").json()["identify_s"] == 0


# -- health -----------------------------------------------------------------------------------------------------------


def test_health_and_readiness(stage: Stage, client: httpx.Client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    stage.live.update(camera=CameraState.GONE)
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
    finally:
        stage.live.update(camera=CameraState.RUNNING)


def test_metrics_are_those_of_the_agent_s_registry(stage: Stage, client: httpx.Client):
    Counter("kiosk_test_things", "Things", registry=stage.registry).inc(3)
    answer = client.get("/metrics")
    assert "kiosk_test_things_total 3.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_every_described_address_answers_as_described(client: httpx.Client):
    described = client.get("/openapi.json").json()
    assert described == OPENAPI
    for path, operations in described["paths"].items():
        if "get" in operations and path != "/api/events":
            assert client.get(path).status_code == 200, path


# -- history and download ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Forty windows, one a minute, every fourth of them suppressed."""
    with Stage(tmp_path_factory.mktemp("past")) as running:
        for minute in range(40, 0, -1):
            suppressed = minute % 4 == 0
            shares = None if suppressed else shares_of(TYPICAL, 10)
            running.store.append(report_of(shares, suppressed, age_s=minute * 60.0))
        yield running


def test_history_sums_up_buckets_and_leaves_out_what_is_withheld(past: Stage):
    history = httpx.get(f"{past.url}/api/history?from=-3600&bucket=600").json()
    conforms(history, "History")
    assert history["bucket_s"] == 600
    assert sum(bucket["windows"] for bucket in history["buckets"]) == 40
    assert sum(bucket["suppressed"] for bucket in history["buckets"]) == 10
    assert sum(bucket["people"] for bucket in history["buckets"]) == 300
    for bucket in history["buckets"]:
        if bucket["suppressed"] < bucket["windows"]:
            assert bucket["percentages"]["happy"] == pytest.approx(46.0, abs=0.1)
        else:
            assert (bucket["people"], bucket["percentages"]) == (0, None)


def test_history_takes_iso_times(past: Stage):
    now = datetime.now(timezone.utc)
    for style in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S"):
        start, end = ((now + timedelta(minutes=m)).strftime(style) for m in (-20, -10))
        history = httpx.get(f"{past.url}/api/history?from={start}&to={end}&bucket=3600").json()
        assert sum(bucket["windows"] for bucket in history["buckets"]) == 10


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=yesterday", "'from' must be ISO 8601"),
        ("to=1e400", "'to' must be ISO 8601"),
        ("from=nan", "'from' must be ISO 8601"),
        ("from=0001-01-01T00:00:00%2B14:00&to=0050-01-01", "'from' must be ISO 8601"),
        ("from=9999-12-31T23:59:59-14:00", "'from' must be ISO 8601"),
        ("from=0&to=-60", "'from' must be before 'to'"),
        ("bucket=0", "at least 1 second"),
        ("bucket=-5", "at least 1 second"),
        ("bucket=nan", "at least 1 second"),
        ("bucket=x", "number of seconds"),
        ("from=-31536000&bucket=1", "more than 2000 buckets"),
    ],
)
def test_a_wrong_query_is_told_what_is_wrong(past: Stage, query: str, said: str):
    answer = httpx.get(f"{past.url}/api/history?{query}")
    assert answer.status_code == 400
    conforms(answer.json(), "Error")
    assert said in answer.json()["error"]["detail"]


def test_the_download_holds_one_line_a_window_and_empty_cells_for_what_is_withheld(past: Stage):
    answer = httpx.get(f"{past.url}/api/windows.csv?from=-3600")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="entrance-windows.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 40
    for row in rows:
        if row["suppressed"] == "true":
            assert (row["people"], row["faces"], row["happy"], row["happy_low"]) == ("", "", "", "")
        else:
            assert float(row["happy_low"]) < float(row["happy"]) < float(row["happy_high"])


def test_a_wrong_download_is_told_what_is_wrong(past: Stage):
    assert httpx.get(f"{past.url}/api/windows.csv?from=x").status_code == 400


# -- at the start and at the end --------------------------------------------------------------------------------------


def test_a_taken_port_is_a_clear_error(tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"kiosk\.port: {port} is in use on 127\.0\.0\.1"):
            Stage(tmp_path, port=port).__enter__()


@pytest.mark.parametrize(
    ("kiosk", "said"),
    [
        ({"language": "xx"}, "no language 'xx'"),
        ({"emotions": ["happy", "smug"]}, "the model does not know smug; it has angry"),
        ({"logo": "/nowhere/logo.svg"}, "does not exist"),
        ({"logo": "/etc/passwd"}, "must be an SVG, PNG, WebP or JPEG file"),
        ({"host": "0.0.0.0", "predict": "always"}, "COUNTENANCE_KIOSK_TOKEN"),
    ],
)
def test_wrong_settings_are_errors_before_anything_is_served(tmp_path: Path, kiosk: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Stage(tmp_path, kiosk=kiosk).__enter__()


def test_without_the_extra_the_error_names_the_install_command(tmp_path: Path):
    """In a process where uvicorn cannot be imported."""
    code = """
import sys
sys.modules["uvicorn"] = None
from edge_agent.errors import MissingPackageError
from tests.support.kiosk_stage import Stage
try:
    Stage().__enter__()
except MissingPackageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "kiosk.enabled needs the package uvicorn: pip install 'countenance[kiosk]'"
    assert issubclass(MissingPackageError, ImportError)


def test_asking_for_the_page_loads_no_web_server_before_it_is_made():
    """Devices without the page pay nothing for it."""
    code = "import sys, edge_agent.kiosk; print({'starlette', 'uvicorn', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_chosen_emotions_are_shown_in_their_order(tmp_path: Path):
    with Stage(tmp_path, kiosk={"emotions": ["sad", "happy"]}) as stage:
        assert re.findall(r'data-label="(\w+)"', httpx.get(stage.url).text) == ["sad", "happy"]


def test_the_logo_is_shown_and_cannot_run_script(tmp_path: Path):
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', encoding="utf-8")
    with Stage(tmp_path, kiosk={"logo": str(logo)}) as stage:
        assert '<img class="logo" src="/logo" alt="">' in httpx.get(stage.url).text
        answer = httpx.get(f"{stage.url}/logo")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_theme_gives_colours_a_logo_and_no_faces(tmp_path: Path):
    (tmp_path / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    theme = tmp_path / "theme.yaml"
    theme.write_text(
        "scheme: dark\ncolours: {paper: '#101820', happy: '#ffd54a'}\nlogo: logo.svg\nfaces: false\n", encoding="utf-8"
    )
    with Stage(tmp_path, kiosk={"theme": str(theme)}) as stage:
        page = httpx.get(stage.url).text
        assert 'data-theme="dark" data-faceless' in page
        assert '<img class="logo" src="/logo" alt="">' in page
        assert page.index("/theme.css") > page.index("/static/kiosk.css")
        css = httpx.get(f"{stage.url}/theme.css")
        assert css.headers["content-type"].startswith("text/css")
        assert "--paper: #101820" in css.text
        assert httpx.get(f"{stage.url}/logo").status_code == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colours: {ink: red}", "colours.ink: String should match pattern"),
        ("colours: {background: '#ffffff'}", "colours.background: Extra inputs are not permitted"),
        ("colours: {ink: '#ffffff', paper: '#f0f0f0'}", "has a contrast of 1.1; people need 4.5 to read it"),
        ("logo: none.svg", "kiosk.theme: logo: "),
        ("colours: [", "not valid YAML"),
    ],
)
def test_a_wrong_theme_is_an_error_before_anything_is_served(tmp_path: Path, text: str, said: str):
    (tmp_path / "theme.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(said)):
        Stage(tmp_path, kiosk={"theme": str(tmp_path / "theme.yaml")}).__enter__()


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (None, "23:00", None),
        ("22:00-07:00", "21:59", None),
        ("22:00-07:00", "22:00", "07:00"),
        ("22:00-07:00", "06:59", "07:00"),
        ("22:00-07:00", "07:00", None),
        ("12:00-13:00", "12:30", "13:00"),
        ("12:00-13:00", "13:00", None),
    ],
)
def test_quiet_hours_begin_and_end(hours: str | None, now: str, until: str | None):
    assert quiet_until(hours, clock_time.fromisoformat(now)) == until


def test_in_quiet_hours_the_page_shows_a_clock_and_the_notice(tmp_path: Path):
    now = datetime.now(timezone.utc).astimezone()
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    with Stage(tmp_path, kiosk={"quiet_hours": hours}) as stage:
        stage.play("live")
        current = httpx.get(f"{stage.url}/api/current").json()
        conforms(current, "Figures")
        assert current["quiet_until"] == hours[6:]
        assert f'id="quiet-text">The figures are shown again from {hours[6:]}.' in httpx.get(stage.url).text


def test_several_cameras_are_shown_side_by_side(tmp_path: Path):
    """This one first; what is withheld stays withheld, and a silent one is shown as silent."""
    port, silent = free_port(), free_port()
    garden = Stage(tmp_path / "garden", port, device={"id": "garden", "name": "Sculpture <garden>"})
    with garden, Stage(tmp_path, kiosk={"cameras": [port, silent]}) as stage:
        garden.play("too_few")
        stage.play("live")
        answer = httpx.get(f"{stage.url}/api/cameras").json()
        conforms(answer, "Cameras")
        assert [(one["id"], one["figures"] and one["figures"]["state"]) for one in answer["cameras"]] == [
            ("entrance", "live"),
            ("garden", "too_few"),
            (str(silent), None),
        ]
        for path in ("/cameras", "/cameras?wall&lang=ar"):
            page = httpx.get(f"{stage.url}{path}").text
            assert re.findall(r'data-state="(\w+)"', page) == ["live", "too_few", "agent_down"]
            own, garden, shop = page.split('<li class="camera"')[1:]
            assert [part.count('class="bar ') for part in (own, garden, shop)] == [len(LABELS), 0, 0]
            assert "Sculpture &lt;garden&gt;" in garden


@pytest.mark.parametrize("hours", ["22-7", "24:00-07:00", "07:00-07:00", "22:00 - 07:00"])
def test_wrong_quiet_hours_are_refused(hours: str):
    with pytest.raises(ValueError, match="two times of the day like '22:00-07:00'"):
        KioskConfig(quiet_hours=hours)


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ({"acknowledged_use": False}, "banned in the EU"),
        ({"acknowledged_use": True, "min_people": 1}, "fewer than three people"),
        ({"acknowledged_use": True, "min_people": 3}, None),
    ],
)
def test_the_page_reminds_of_the_law_and_of_demo_settings(tmp_path: Path, privacy: dict[str, Any], said: str | None):
    with Stage(tmp_path, privacy=privacy) as stage:
        body = httpx.get(stage.url).text.split('<script type="application/json"')[0]
    remarks = re.findall(r'class="remark">([^<]*)<', body)
    assert len(remarks) == (0 if said is None else 1)
    assert said is None or said in remarks[0]


def test_it_stops_at_once_with_pages_open_and_frees_its_port(tmp_path: Path):
    port = free_port()
    before = set(threading.enumerate())
    with Stage(tmp_path, port=port) as stage:
        with httpx.Client(base_url=stage.url) as client, client.stream("GET", "/api/events") as stream:
            next(stream.iter_raw())
            started_s = time.monotonic()
            stage.kiosk.stop()
            assert time.monotonic() - started_s < 3
        assert "kiosk" not in {thread.name for thread in set(threading.enumerate()) - before}
    with Stage(tmp_path, port=port) as again:
        assert httpx.get(f"{again.url}/healthz").status_code == 200


def test_camera_states_but_running_and_starting_count_as_off(stage: Stage, client: httpx.Client):
    for camera in (CameraState.STALLED, CameraState.GONE, CameraState.ENDED):
        stage.live.update(camera=camera)
        assert client.get("/api/current").json()["state"] == "camera_off"


def test_nobody_on_the_network_reads_the_camera_s_address(stage: Stage, client: httpx.Client):
    """The reason is in the log and in systemd's status line."""
    stage.play("camera_off")
    assert "10.20.30.40" in stage.live.state.camera_detail
    with client.stream("GET", "/api/events") as stream:
        event = next(line for line in stream.iter_lines() if line.startswith("data: "))
    answers = [client.get(path).text for path in ("/", "/?wall", "/api/current", "/metrics", "/readyz")]
    for answer in (event, *answers):
        assert "10.20.30.40" not in answer
        assert "viewer" not in answer
