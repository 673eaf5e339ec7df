"""The page's languages: complete, and numbers as the browser writes them."""

from __future__ import annotations

import json
import string

import pytest

from edge_agent.config import Config, reminders
from edge_agent.errors import ConfigError
from edge_agent.kiosk.language import DIRECTORY, available, load_language
from edge_agent.kiosk.pages import STATES
from edge_agent.vision.model import load_model

ENGLISH = json.loads((DIRECTORY / "en.json").read_text(encoding="utf-8"))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_promised_languages_are_there():
    assert {"en", "de", "fr", "es", "tr", "ar"} <= set(available())


@pytest.mark.parametrize("tag", available())
def test_every_language_has_exactly_the_keys_of_english(tag: str):
    assert set(load_language(tag).texts) == set(ENGLISH)


@pytest.mark.parametrize("tag", available())
def test_every_text_has_the_places_that_english_has_and_none_is_empty(tag: str):
    texts = load_language(tag).texts
    for key, text in texts.items():
        assert text.strip(), key
        assert places(text) == places(ENGLISH[key]), key


@pytest.mark.parametrize("tag", available())
def test_every_emotion_of_the_shipped_model_is_translated(tag: str):
    for label in load_model(None).info.labels:
        assert f"emotion_{label}" in load_language(tag).texts


@pytest.mark.parametrize("tag", available())
def test_every_state_has_a_word(tag: str):
    for state in STATES:
        assert load_language(tag).text(f"state_{state}")


def test_the_page_says_in_english_what_log_and_doctor_say():
    assert ENGLISH["acknowledge"] == reminders.ACKNOWLEDGE_USE


def test_a_region_falls_back_to_its_language():
    assert load_language("de-AT").tag == "de"


def test_an_unknown_language_names_those_that_there_are():
    with pytest.raises(ConfigError, match=r"no language 'xx'; choose one of ar, de, en"):
        load_language("xx")


def test_an_emotion_nobody_has_translated_stands_for_itself():
    assert load_language("en").emotion("quiet_joy") == "Quiet joy"


@pytest.mark.parametrize(
    ("tag", "value", "decimals", "written"),
    [
        ("en", 42.5, 0, "43"),
        ("en", 43.49, 0, "43"),
        ("de", 12.34, 1, "12,3"),
        ("ar", 10.0, 0, "١٠"),
        ("ar", 0.5, 1, "٠٫٥"),
    ],
)
def test_numbers_are_rounded_half_up_in_the_language_s_digits(tag: str, value: float, decimals: int, written: str):
    assert load_language(tag).number(value, decimals) == written


def test_the_default_title_is_translated():
    assert ENGLISH["title"] == Config().kiosk.title


def test_the_default_language_has_a_file():
    assert load_language(Config().kiosk.language).tag == "en"
