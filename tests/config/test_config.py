"""The configuration: one file, all faults at once, and no secret in sight."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edge_agent.assembly import Assembly
from edge_agent.cli.main import main
from edge_agent.config import Config, load_config
from edge_agent.config.credentials import mqtt_password
from edge_agent.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def keys(model: dict, prefix: str = "") -> set[str]:
    found = set()
    for name, value in model.items():
        found |= keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


def test_the_reference_file_holds_exactly_the_defaults():
    assert load_config(CONFIGS / "agent.yaml", {}) == Config()


def test_the_reference_file_names_and_explains_every_setting():
    text = (CONFIGS / "agent.yaml").read_text()
    named = keys(yaml.safe_load(text)) | {"device.id"}  # its default is the host name, so it stands as a comment
    assert named == keys(Config().model_dump())
    assert "# id: " in text


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_ready_made_file_is_valid(path):
    assert load_config(path, {})


def test_all_faults_are_named_at_once_with_file_key_value_and_remedy(tmp_path):
    path = write(tmp_path, "camera: {fps: fast, rotate_deg: 45}\nmqtt: {prot: 1883}\nwindow: {seconds: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert any("camera.fps: 'fast'" in line for line in lines)
    assert any("camera.rotate_deg: 45" in line and "90" in line for line in lines)
    assert any("mqtt.prot: unknown key; did you mean 'port'?" in line for line in lines)
    assert any("window.seconds: 0" in line and "greater than or equal to 1" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("# nothing but a comment\n", "the file is empty"),
        ("camera: [unclosed", "not valid YAML"),
        ("camera:\n  fps: 15\n  source: [1\n", "line 4: not valid YAML: a '[' or '{' is not closed"),
        ("device:\n  id: {{ name }}\n", "line 2: not valid YAML: a key must be a plain word; put a value that begins"),
        ("device:\n  id: 2026-13-01\n", "line 2: not valid YAML: this looks like a value of the kind 'timestamp'"),
        ("device:\n  id: !!bool x\n", "line 2: not valid YAML: this looks like a value of the kind 'bool'"),
        ("device:\n  id: !!timestamp x\n", "line 2: not valid YAML: this looks like a value of the kind 'timestamp'"),
        ("device:\n  id: !!int ''\n", "line 2: not valid YAML: this looks like a value of the kind 'int'"),
        ("device: !!map 5\n", "line 1: not valid YAML: expected a mapping node"),
        ("a: 1\n---\nb: 2\n", "line 2: not valid YAML: keep one document: take the '---' out"),
        ("device: {id: a\0}", "not valid YAML: unacceptable character"),
        ("[" * 3000, "nested too deeply"),
        ("- " * 3000, "nested too deeply"),
        ("1: {}\n", "1: unknown key; known here: "),
        ("- a list\n", "top level holds sections"),
        ("camera:\n  fps: 1\n  fps: 2\n", "is there twice"),
        ("device: {id: 'a/b'}", "level of MQTT topics"),
        ("device: {id: ''}", "level of MQTT topics"),
        ("mqtt: {topic_prefix: 'a/#'}", "MQTT topic levels"),
        ("mqtt: {host: a..b}", "mqtt.host: 'a..b' is wrong: must be a host name or address: parts of 1 to 63"),
        (f"mqtt: {{host: {'a' * 70}}}", "parts of 1 to 63 characters"),
        ('kiosk: {host: "a\\0b"}', "a text cannot hold the character '\\x00'"),
        ('metrics: {host: "a b"}', "without spaces"),
        ("camera: {region: [0.5, 0, 0.6, 1]}", "inside the picture"),
        ("camera: {source: [1]}", "camera.source: [1]"),
        ("mqtt: {tls: {cert_file: a.pem}}", "belong together"),
        ("mqtt: {tls: {ca_file: a.pem}}", "ca_file without TLS: add 'enabled: true'"),
        ("mqtt: {tls: {cert_file: a.pem, key_file: b.pem, enabled: false}}", "cert_file and key_file without TLS"),
        ("window: {seconds: .nan}", "finite"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_config(write(tmp_path, text), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kiosk:\n  title: Mood: today\n", "line 2: not valid YAML: a text with a colon in it must be in quotes"),
        ("kiosk:\n  title: Mood: today\n", "as in: title: 'Mood: today' "),
        ("mqtt:\n  host:broker\n  port: 1883\n", "the space after the colon in the line above"),
        ("kiosk:\n\ttitle: x\n", "line 2: not valid YAML: indent with spaces, not with tabs"),
        ("kiosk:\n  title: @home\n", "put a text that begins with '@' in quotes"),
        ("kiosk:\n  title: *wow*\n", "put a text that begins with '*' or '&' in quotes"),
        ("kiosk:\n  title: &x y\n", "put a text that begins with '*' or '&' in quotes"),
        ("kiosk:\n  title: !x y\n", "put a text that begins with '!' in quotes"),
        ("kiosk:\n  title: #1\n", "put quotes around a text that begins with '#'"),
        ("kiosk:\n  title: 'Don't'\n", "put the whole value in quotes"),
        ('kiosk:\n  title: "How\n', "a quote is opened here and never closed"),
        ('store:\n  path: "C:\\data"\n', "put it in single quotes"),
        ("mqtt:\n  host: a\n port: 1\n", "line 3: not valid YAML: begin this line below the first letter of"),
        ("mqtt: {tls: true}", "mqtt.tls: True is wrong: must hold keys; write tls: {enabled: true}"),
        ("mqtt: false", "write mqtt: {enabled: false}"),
        ("mqtt:\n  host=broker\n", "mqtt: 'host=broker' is wrong: must hold keys, one a line, such as 'host: ...'"),
        ("camera:\n", "camera: is empty: give it a value, or take 'camera:' out"),
        ("device: {id: 12}", "must be a text: put it in quotes, or YAML takes it for a number"),
        ("kiosk: {language: no}", "must be a text: put it in quotes, or YAML takes it for yes or no"),
        ("kiosk: {emotions: happy}", "must be a list, as in emotions: ['happy']"),
        ("mqtt: {port: '1883,'}", "mqtt.port: '1883,' is wrong: must be a whole number"),
        ("mqtt: {enabled: ja}", "must be true or false"),
        ("mqtt: {host: 'mqtt://broker:1883'}", "must be the name or address alone; write host: broker, port: 1883"),
        ("mqtt: {host: 'mqtts://me:pw@broker'}", "write host: broker, tls: {enabled: true}"),
        ("mqtt: {host: 'broker:1883'}", "write host: broker, port: 1883"),
        ("mqtt: {host: '[::1]:1883'}", "write host: ::1, port: 1883"),
        ("mqtt: {host: 'broker/mqtt'}", "write host: broker"),
        ("mqtt: {host: 'a:b:c'}", "must be a host name or address"),
        ("mqtt: {host: 'me:geheim@broker'}", "'me:***@broker' is wrong: must be the name or address alone"),
        ("mqtt: {host: 'broker,1883'}", "must be a host name or address, without spaces or commas"),
        ("window: {seconds: 10:00}", "YAML takes 10:00 for 600 and 010 for 8: write a number plainly"),
        ("camera:\n  source: 10:30:00", "line 2: not valid YAML: YAML takes 10:00 for 600"),
        ("privacy: {min_people: 010}", "YAML takes 10:00 for 600"),
        ("window: {seconds: 1_0.5}", "YAML takes 10:00 for 600"),
        ("camera: {masks: [0, 0, 1, 1]}", "must be a list itself, as in masks: [[one, another]]"),
        ("kiosk: {host: 'http://0.0.0.0:80'}", "write host: 0.0.0.0, port: 80"),
    ],
)  # fmt: skip
def test_what_people_get_wrong_is_told_in_plain_words(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        load_config(write(tmp_path, text), {})
    assert "me:pw" not in str(caught.value)


def test_a_password_in_a_line_that_is_no_yaml_is_not_repeated(tmp_path):
    for text in ("mqtt:\n  password: a: hunter2\n", "camera:\n  source: rtsp://me:hunter2@camera/s: 1\n"):
        with pytest.raises(ConfigError, match="must be in quotes") as caught:
            load_config(write(tmp_path, text), {})
        assert "hunter2" not in str(caught.value)


def test_a_missing_file_and_one_that_is_not_text_are_config_errors(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "absent.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "binary.yaml", {})


@pytest.mark.parametrize("name", ["/dev/zero", "a\0b", "pipe", "."])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"no regular file|can have this name"):
        load_config(tmp_path / name, {})


def test_the_environment_overrides_single_keys_and_is_named_in_errors(tmp_path):
    path = write(tmp_path, "mqtt: {host: broker.example, port: 1883}\n")
    config = load_config(path, {"COUNTENANCE_MQTT__PORT": "1884", "COUNTENANCE_MQTT__TLS__ENABLED": "true"})
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls.enabled) == ("broker.example", 1884, True)
    with pytest.raises(ConfigError, match=r"environment variable COUNTENANCE_MQTT__PORT: mqtt\.port: 'x'"):
        load_config(path, {"COUNTENANCE_MQTT__PORT": "x"})


@pytest.mark.parametrize("value", ["{{ name }}", "2026-13-01", "[" * 3000, "[unclosed", "{a: 1, a: 2}"])
def test_an_environment_variable_that_is_no_value_is_named(value):
    with pytest.raises(ConfigError, match=r"^environment variable COUNTENANCE_DEVICE__ID.*: not valid YAML: "):
        load_config(None, {"COUNTENANCE_DEVICE__ID": value})


@pytest.mark.parametrize(
    "host", ["::1", "192.0.2.1", "broker.example.org", "bücher.example", "box", "box.", "fe80::1%eth0"]
)
def test_every_kind_of_host_is_taken(host):
    assert Config.model_validate({"mqtt": {"host": host}}).mqtt.host == host


def test_the_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().mqtt.port = 1  # type: ignore[misc]


def test_a_password_in_the_file_is_refused_without_being_repeated(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "mqtt: {password: hunter2}\n"), {})
    assert "is never in the configuration" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_cameras_password_is_hidden_in_errors_however_long_the_value_is(tmp_path):
    address = "rtsp://admin:" + "hunter2" * 20 + "@camera/s"
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, f"camera: {{fps: -1, source: ['{address}'], region: [0.5, 0, 1, 1]}}\n"), {})
    assert "hunter2" not in str(caught.value)
    assert all(f"camera.{key}: " in str(caught.value) for key in ("fps", "source", "region")), "all at once"


def test_the_password_comes_from_a_file_then_credentials_then_the_environment(tmp_path):
    (tmp_path / "mqtt_password").write_text("from-systemd\n")
    own = tmp_path / "own"
    own.write_text("from-file\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "COUNTENANCE_MQTT_PASSWORD": "from-environment"}
    found = [mqtt_password(own, environ), mqtt_password(None, environ)]
    environ.pop("CREDENTIALS_DIRECTORY")
    found.append(mqtt_password(None, environ))
    assert [secret.get_secret_value() for secret in found if secret] == [
        "from-file",
        "from-systemd",
        "from-environment",
    ]
    assert mqtt_password(None, {}) is None
    assert "from-file" not in repr(found)


def test_a_password_file_that_is_empty_or_missing_is_an_error(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("empty", "absent"):
        with pytest.raises(ConfigError, match=name):
            mqtt_password(tmp_path / name, {})


def test_config_check_exits_0_on_a_good_file_and_78_on_a_bad_one(tmp_path, capsys):
    assert main(["config", "check", str(CONFIGS / "agent.yaml")]) == 0
    assert main(["config", "check", str(write(tmp_path, "windows: {}\n"))]) == 78
    assert "did you mean 'window'?" in capsys.readouterr().err


FITS_NOT = {
    "kiosk: {enabled: true, language: pt}": "kiosk.language: no language 'pt'",
    "kiosk: {enabled: true, emotions: [happy, joy]}": "kiosk.emotions: the model does not know joy",
    "kiosk: {enabled: true, logo: /nowhere/logo.svg}": "kiosk.logo: /nowhere/logo.svg does not exist",
    "kiosk: {enabled: true, port: 9465}\nmetrics: {enabled: true}": "metrics.port: 9465 is kiosk.port, too",
    "kiosk: {enabled: true, host: '::', port: 9465}\nmetrics: {enabled: true}": "metrics.port: 9465 is kiosk.port, too",
    "mqtt: {password_file: /nowhere/mqtt}": "cannot read /nowhere/mqtt, the file of the MQTT password",
}
FITS = [
    "kiosk: {enabled: false, language: pt, emotions: [joy], logo: /nowhere/logo.svg}",
    "kiosk: {enabled: true, language: de-AT, emotions: [happy]}",
    "kiosk: {enabled: true, port: 9465, host: 192.0.2.1}\nmetrics: {enabled: true}",
    "mqtt: {enabled: false, password_file: /nowhere/mqtt}",
]


@pytest.mark.parametrize(("text", "fault"), FITS_NOT.items())
def test_config_check_refuses_what_run_refuses(tmp_path, capsys, text, fault):
    path = write(tmp_path, f"{text}\nstore: {{path: {tmp_path}/windows.sqlite}}\n")
    assert main(["config", "check", str(path)]) == 78
    assert f"{path}: {fault}" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=re.escape(fault)):
        Assembly(load_config(path))
    assert not (tmp_path / "windows.sqlite").exists(), "nothing is begun"


@pytest.mark.parametrize("text", FITS)
def test_config_check_takes_what_run_takes(tmp_path, text):
    assert main(["config", "check", str(write(tmp_path, text))]) == 0


def test_config_check_names_all_that_does_not_fit_at_once(tmp_path, capsys):
    kiosk = "{enabled: true, language: pt, emotions: [joy], logo: /nowhere/logo.svg, port: 9465}"
    path = write(tmp_path, f"kiosk: {kiosk}\nmetrics: {{enabled: true}}\n")
    assert main(["config", "check", str(path)]) == 78
    faults = capsys.readouterr().err.splitlines()
    assert len(faults) == 4
    assert all(key in " ".join(faults) for key in ("metrics.port", "kiosk.language", "kiosk.logo", "kiosk.emotions"))


def test_a_plain_check_imports_nothing_heavy():
    script = (
        "import sys; from edge_agent.cli.main import main; code = main(['config', 'check', sys.argv[1]]); "
        "sys.exit(code or sorted({'numpy', 'cv2', 'starlette', 'sqlite3'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", script, str(CONFIGS / "agent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_config_schema_is_a_json_schema_of_every_section(capsys):
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(Config.model_fields)
