"""Puts measured figures into a page, so that no number in the documentation is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path


def write_between(page: Path, name: str, text: str) -> None:
    """Replace the text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        SystemExit: the page has no such place.
    """
    old = page.read_text(encoding="utf-8")
    found = _find(page, name, old)
    page.write_text(f"{old[: found.start(1)]}{text}{old[found.end(1) :]}", encoding="utf-8")


def read_between(page: Path, name: str) -> str:
    """The text between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        SystemExit: the page has no such place.
    """
    return _find(page, name, page.read_text(encoding="utf-8"))[1]


def _find(page: Path, name: str, text: str) -> re.Match[str]:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    found = list(re.finditer(f"{re.escape(begin)}\n(.*?)\n{re.escape(end)}", text, flags=re.S))
    if len(found) != 1:
        raise SystemExit(f"{page}: needs one {begin} ... {end}, has {len(found)}")
    return found[0]
