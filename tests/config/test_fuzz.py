"""Any file and any environment give a configuration, or exit 78 with a sentence, within two seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.cli.main import main
from edge_agent.config import Config, load_config
from edge_agent.errors import ConfigError

REFERENCE = (Path(__file__).parents[2] / "configs" / "agent.yaml").read_text(encoding="utf-8")
WITHIN_S = 2.0
"""Of processor time: this machine may be busy with something else."""
DIGITS = "9" * 5000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)

HOSTILE = {
    "decimal": f"mqtt: {{port: {DIGITS}}}",
    "hexadecimal": f"mqtt: {{port: 0x{DIGITS}}}",
    "binary": f"mqtt: {{port: 0b{'1' * 20_000}}}",
    "octal": f"mqtt: {{port: 0{'7' * 20_000}}}",
    "sexagesimal": f"mqtt: {{port: 1{':59' * 9_000}}}",
    "sexagesimal float": f"window: {{seconds: 1{':59' * 9_000}.5}}",
    "fraction": f"window: {{seconds: 1.{DIGITS}e{DIGITS}}}",
    "a number for a text": f"kiosk: {{title: 0x{DIGITS}}}",
    "a number for a key": f"0x{DIGITS}: 1",
    "anchors": f"{BOMB}mqtt: {{host: *j}}",
    "an anchor of itself": "a: &a [*a]",
    "a merge of itself": "mqtt: &a {<<: *a}",
    "brackets": "[" * 30_000,
    "braces": "mqtt: " + "{a: " * 6_000 + "1" + "}" * 6_000,
    "dashes": "- " * 15_000,
    "indents": "".join(" " * i + "a:\n" for i in range(300)),
    "question marks": "? " * 15_000,
    "unknown keys": "mqtt: {" + ", ".join(f"hots{i}: 1" for i in range(2000)) + "}",
    "one long key": f"{'a' * 30_000}: 1",
    "one long text": f"kiosk: {{title: {'a' * 30_000}}}",
    "a long list": f"kiosk: {{emotions: [{'a, ' * 9_000}]}}",
    "a long list of numbers": f"camera: {{region: [{'1, ' * 9_000}]}}",
    "too long": "#" * 10_000_000,
    "NUL": "device: {name: a\0b}",
    "an escaped NUL": 'store: {path: "a\\0b"}',
    "half a character": 'kiosk: {title: "\\ud800"}',
    "escape sequences": 'device: {name: "\\e[2J"}',
    "a date": "device: {name: 2026-01-01}",
    "a date that is none": "device: {name: 2026-99-99}",
    "a Python object": "device: !!python/object/apply:os.system [true]",
    "bytes": "mqtt: {host: !!binary aGk=}",
    "a set": "mqtt: !!set {a, b}",
    "a mapping as key": "? {a: b}\n: c",
    "another YAML": "%YAML 9.9\n---\na: 1",
}


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """`edge-agent config check`: how it ends, once it is sure that it took no longer and said something readable."""
    start = time.process_time()
    code = main(["config", "check", str(path)])
    assert time.process_time() - start < WITHIN_S
    said = capsys.readouterr().err
    if code != 0:
        assert len(said.splitlines()) >= 1
        assert len(said) < 20_000
        assert all(len(line) < 1_000 and line.isprintable() for line in said.splitlines())
    return code


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_at_once(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    assert check(path, capsys) == 78


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if "\0" not in text], ids=lambda text: text[:12])
def test_a_hostile_variable_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match="environment variable COUNTENANCE_KIOSK__TITLE"):
        load_config(None, {"COUNTENANCE_KIOSK__TITLE": f"[{text}]" if text.startswith("#") else text})
    assert time.process_time() - start < WITHIN_S


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00", "device: {name: Küche}".encode("latin-1"), "a: 1".encode("utf-16")])
def test_another_encoding_is_refused(raw: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.yaml"
    path.write_bytes(raw)
    assert check(path, capsys) == 78


SECTIONS = st.sampled_from(sorted(Config.model_fields))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=8)
    | st.dates() | st.integers(min_value=0, max_value=4000).map(lambda digits: 10**digits)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(SCALARS | st.sampled_from(["enabled"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def trees(draw: st.DrawFn) -> str:
    """Any value at any key, written as YAML."""
    section = draw(SECTIONS)
    keys = sorted(Config.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
    tree = {section: draw(VALUES | st.dictionaries(st.sampled_from(keys), VALUES, max_size=4))}
    return str(yaml.safe_dump(tree, allow_unicode=draw(st.booleans())))


PIECES = st.text(max_size=4) | st.sampled_from([": ", "\t", "&a ", "*a", "- ", "[", "'", '"', "\n"])


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The reference file with a few of its places changed."""
    text = REFERENCE
    for _ in range(draw(st.integers(1, 4))):
        at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 40))
        text = (
            text[:at]
            + draw(st.text(max_size=4) | st.sampled_from([": ", "\t", "&a ", "*a", "- ", "[", "'", '"', "\n"]))
            + text[at + cut :]
        )
    return text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees() | mutations() | st.text(max_size=200) | st.binary(max_size=100))
def test_any_file_is_a_configuration_or_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | bytes
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    assert check(path, capsys) in (0, 6, 78)
