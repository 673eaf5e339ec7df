"""A window's message as bars in a terminal, for ``watch`` and ``demo``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

WIDTH = 30
EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(message: Mapping[str, Any]) -> list[str]:
    """The lines for one message of ``.../emotions`` (docs/mqtt.md)."""
    head = f"{message['device']}  {message['window_start'][:19].replace('T', ' ')} UTC  {_who(message)}"
    shares = message["percentages"]
    if shares is None:
        return [head]
    name_width = max(map(len, shares))
    return [head, *(f"  {name:<{name_width}} {_bar(value)} {value:5.1f} %" for name, value in shares.items())]


def _who(message: Mapping[str, Any]) -> str:
    if message["suppressed"]:
        return "too few people to show"
    if not message["frames"]:
        return "no picture from the camera"
    people = message["people"]
    if not people:
        return "nobody here"
    return f"{people} {'person' if people == 1 else 'people'} on {message['frames']} frames"


def _bar(percent: float) -> str:
    eighths = int(percent / 100 * WIDTH * 8)  # rounded down: only 100.0 % fills the bar
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(WIDTH, "·")


class Screen:
    """Draws over the last picture on a terminal, and writes one below the other elsewhere."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._redraw = stream.isatty()
        self._drawn = 0

    def show(self, lines: list[str]) -> None:
        """Write the lines, in place of the last ones where that is possible."""
        if self._redraw and self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")  # ECMA-48: cursor up to the first line, erase below
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()
        self._drawn = len(lines)

    def begin_below(self) -> None:
        """Something else was written to the terminal: leave it there, and draw below it next."""
        self._drawn = 0
