"""YAML as the configuration takes it: what cannot be read is one line that says where and what to do."""

from __future__ import annotations

from typing import Any

import yaml

from edge_agent.errors import ConfigError


def parse_yaml(text: str, origin: str) -> Any:
    """The value that ``text`` says.

    Args:
        text: YAML, plain values, lists and mappings.
        origin: the file or environment variable, for messages.

    Raises:
        ConfigError: it is not YAML, a key stands twice, or a value is none of the kind that it looks like.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader that refuses more)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}, line {mark.line + 1}" if mark else origin
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{where}: not valid YAML: {what}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: not valid YAML: brackets or indents are nested too deeply") from error


class _Loader(yaml.SafeLoader):
    """Refuses what PyYAML lets pass, and says where it stumbled in cases that it does not foresee."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value such as 2026-13-01, or ``!!bool x``, ends in whatever Python's own conversion raises."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _problem(
                f"this looks like a value of the kind '{kind}' and is none; put it in quotes", node
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A later key replaces an earlier one of the same name without a word in YAML; here that is an error."""
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(
                    "a key must be a plain word; put a value that begins with '{' or '[' in quotes", key_node
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _problem(f"key '{key}' stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _problem(text: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)
