"""The pages as HTML: templates of the standard library, with every value escaped, unless it is already HTML."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
STATIC = HERE / "static"


class Html(str):
    """Text that is already HTML."""

    __slots__ = ()


def fill(template: str, values: Mapping[str, object]) -> Html:
    """The file ``templates/<template>`` with its ``$places`` filled; a place without a value is a KeyError."""
    safe = {key: value if isinstance(value, Html) else html.escape(str(value)) for key, value in values.items()}
    return Html(_template(template).substitute(safe))


def join(parts: list[Html]) -> Html:
    """Several pieces of HTML, one a line."""
    return Html("\n".join(parts))


def data_block(value: Any) -> Html:
    """JSON for a ``<script type="application/json">``; no text in it can close the element."""
    return Html(json.dumps(value, ensure_ascii=False).replace("<", "\\u003c"))


def sprite() -> Html:
    """The drawn faces; each page has them once."""
    return Html((HERE / "templates" / "faces.svg").read_text(encoding="utf-8"))


def static_url(name: str) -> str:
    """Address of a static file that changes with its content, so that browsers may keep it for ever."""
    return f"/static/{name}?v={digest(name)}"


@cache
def digest(name: str) -> str:
    """Hash of a static file's content."""
    return _digest((STATIC / name).read_bytes())


@cache
def static_names() -> frozenset[str]:
    """The static files; no other name reaches the disk."""
    return frozenset(path.name for path in STATIC.iterdir())


def build(page: str) -> str:
    """Hash of ``page`` and of all its files: an open page of another build reloads itself."""
    return _digest(_files().encode() + page.encode())


@cache
def _files() -> str:
    folders = (STATIC, HERE / "templates", HERE / "languages")
    files = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    return _digest(b"".join(path.read_bytes() for path in files))


@cache
def _template(name: str) -> Template:
    return Template((HERE / "templates" / name).read_text(encoding="utf-8").rstrip("\n"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
