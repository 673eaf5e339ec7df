"""Writes docs/configuration.md: every setting with its default, what it may be, and what configs/agent.yaml says of it.

python -m scripts.configuration_page            # --check: only say whether the page is up to date
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.config import Config

ROOT = Path(__file__).parents[1]

PAGE = ROOT / "docs" / "configuration.md"
REFERENCE = ROOT / "configs" / "agent.yaml"

TOP = """# Configuration

<!-- Made by `python -m scripts.configuration_page` from the schema and configs/agent.yaml; edit those instead. -->

The agent reads one YAML file: `edge-agent run -c FILE`. Write only the settings that you change; the rest keep their
defaults. `configs/` has a ready-made file for each kind of camera.

- **Check a file**: `edge-agent config check FILE` names all faults at once. `edge-agent config schema` prints a JSON
  Schema for editors.
- **Override one setting** from the environment: `COUNTENANCE_MQTT__PORT=1884` is `mqtt.port: 1884`.
- **Passwords** are never in this file; see [Passwords and TLS](mqtt.md#passwords-and-tls).
- **Change it while running**: `sudo systemctl reload countenance`, or the [MQTT command](mqtt.md#commands) `reload`.
"""


def page() -> str:
    """The whole page as Markdown."""
    schema = Config.model_json_schema()
    text = "\n".join([TOP, *_section((), schema, schema, said=comments())])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def comments() -> dict[tuple[str, ...], str]:
    """What the reference file says above each key; keys without a comment share that of the key before."""
    known = set(_paths((), Config().model_dump()))
    found: dict[tuple[str, ...], str] = {}
    path: tuple[str, ...] = ()
    words: list[str] = []
    used = True
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        # A setting whose default is not fixed is in a comment itself: "# id: entrance".
        key = re.match(r"^( *)(?:# )?(\w+):( \S.*)?$", line)
        here = (*path[: len(key[1]) // 2], key[2]) if key else ()
        if key and here in known:
            path = here
            found[path] = "" if used and not key[3] else " ".join(words)
            used = True
        elif line.lstrip().startswith("#"):
            words = [*([] if used else words), line.strip(" #")]
            used = False
        else:
            words, used = [], True
    return found


def _paths(above: tuple[str, ...], values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths((*above, name), value)


def _section(
    path: tuple[str, ...], schema: dict[str, Any], whole: dict[str, Any], *, said: dict[tuple[str, ...], str]
) -> Iterator[str]:
    # Sections within a section come last, or the settings after them would look like theirs.
    for name, prop in sorted(schema["properties"].items(), key=lambda item: "$ref" in item[1]):
        here = (*path, name)
        if "$ref" in prop:
            below = whole["$defs"][prop["$ref"].rsplit("/", 1)[1]]
            yield f"\n{'#' * (len(here) + 1)} `{'.'.join(here)}`\n"
            yield f"{below['description']} {said[here]}".rstrip() + "\n"
            yield from _section(here, below, whole, said=said)
        else:
            default = f" Default: `{json.dumps(prop['default'], ensure_ascii=False)}`." if "default" in prop else ""
            yield f"- **`{'.'.join(here)}`**: {allowed(prop)}.{default}\n  {said[here]}"


def allowed(prop: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in prop:
        return " or ".join(allowed(part) for part in prop["anyOf"])
    if "enum" in prop:
        return ", ".join(f"`{json.dumps(value)}`" for value in prop["enum"])
    words = {
        "string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`",
        "null": "`null`", "array": "list",
    }  # fmt: skip
    word = {"path": "path of a file"}.get(prop.get("format", ""), words[prop["type"]])
    limits = [
        f"{text} {prop[key]:,}".removesuffix(".0")
        for key, text in (("exclusiveMinimum", "above"), ("minimum", "from"), ("maximum", "to"))
        if key in prop
    ]
    return " ".join([word, *limits])


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
