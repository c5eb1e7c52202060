"""Modules of benchmarks/, imported as by a script that is started."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest


@contextmanager
def imported(directory: Path, names: Sequence[str]) -> Iterator[dict[str, ModuleType]]:
    """The modules by name; they are forgotten at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield {name: importlib.import_module(name) for name in names}
        for name in names:
            sys.modules.pop(name, None)
