"""Whether what lies in a directory is whole: every file loads, or is a temporary one that the next run removes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from aae_toolkit.data.directory import INDEX, DataDirectory
from aae_toolkit.data.split import SPLITS
from aae_toolkit.export.manifest import FILE_NAME as MANIFEST
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION
from aae_toolkit.models.directory import load_model

LEFTOVER = re.compile(r"\.aae-(lock|[0-9a-f]{8}\..+)")


def _png(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _npz(path: Path) -> None:
    with np.load(path, allow_pickle=False) as content:
        assert all(content[name].size for name in content)


def _onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path), full_check=True)


LOADERS: dict[str, Callable[[Path], object]] = {
    ".npz": _npz,
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
    ".yml": lambda path: yaml.safe_load(path.read_text()),
    ".safetensors": load_file,
    ".png": _png,
    ".onnx": _onnx,
    ".torchscript.pt": torch.jit.load,
    ".pt2": torch.export.load,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".md": lambda path: path.read_text().rindex("any batch size"),  # its last line
}


def assert_whole(directory: Path) -> None:
    """Every file in `directory` and below loads, and what makes it what it is vouches for all that it names."""
    for path in directory.rglob("*"):
        if path.is_file() and not LEFTOVER.fullmatch(path.name):
            loader = next(loader for suffix, loader in LOADERS.items() if path.name.endswith(suffix))
            loader(path)
    if (directory / INDEX).exists():
        data = DataDirectory(directory)
        for name in SPLITS:
            data.load(name)
    if (directory / MANIFEST).exists():
        read_manifest(directory).verify(directory)
    elif (directory / DESCRIPTION).exists() and (directory / "config.yml").exists():
        load_model(directory)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file, hidden ones too, and what is in it."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
