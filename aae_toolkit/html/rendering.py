"""What the pages of `aae bench` and `aae report` share: their look, and how they become one self-contained file.

Templates are named by package and file (`bench/bench_page.html`) and extend `html/base.html`, whose policy has the
browser itself refuse scripts and whatever would be loaded from elsewhere. All values are escaped.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_toolkit.errors import AaeError
from aae_toolkit.files import write_text
from aae_toolkit.text import percent


def render(template: str, **values: Any) -> str:
    """Fill a template of this distribution, such as `bench/bench_page.html`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("aae_toolkit", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": percent, "size": size, "words": words}
    return templates.get_template(template).render(**values)


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        AaeError: it cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise AaeError(f"page {path} cannot be written: {error.strerror or error}") from error


def data_address(media_type: str, content: bytes) -> str:
    """A data address, which holds its content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """An environment as pairs of words."""
    found = {}
    for name, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {content}" for key, content in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        found[words(name)] = str(value)
    return found


def command(*parts: object) -> str:
    """A command line that a shell takes as it stands."""
    return shlex.join(map(str, parts))


def words(name: str) -> str:
    """A name from code, as one says it."""
    return name.replace("_", " ")


def size(n_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"
