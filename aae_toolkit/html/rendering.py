"""Rendering of the pages of `aae bench` and `aae report` as self-contained files.

Templates are named by package and file (`bench/bench_page.html`) and extend `html/base.html`, whose content security
policy makes the browser refuse scripts and external resources. All values are escaped.
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
    """Render a template of this package, such as `bench/bench_page.html`."""
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
        AaeError: the page cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise AaeError(f"page {path} cannot be written: {error.strerror or error}") from error


def data_address(media_type: str, content: bytes) -> str:
    """Return a data URL with the content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return an environment as pairs of text."""
    texts = {}
    for name, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {content}" for key, content in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        texts[words(name)] = str(value)
    return texts


def command(*parts: object) -> str:
    """Return a command line, quoted for the shell."""
    return shlex.join(map(str, parts))


def words(name: str) -> str:
    """Return a name from code with spaces between the words."""
    return name.replace("_", " ")


def size(n_bytes: int) -> str:
    """Return a number of bytes as kB or MB."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"
