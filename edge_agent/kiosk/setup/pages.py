"""The pages of ``/setup``: the way to the encrypted address, the code, the questions, and the wait for the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from edge_agent.cameras.found import FoundCamera
from edge_agent.first_start.answers import BANNED_PLACES, Answers, PageAnswer, Place
from edge_agent.kiosk.language import Language, available, load_language
from edge_agent.kiosk.render import Html, data_block, fill, join, static_url

ROTATIONS = (0, 90, 180, 270)


def code_page(words: Language, query: str, refusal: str) -> Html:
    """Asks for the code; ``refusal`` says why the last one was not taken."""
    return _page(
        words,
        "setup_code.html",
        {
            **_texts(words, "setup_code_intro", "setup_code_label", "setup_code_send", "setup_code_delete"),
            "action": f"/setup/code{query}",
            "error": words.text(f"setup_code_{refusal}") if refusal else "",
        },
    )


def tls_page(words: Language, address: str) -> Html:
    """On a connection that anybody could read: the way to one that nobody can."""
    return _page(
        words,
        "setup_tls.html",
        {
            **_texts(words, "setup_tls_intro", "setup_tls_warning", "setup_tls_link"),
            "address": address,
        },
    )


def wait_page(words: Language, query: str) -> Html:
    """After the setup, at the address of the page to come: its script goes there as soon as the agent answers."""
    texts = _texts(words, "setup_done_words", "setup_done_page", "setup_done_link")
    return _page(words, "setup_wait.html", {**texts, "query": query}, heading=words.texts["setup_done"])


def questions_page(words: Language, cameras: Sequence[FoundCamera]) -> Html:
    """All questions on one page."""
    keys = [key for key in words.texts if key.startswith("setup_") and "{" not in words.texts[key]]
    return _page(
        words,
        "setup_questions.html",
        {
            **_texts(words, *keys),
            "cameras": join([_option(camera.name, f"{camera.backend} {camera.source}") for camera in cameras]),
            "rotations": join([_option(f"{words.number(degrees)}°", degrees) for degrees in ROTATIONS]),
            "places": join([_radio("place", place, words.text(f"setup_place_{place}")) for place in get_args(Place)]),
            "pages": join([_radio("page", page, words.text(f"setup_page_{page}")) for page in get_args(PageAnswer)]),
            "languages": join([_option(_name(tag), tag, is_chosen=tag == words.tag) for tag in available()]),
            "name": Answers().name,
            "page": data_block({"texts": words.texts, "banned": BANNED_PLACES, "figures": {"emotions": []}}),
        },
    )


def _page(words: Language, content: str, values: Mapping[str, Any], *, heading: str = "") -> Html:
    """A template's content in the frame that all have; a page with a heading of its own offers no other language."""
    arabic = words.texts["dir"] == "rtl"
    return fill(
        "setup_frame.html",
        {
            "lang": words.tag,
            "dir": words.texts["dir"],
            "font": f"/static/{'vazirmatn-arabic.woff2' if arabic else 'figtree-latin.woff2'}",
            "css": static_url("kiosk.css"),
            "setup_css": static_url("setup.css"),
            "script": static_url("setup.js"),
            "icon": static_url("icon.svg"),
            "setup_title": words.texts["setup_title"],
            "heading": heading or words.texts["setup_title"],
            "languages_nav": "" if heading else _languages(words),
            "content": fill(content, values),
        },
    )


def _languages(words: Language) -> Html:
    links = [fill("setup_language.html", {"tag": tag, "name": _name(tag)}) for tag in available() if tag != words.tag]
    return fill("setup_languages.html", {**_texts(words, "setup_languages"), "language_links": join(links)})


def _name(tag: str) -> str:
    """A language's own name."""
    return load_language(tag).texts["name"]


def _texts(words: Language, *keys: str) -> dict[str, str]:
    return {key: words.texts[key] for key in keys}


def _option(text: str, value: object, *, is_chosen: bool = False) -> Html:
    return fill("option.html", {"value": value, "text": text, "chosen": Html(" selected") if is_chosen else ""})


def _radio(name: str, value: str, text: str) -> Html:
    return fill("radio.html", {"name": name, "value": value, "text": text})
