"""HTML pages that need no other file: contents, sections, tables and pictures in two columns."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from training.files import write_atomically

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
nav { columns: 2; margin: 1rem 0; } nav a { display: block; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) { background: #f3f3f3; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { color: #555; } img { max-width: 100%; }
.wide { overflow-x: auto; }
pre { background: #f3f3f3; padding: 1rem; overflow-x: auto; }
@media (max-width: 30rem) { .pictures { grid-template-columns: 1fr; } nav { columns: 1; } }
"""


@dataclass(frozen=True)
class Picture:
    """One figure, with what it shows in a sentence."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading, HTML below it, and pictures below that."""

    title: str
    body: str = ""
    pictures: tuple[Picture, ...] = ()


def write_page(folder: Path, title: str, lead: str, *, sections: Sequence[Section]) -> Path:
    """Write ``index.html``, with every picture inside, and each picture as a PNG beside it; returns the HTML file."""
    folder.mkdir(parents=True, exist_ok=True)
    links = "".join(f'<a href="#{_anchor(s.title)}">{html.escape(s.title)}</a>' for s in sections)
    body = "".join(_section(section, folder) for section in sections)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(lead)}</p><nav>{links}</nav>{body}</html>"
    )
    write_atomically(folder / "index.html", page.encode())
    return folder / "index.html"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; floats with three digits behind the point."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{html.escape(text)}</pre>"


def _section(section: Section, folder: Path) -> str:
    shown = "".join(_picture(picture, folder) for picture in section.pictures)
    pictures = f'<div class="pictures">{shown}</div>' if shown else ""
    return f'<h2 id="{_anchor(section.title)}">{html.escape(section.title)}</h2>{section.body}{pictures}'


def _picture(picture: Picture, folder: Path) -> str:
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=110)
    write_atomically(folder / f"{picture.name}.png", buffer.getvalue())
    data, caption = base64.b64encode(buffer.getvalue()).decode(), html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))
