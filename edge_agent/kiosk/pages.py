"""The two pages in one language, as they are before, or without, any script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from edge_agent.config import Config, KioskConfig
from edge_agent.config.reminders import USUAL_MIN_PEOPLE
from edge_agent.kiosk.language import Language
from edge_agent.kiosk.reading.refusal import MAX_UPLOAD_MB
from edge_agent.kiosk.render import STATIC, Html, data_block, fill, join, sprite, static_url
from edge_agent.kiosk.view import State, strongest
from edge_agent.kiosk.visit import Visit
from edge_agent.shares.site import LEAST_PEOPLE
from edge_agent.vision.sitting import Progress

_FACES = frozenset({"angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"})
_THEMES = ("light", "dark")
_DEFAULT_TITLE = KioskConfig().title
_NO_FIGURE = "–"
FAMILIAR_FROM = 0.5
"""Below it the page says that the camera's faces are unlike those that the model was measured on."""
STATES = (*(state.value for state in State), "agent_down", "stale")


def _is_unfamiliar(figures: Mapping[str, Any]) -> bool:
    return figures["familiar"] is not None and figures["familiar"] < FAMILIAR_FROM


def board(config: Config, visit: Visit, figures: Mapping[str, Any], *, can_predict: bool) -> Html:
    """The live page."""
    words = visit.language
    stale = _is_stale(figures)
    state = "stale" if stale else str(figures["state"])
    top = strongest(figures["emotions"])
    lead = "strongest_recently" if figures["rolling"] else "strongest"
    return fill(
        "board.html",
        {
            **_common(config, visit),
            **_texts(words, "skip", "shares", "trend", "trend_hour", "trend_day", "trend_table", "trend_chart"),
            **_texts(words, "trend_empty", "close", "notice", "notice_meaning"),
            "range": words.text("unfamiliar" if _is_unfamiliar(figures) else "range"),
            "state": state,
            "mood": _kind(top["label"]) if top else "none",
            "script": static_url("board.js"),
            "device_name": config.device.shown_name,
            "device_id": config.device.id,
            "refresh_s": max(5, round(config.window.seconds)),
            "chip": words.text(f"state_{state}"),
            "face": _kind(top["label"]) if top else ("other" if stale else state),
            "lead": words.text(lead) if top and not stale else "",
            "number": words.percent(top["percent"]) if top else "",
            "word": words.emotion(top["label"]) if top else words.text(f"state_{state}"),
            "text": _doubt(words, figures) or _state_text(config, words, state),
            "people": "" if stale else _people(words, figures),
            "last": _last(words, figures) if stale else "",
            "bars": join([_bar(words, emotion) for emotion in figures["emotions"]]),
            "remarks": _remarks(config, words),
            "wall": Html(" data-wall") if visit.wall else Html(""),
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
    kiosk, words = config.kiosk, visit.language
    logo = Html('<img class="logo" src="/logo" alt="">') if kiosk.logo is not None else Html("")
    arabic = words.texts["dir"] == "rtl"
    return {
        "lang": words.tag,
        "dir": words.texts["dir"],
        "theme": Html(f' data-theme="{visit.theme}"') if visit.theme in _THEMES else Html(""),
        "title": words.text("title") if kiosk.title == _DEFAULT_TITLE else kiosk.title,
        "font": _font_url("vazirmatn-arabic.woff2" if arabic else "figtree-latin.woff2"),
        "css": static_url("kiosk.css"),
        "icon": static_url("icon.svg"),
        "sprite": sprite(),
        "logo": logo,
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


def _people(words: Language, figures: Mapping[str, Any]) -> str:
    if figures["people"] is None or figures["span_s"] is None:
        return ""
    span_s = float(figures["span_s"])
    span = (
        words.text("span_minutes", n=words.number(span_s / 60))
        if span_s >= 120
        else words.text("span_seconds", n=words.number(span_s))
    )
    return words.text("people", n=words.number(figures["people"]), span=span)


def _last(words: Language, figures: Mapping[str, Any]) -> str:
    end = datetime.fromisoformat(figures["window_end"].replace("Z", "+00:00")).astimezone()
    hour, minute = (words.number(part).rjust(2, words.texts["digits"][0]) for part in (end.hour, end.minute))
    return words.text("last_figures", time=f"{hour}:{minute}")


def _bar(words: Language, emotion: Mapping[str, Any]) -> Html:
    percent = emotion["percent"]
    return fill(
        "bar.html",
        {
            "kind": _kind(emotion["label"]),
            "label": emotion["label"],
            "name": words.emotion(emotion["label"]),
            "percent": percent or 0,
            "low": emotion["low"] or 0,
            "high": emotion["high"] or 0,
            "value": _NO_FIGURE if percent is None else words.percent(percent),
            "interval": _interval(words, emotion),
        },
    )


def _interval(words: Language, emotion: Mapping[str, Any]) -> str:
    """The interval in words, for those who do not see the thin line."""
    if emotion["high"] is None:
        return ""
    return words.text("interval", low=words.percent(emotion["low"]), high=words.percent(emotion["high"]))


def _remarks(config: Config, words: Language) -> Html:
    keys = []
    if config.privacy.min_people < USUAL_MIN_PEOPLE:
        keys.append("demo_note")
    if not config.privacy.acknowledged_use:
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
