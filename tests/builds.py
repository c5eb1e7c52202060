"""Directories that several tests start from, each built once in a run, whichever process asks for it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock  # torch brings it


class Builds:
    """The builds of a run, in a directory that all its processes share. Copy one to change it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        self._root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "builds"
        self._root.mkdir(exist_ok=True)

    def get(self, name: str, build: Callable[[Path], object]) -> Path:
        """The directory of this name, which `build(path)` fills; other processes wait until it is whole."""
        path, unfinished = self._root / name, self._root / f"{name}.unfinished"
        with FileLock(self._root / f"{name}.lock"):  # the lock ends with its process
            if not path.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                build(unfinished)
                unfinished.rename(path)
        return path
