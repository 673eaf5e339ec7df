"""The two pages in one language, as they are before, or without, any script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_agent.config import Config, KioskConfig
from edge_agent.config.reminders import USUAL_MIN_PEOPLE
from edge_agent.kiosk.language import Language
from edge_agent.kiosk.places import Place
from edge_agent.kiosk.reading.refusal import MAX_UPLOAD_MB
from edge_agent.kiosk.render import STATIC, Html, data_block, fill, join, sprite, static_url
from edge_agent.kiosk.theme import read_theme
from edge_agent.kiosk.view import State, strongest
from edge_agent.kiosk.visit import Visit
from edge_agent.shares.site import LEAST_PEOPLE
from edge_agent.vision.sitting import Progress

_FACES = frozenset({"angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"})
_SCHEMES = ("light", "dark")
_DEFAULT_TITLE = KioskConfig().title
_NO_FIGURE = "–"
FAMILIAR_FROM = 0.5
"""Below it the page says that the camera's faces are unlike those that the model was measured on."""
STATES = (*(state.value for state in State), "agent_down", "stale")


def _is_unfamiliar(figures: Mapping[str, Any]) -> bool:
    return figures["familiar"] is not None and figures["familiar"] < FAMILIAR_FROM


def board(config: Config, visit: Visit, figures: Mapping[str, Any], *, can_predict: bool, has_example: bool) -> Html:
    """The live page."""
    words = visit.language
    stale = _is_stale(figures)
    state = "stale" if stale else str(figures["state"])
    top = strongest(figures["emotions"])
    headline = _headline(words, figures, state, state_text=_state_text(config, words, state))
    return fill(
        "board.html",
        {
            **_common(config, visit),
            **_texts(words, "skip", "shares", "trend", "trend_minutes", "trend_hour", "trend_day", "trend_week"),
            **_texts(words, "trend_table", "trend_chart", "trend_empty", "close", "notice", "notice_meaning"),
            "range": words.text("unfamiliar" if _is_unfamiliar(figures) else "range"),
            "state": state,
            "mood": _kind(top["label"]) if top else "none",
            "script": static_url("board.js"),
            "device_name": config.device.shown_name,
            "device_id": config.device.id,
            "refresh_s": max(5, round(config.window.seconds)),
            "chip": words.text(f"state_{state}"),
            "clock": _clock(words, datetime.now().astimezone()),
            "place": fill("place.html", {"place": config.device.name}) if config.device.name else Html(""),
            "face": headline.face,
            "number": headline.number,
            "word": headline.word,
            "lead": headline.lead,
            "text": headline.text,
            "people": headline.people,
            "last": _last(words, figures) if stale else "",
            **_quiet(words, figures["quiet_until"]),
            "bars": join([_bar(words, emotion) for emotion in figures["emotions"]]),
            "remarks": _remarks(config, words, is_wall=visit.wall, has_example=has_example),
            "wall": _wall(visit),
            "links": Html("") if visit.wall else _links(visit, can_predict=can_predict),
            "page": data_block(
                {
                    "texts": words.texts,
                    "state_texts": {name: _state_text(config, words, name) for name in STATES},
                    "figures": figures,
                    "familiar_from": FAMILIAR_FROM,
                }
            ),
        },
    )


def cameras_page(config: Config, visit: Visit, places: Sequence[Place]) -> Html:
    """Several cameras side by side; ``cameras.js`` asks for it again with every window."""
    words = visit.language
    return fill(
        "cameras.html",
        {
            **_common(config, visit),
            **_texts(words, "cameras", "notice", "notice_meaning", "range"),
            "script": static_url("cameras.js"),
            "refresh_s": max(5, round(config.window.seconds)),
            "wall": _wall(visit),
            "clock": _clock(words, datetime.now().astimezone()),
            "places": join([_place(words, place) for place in places]),
            "page": data_block(
                {"texts": {key: words.texts[key] for key in ("locale", "percent", "state_agent_down")}, "figures": {}}
            ),
        },
    )


def _place(words: Language, place: Place) -> Html:
    figures = place.figures
    if figures is None:
        state, top = "agent_down", None
    else:
        state, top = "stale" if _is_stale(figures) else str(figures["state"]), strongest(figures["emotions"])
    counted = figures is not None and figures["span_s"] is not None and state != "stale"
    people = ""
    if figures is not None and counted:
        span = _span(words, float(figures["span_s"]))
        people = words.text("people", n=words.number(figures["people"]), span=span)
    ordered = [] if figures is None or top is None else figures["emotions"]
    return fill(
        "camera.html",
        {
            "name": place.name,
            "state": state,
            "mood": _kind(top["label"]) if top else "none",
            "stale": Html(" data-stale") if state in ("stale", "agent_down") else Html(""),
            "chip": words.text(f"state_{state}"),
            "face": _kind(top["label"]) if top else ("other" if state == "stale" else state),
            "people": people,
            "bars": join([_bar(words, emotion) for emotion in ordered]),
        },
    )


def _wall(visit: Visit) -> Html:
    return Html(f' data-wall data-distance="{visit.distance_m}"') if visit.wall else Html("")


