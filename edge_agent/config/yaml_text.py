"""YAML for the configuration: what cannot be read gives one line that says where and what to do."""

from __future__ import annotations

import re
from typing import Any

import yaml

from edge_agent.errors import ConfigError
from edge_agent.host.redaction import redact

MOST_CHARACTERS = 32_768
"""Of a file or variable; the reference of every setting has 9,000. A Raspberry Pi reads this many in a second."""
MOST_NESTED = 20
LARGEST_NUMBER = 1 << 63
_KINDS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "timestamp", "str", "seq", "map")}
_OTHERWISE = re.compile(r"[:_]|\A[-+]?0[0-9]")
"""In a number: YAML 1.1 counts 10:00 by sixties, and 010 by eights."""
_NO_TEXT = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")
"""Control characters and halves of a character: no name, path or topic can hold them."""

# What PyYAML says, and what a person has to do about it; the first that fits.
_ADVICE = (
    (r"found character '\\t'", "indent with spaces, not with tabs"),
    (r"found character '(.)' that cannot start", r"put a text that begins with '\1' in quotes"),
    (r"scanning an? (alias|anchor)", "put a text that begins with '*' or '&' in quotes"),
    (r"constructor for the tag|parsing a node|scanning a (tag|directive)", "put a text that begins with '!' in quotes"),
    (r"scanning a block scalar", "put a text that begins with '|' or '>' in quotes"),
    (r"scanning a quoted scalar|unexpected end", "a quote is opened here and never closed"),
    (r"unknown escape|escape sequence", "put it in single quotes, or write each backslash twice"),
    (r"but found '<(scalar|flow|alias|anchor)", "put the whole value in quotes: there is more text after its end"),
    (r"<block end>|block mapping|block collection", "begin this line below the first letter of its neighbours"),
    (r"parsing a flow", "a '[' or '{' is not closed, or a comma is missing"),
    (r"scanning a simple key|could not find expected ':'", "write a ':' and a space after each key"),
    (r"single document", "keep one document: take the '---' out"),
)


def parse_yaml(text: str, origin: str) -> Any:
    """The value that ``text`` says.

    Args:
        text: YAML, plain values, lists and mappings; no anchors, since a few lines of them can mean gigabytes.
        origin: the file or environment variable, for messages.

    Raises:
        ConfigError: it is not YAML, a key is there twice, or a value is not of the kind that it looks like.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{origin}: longer than {MOST_CHARACTERS:,} characters: this is no configuration")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader that refuses more)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}, line {mark.line + 1}" if mark else origin
        what = ", ".join(filter(None, (error.context, error.problem)))
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        advice = _advice(what, line)
        raise ConfigError(f"{where}: not valid YAML: {f'{advice} ({what})' if advice else what}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error


def _advice(what: str, line: str) -> str:
    """What to do, or nothing where ``what`` is our own text and says it."""
    if "mapping values are not allowed" in what:
        key, _, value = line.strip().partition(": ")
        if ": " in value or value.endswith(":"):
            secret = "password" in key or len(value) > 100
            example = "title: 'Mood: today'" if secret else f"{key}: {_quoted(redact(value))}"
            return f"a text with a colon in it must be in quotes, as in: {example}"
        return "check the indentation of this line, and the space after the colon in the line above"
    for pattern, advice in _ADVICE:
        if found := re.search(pattern, what):
            return found.expand(advice)
    return ""


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


class _Loader(yaml.SafeLoader):
    """Refuses what PyYAML lets pass, and says where it failed in cases that PyYAML does not expect."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A few aliases of aliases mean more than any memory holds, a few thousand brackets end in a RecursionError."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _problem("put a text that begins with '*' or '&' in quotes; anchors are not taken here", event)
        if self._depth >= MOST_NESTED:
            raise _problem("brackets or indents are nested too deeply", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 (PyYAML's)
        """A value such as 2026-13-01, or ``!!bool x``, raises whatever Python's own conversion raises."""
        kind = node.tag.rpartition(":")[2]
        if node.tag not in _KINDS:
            raise _problem(f"'{kind}' is no kind of value here; put a text that begins with '!' in quotes", node)
        try:
            value = super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise _problem(
                f"this looks like a value of the kind '{kind}' and is none; put it in quotes", node
            ) from error
        if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            raise _problem("this number is too large; put it in quotes if it is a text", node)
        if type(value) in (int, float) and _OTHERWISE.search(node.value):
            raise _problem("YAML takes 10:00 for 600 and 010 for 8: write a number plainly, a text in quotes", node)
        if isinstance(value, str) and (found := _NO_TEXT.search(value)):
            raise _problem(f"a text cannot hold the character {found.group()!a}; take it out", node)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """In YAML a later key silently replaces an earlier one of the same name; here that is an error."""
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(
                    "a key must be a plain word; put a value that begins with '{' or '[' in quotes", key_node
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _problem(f"key '{key}' is there twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _problem(text: str, place: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, place.start_mark)  # type: ignore[arg-type]
