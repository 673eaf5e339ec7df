import pytest

from edge_agent.host.redaction import is_secret_name, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:hunter2@cam/stream", "rtsp://admin:***@cam/stream"),
        ("rtsp://admin:hun@ter2@cam:554/stream", "rtsp://admin:***@cam:554/stream"),
        ("rtsp://admin:hun/ter2@cam/stream", "rtsp://admin:***@cam/stream"),
        ("rtsp://:hunter2@cam", "rtsp://:***@cam"),
        ("me:hunter2@broker:1883", "me:***@broker:1883"),
        ("mqtt.host: 'me:hun:ter2@broker' is wrong", "'me:***@broker' is wrong"),
        ("cannot open 'http://a:hunter2@b', retry", "cannot open 'http://a:***@b', retry"),
        ("rtspsrc location=rtsp://cam user-id=me user-pw=hunter2 ! fakesink", "user-pw=*** ! fakesink"),
        ("http://cam/mjpg?user=me&password=hunter2&x=1", "http://cam/mjpg?user=me&password=***&x=1"),
        ('{"mqtt_password": "hun ter2"}', '{"mqtt_password": ***}'),
        ("api-key: hunter2", "api-key: ***"),
    ],
)
def test_passwords_are_hidden_wherever_they_are_written(text: str, expected: str) -> None:
    assert expected in redact(text)
    assert "ter2" not in redact(text)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8765/events", "rtsp://cam:554/stream", "camera open backend=opencv", "a: b", "12:30"]
)
def test_text_without_a_password_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [("password", True), ("mqtt_password", True), ("apiKey", True), ("passed", False), ("host", False)],
)
def test_names_of_secret_fields_are_known(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret
