#!/usr/bin/env python3
"""Points at prose that makes a reader work: long sentences, long table cells, words that no manual uses today.

    python -m scripts.plain_words [--top N] FILE...

Reads Markdown without its code blocks. Prints a line for each file and the N longest sentences of all; the exit
status is 1 if a file breaks a limit.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_WORDS = 25
"""Words that the 95th percentile of a page's sentences may have."""
MAX_CELL = 160
"""Characters of a table's cell."""

WORDS = {
    "anew": "again", "whoever": "anyone who", "heed": "follow", "thereby": "", "therein": "", "whereof": "",
    "stands in": "is in", "is told": "is published, is notified", "is to be had": "is available",
    "to be had": "available", "lies beside": "is next to", "goes on": "continues", "as well he may": "",
    "mend": "fix", "mended": "fixed", "ails": "is wrong with", "nobody knows": "", "so that it may": "so it can",
    "set aside": "moved away, renamed", "what becomes of": "what happens to", "of its own": "its own",
    "in vain": "without success", "bears": "carries, has", "heal": "repair",
}  # fmt: skip
"""Odd words, and what to say instead."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page makes its reader work at."""

    name: str
    sentences: tuple[tuple[int, str], ...]
    """(words, sentence), shortest first."""
    longest_cell: int
    """Characters; 0 without a table."""
    odd: tuple[str, ...]

    @property
    def p95(self) -> int:
        """Words of the sentence that one in twenty exceeds."""
        return self.sentences[max(0, int(len(self.sentences) * 0.95) - 1)][0] if self.sentences else 0

    @property
    def faults(self) -> tuple[str, ...]:
        """What is beyond the limits, one line each."""
        found = []
        if self.p95 > MAX_WORDS:
            found.append(
                f"{self.name}: one sentence in twenty has more than {self.p95} words; {MAX_WORDS} is the limit"
            )
        if self.longest_cell > MAX_CELL:
            found.append(f"{self.name}: a table cell of {self.longest_cell} characters; {MAX_CELL} is the limit")
        found += [f"{self.name}: {word!r}; say: {WORDS[word] or 'something plainer'}" for word in self.odd]
        return tuple(found)

    def __str__(self) -> str:
        median = self.sentences[len(self.sentences) // 2][0] if self.sentences else 0
        return (
            f"{self.name}: {len(self.sentences)} sentences, median {median}, p95 {self.p95} words; longest table cell "
            f"{self.longest_cell} characters; odd words {', '.join(self.odd) or 'none'}"
        )


def read(path: Path) -> Page:
    """Measure one file."""
    text = prose(path.read_text(encoding="utf-8"))
    cells = [len(cell.strip()) for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    odd = (word for word in WORDS if re.search(rf"\b{re.escape(word)}\b", " ".join(text.split()), flags=re.I))
    return Page(str(path), tuple(sorted(sentences(text))), max(cells, default=0), tuple(odd))


def prose(text: str) -> str:
    """The page without code, comments, headings and pictures."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    return "\n".join(line for line in text.splitlines() if not line.startswith(("    ", "\t", "#", "![")))


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """(words, sentence) of every sentence of more than three words; each table cell begins one."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)", text):
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            flat = " ".join(re.sub(r"\(https?:[^)]*\)|\([\w./#-]+\.md[^)]*\)", "", cell).split())
            for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z`*\[(])", flat):
                words = len(re.findall(r"[A-Za-z][\w'-]*", sentence))
                if words > 3:
                    yield words, sentence


def main() -> int:
    """Print a line for each file, and the longest sentences of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    pages = [read(path) for path in options.files]
    print("\n".join(str(page) for page in pages))
    worst = sorted(((n, page.name, text) for page in pages for n, text in page.sentences), reverse=True)
    for count, name, text in worst[: options.top]:
        print(f"  {count} words, {name}: {text[:220]}")
    return 1 if any(page.faults for page in pages) else 0


if __name__ == "__main__":
    sys.exit(main())
