"""YAML files that somebody else may have written: nothing but plain values, and no more of them than fit in a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from aae_toolkit.errors import AaeError
from aae_toolkit.text import one_line

_MAX_BYTES = 2**17  # forty times the longest configuration that is shipped
_MAX_NODES = 10_000


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-5` as the number it plainly is (YAML 1.1 makes it a string), and no alias bombs."""

    def get_single_node(self) -> Any:
        """The document, whose aliases must not make it much larger than it is, nor lead back into themselves."""
        node = super().get_single_node()
        if node is not None and _expanded(node, {}) > _MAX_NODES:
            raise yaml.YAMLError(
                f"it comes to more than {_MAX_NODES} values, or holds itself, once aliases are followed"
            )
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """How many nodes a node comes to once every alias is written out."""
    if id(node) not in sizes:
        sizes[id(node)] = _MAX_NODES + 1  # for an alias within itself
        inside = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in inside for part in pair]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in inside)
    return sizes[id(node)]


def read_yaml(path: Path) -> Any:
    """The one document of a YAML file.

    Raises:
        AaeError: the file cannot be read, is no YAML, holds tags other than YAML's own, or is larger or deeper, as it
            stands or with its aliases followed, than any configuration.
    """
    try:
        if path.exists() and not path.is_file():
            raise AaeError(f"configuration {path} cannot be read: it is a directory, pipe or device")
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise AaeError(f"configuration {path} is larger than {_MAX_BYTES // 1024} KiB; that is no configuration")
        return yaml.load(text.decode("utf-8"), Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise AaeError(f"configuration {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except RecursionError as error:
        raise AaeError(f"configuration {path} is not YAML that can be read: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # `!!int x`, 2001-99-99
        raise AaeError(f"configuration {path} is not YAML: {one_line(str(error), 300)}") from error