def predict_page(
    config: Config, visit: Visit, *, asks_token: bool, answer: Mapping[str, Any] | None = None, error: str = ""
) -> Html:
    """The page that reads a picture; ``answer`` and ``error`` are for browsers without script."""
    words = visit.language
    keys = [key for key in words.texts if key.startswith("predict_")]
    token = fill("token.html", _texts(words, "predict_token")) if asks_token else Html("")
    limit = words.number(MAX_UPLOAD_MB)
    return fill(
        "predict.html",
        {
            **_common(config, visit),
            **_texts(words, *keys, "board_link", "notice", "notice_meaning", "skip"),
            "query": visit.query,
            "predict_formats": words.text("predict_formats", n=limit),
            "script": static_url("predict.js"),
            "token_field": token,
            "error": words.text(f"error_{error}", n=limit) if error else "",
            "result": _result(words, answer) if answer is not None else "",
            "page": data_block({"texts": words.texts, "max_mb": MAX_UPLOAD_MB, "figures": {"emotions": []}}),
        },
    )


def calibrate_page(config: Config, visit: Visit, progress: Progress | None, *, error: str, result: str) -> Html:
    """The page of a sitting; ``progress`` is None where calibration is off."""
    words = visit.language
    forms: list[Html] = []
    status, asks = result, progress is not None and progress.asked is not None
    if progress is not None and progress.asked is not None:
        status = words.text("calibrate_show", emotion=words.emotion(progress.asked))
    elif progress is not None:
        count = words.text("calibrate_count", n=words.number(progress.people), faces=words.number(progress.faces))
        least = words.text("calibrate_least", n=words.number(LEAST_PEOPLE))
        status = result or (count if progress.is_enough else f"{count} {least}")
        forms.append(_form("begin", words.text("calibrate_begin", n=words.number(progress.people + 1))))
        if progress.is_enough:
            forms.append(_form("finish", words.text("calibrate_finish")))
        if progress.people:
            forms.append(_form("clear", words.text("calibrate_clear")))
    return fill(
        "calibrate.html",
        {
            **_common(config, visit),
            **_texts(words, "calibrate_title", "calibrate_intro", "notice", "board_link"),
            "refresh": Html('<meta http-equiv="refresh" content="1">') if asks else Html(""),
            "error": error,
            "status": status,
            "forms": join(forms),
        },
    )


def _form(action: str, text: str) -> Html:
    return fill("act.html", {"action": action, "text": text})


def _common(config: Config, visit: Visit) -> dict[str, object]:
    kiosk, words, theme = config.kiosk, visit.language, read_theme(config.kiosk.theme)
    has_logo = kiosk.logo is not None or theme.logo is not None
    scheme = theme.scheme or (visit.theme if visit.theme in _SCHEMES else "")
    arabic = words.texts["dir"] == "rtl"
    return {
        "lang": words.tag,
        "dir": words.texts["dir"],
        "theme": Html((f' data-theme="{scheme}"' if scheme else "") + ("" if theme.faces else " data-faceless")),
        "title": words.text("title") if kiosk.title == _DEFAULT_TITLE else kiosk.title,
        "font": _font_url("vazirmatn-arabic.woff2" if arabic else "figtree-latin.woff2"),
        "css": static_url("kiosk.css"),
        "own_css": Html('<link rel="stylesheet" href="/theme.css">') if theme.css else Html(""),
        "icon": static_url("icon.svg"),
        "sprite": sprite(),
        "logo": Html('<img class="logo" src="/logo" alt="">') if has_logo else Html(""),
    }


def _font_url(name: str) -> str:
    assert (STATIC / name).is_file()
    return f"/static/{name}"


def _texts(words: Language, *keys: str) -> dict[str, object]:
    return {key: words.texts[key] for key in keys}


def _kind(label: str) -> str:
    return label if label in _FACES else "other"


def _is_stale(figures: Mapping[str, Any]) -> bool:
    measuring = figures["state"] in (State.LIVE, State.NOBODY, State.TOO_FEW)
    return bool(measuring and figures["age_s"] > figures["stale_after_s"])


def _state_text(config: Config, words: Language, state: str) -> str:
    if state in ("live", "stale"):
        return ""
    return words.text(f"state_{state}_text", n=words.number(config.privacy.min_people))


def _doubt(words: Language, figures: Mapping[str, Any]) -> str:
    return words.text(f"doubt_{figures['doubt']}") if figures["doubt"] and not _is_stale(figures) else ""


@dataclass(frozen=True, slots=True)
class _Headline:
    """The texts of the card beside the bars."""

    face: str
    number: str
    word: str
    lead: str
    text: str
    people: str


