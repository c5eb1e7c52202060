"""Untrusted YAML files, read safely: plain values only, and limits on size, depth and aliases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from aae_toolkit.errors import AaeError
from aae_toolkit.text import one_line

_MAX_BYTES = 2**17  # forty times the longest shipped configuration
_MAX_NODES = 10_000


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-5` as a number (in YAML 1.1 it is a string) and refuses alias bombs."""

    def get_single_node(self) -> Any:
        """Return the document; refuse aliases that expand to too many values or refer to themselves."""
        node = super().get_single_node()
        if node is not None and _expanded(node, {}) > _MAX_NODES:
            raise yaml.YAMLError(f"its aliases expand to more than {_MAX_NODES} values, or refer to themselves")
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """Return the number of nodes below a node, with every alias written out."""
    if id(node) not in sizes:
        sizes[id(node)] = _MAX_NODES + 1  # for an alias to an enclosing node
        inside = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in inside for part in pair]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in inside)
    return sizes[id(node)]


def read_yaml(path: Path) -> Any:
    """Read a YAML file with one document.

    Raises:
        AaeError: the file cannot be read, or as `parse_yaml` does.
    """
    try:
        if path.exists() and not path.is_file():
            raise AaeError(f"configuration {path} cannot be read: it is a directory, pipe or device")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) <= _MAX_BYTES:
            return parse_yaml(content.decode("utf-8"), f"configuration {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise AaeError(f"configuration {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    raise AaeError(f"configuration {path} is larger than {_MAX_BYTES // 1024} KiB")


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML with one document; `source` names it in messages.

    Raises:
        AaeError: it is not YAML, has tags other than YAML's own, or is too large or too deeply nested, before or after
            the expansion of its aliases.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except RecursionError as error:
        raise AaeError(f"{source} is not YAML: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # `!!int x`, 2001-99-99
        raise AaeError(f"{source} is not YAML: {one_line(str(error), 300)}") from error