def _headline(words: Language, figures: Mapping[str, Any], state: str, *, state_text: str) -> _Headline:
    """What has changed, where that is known; else how many people were counted, or the state. ``board.js`` does it
    again with every window."""
    top, compared, is_stale = strongest(figures["emotions"]), figures["compared"], state == "stale"
    note = ("" if is_stale else _doubt(words, figures)) or state_text
    if top is None or is_stale or figures["span_s"] is None:
        face = _kind(top["label"]) if top else ("other" if is_stale else state)
        return _Headline(face, "", words.text(f"state_{state}"), "", note, "")
    span, people = _span(words, float(figures["span_s"])), words.number(figures["people"])
    found = compared and compared["difference"]
    if found:
        return _Headline(
            face=_kind(found["label"]),
            number="",
            word=words.emotion(found["label"]),
            lead=words.text(f"compare_{_direction(found)}_{found['past']}"),
            text=note or _change(words, found, compared["span_s"]),
            people=words.text("people", n=people, span=span),
        )
    pasts = words.text("comma").join(words.text(f"compare_{past}") for past in compared["pasts"]) if compared else ""
    none = words.text("compare_none", pasts=pasts) if pasts else ""
    return _Headline(_kind(top["label"]), people, words.text("counted"), span, note or none, "")


def _direction(found: Mapping[str, Any]) -> str:
    return "more" if found["now"]["percent"] > found["before"]["percent"] else "less"


def _change(words: Language, found: Mapping[str, Any], span_s: float) -> str:
    now, before = (words.percent(found[side]["percent"]) for side in ("now", "before"))
    key = "compare_usually" if found["past"] == "usual" else "compare_figures"
    return words.text(key, now=now, before=before, span=_span(words, span_s))


def _span(words: Language, span_s: float) -> str:
    if span_s >= 120:
        return words.text("span_minutes", n=words.number(span_s / 60))
    return words.text("span_seconds", n=words.number(span_s))


def _quiet(words: Language, until: str | None) -> dict[str, object]:
    """What covers the board in quiet hours."""
    end = "" if until is None else _clock(words, datetime.strptime(until, "%H:%M"))  # noqa: DTZ007 (a time of the day)
    return {
        "quiet": words.text("quiet"),
        "quiet_hidden": Html(" hidden") if until is None else Html(""),
        "quiet_text": words.text("quiet_text", time=end) if end else "",
    }


def _last(words: Language, figures: Mapping[str, Any]) -> str:
    end = datetime.fromisoformat(figures["window_end"].replace("Z", "+00:00")).astimezone()
    return words.text("last_figures", time=_clock(words, end))


def _clock(words: Language, moment: datetime) -> str:
    hour, minute = (words.number(part).rjust(2, words.texts["digits"][0]) for part in (moment.hour, moment.minute))
    return f"{hour}:{minute}"


def _bar(words: Language, emotion: Mapping[str, Any]) -> Html:
    percent, low, high = emotion["percent"], emotion["low"] or 0, emotion["high"] or 0
    return fill(
        "bar.html",
        {
            "kind": _kind(emotion["label"]),
            "label": emotion["label"],
            "name": words.emotion(emotion["label"]),
            "percent": percent or 0,
            "low": low,
            "width": round(high - low, 1),
            "tip": max(high, percent or 0),
            "value": _NO_FIGURE if percent is None else words.percent(percent),
            "interval": _interval(words, emotion),
        },
    )


def _interval(words: Language, emotion: Mapping[str, Any]) -> str:
    """The interval in words, for those who do not see the pale part."""
    if emotion["high"] is None:
        return ""
    return words.text("interval", low=words.percent(emotion["low"]), high=words.percent(emotion["high"]))


def _remarks(config: Config, words: Language, *, is_wall: bool, has_example: bool) -> Html:
    """What visitors must know, and, where only the operator reads it, what is left to do."""
    keys = ["example_note"] if has_example else []
    if config.privacy.min_people < USUAL_MIN_PEOPLE:
        keys.append("demo_note")
    if not config.privacy.acknowledged_use and not is_wall:
        keys.append("acknowledge")
    return join([fill("remark.html", {"text": words.text(key)}) for key in keys])


def _links(visit: Visit, *, can_predict: bool) -> Html:
    words = visit.language
    csv = fill("link.html", {"href": "/api/windows.csv?from=-86400", "text": words.text("csv")})
    predict = fill("link.html", {"href": f"/predict{visit.query}", "text": words.text("predict_link")})
    links = join([predict, csv] if can_predict else [csv])
    return fill("links.html", {"title": words.text("shares"), "links": links})


def _result(words: Language, answer: Mapping[str, Any]) -> Html:
    """A table a browser without script can show: the picture's shares, then each face's."""
    if answer["percentages"] is None:
        return fill("remark.html", {"text": words.text("predict_none")})
    groups: list[tuple[str, Mapping[str, float]]] = [(words.text("predict_whole"), answer["percentages"])]
    for number, face in enumerate(answer["faces"], 1):
        shares = {label: 100 * value for label, value in face["probabilities"].items()}
        groups.append((words.text("predict_face", n=words.number(number)), shares))
    return join([_shares_list(words, title, shares) for title, shares in groups])


def _shares_list(words: Language, title: str, shares: Mapping[str, float]) -> Html:
    ordered: Sequence[tuple[str, float]] = sorted(shares.items(), key=lambda item: -item[1])
    bars = [_bar(words, {"label": label, "percent": value, "low": None, "high": None}) for label, value in ordered]
    return fill("shares.html", {"title": title, "bars": join(bars)})
