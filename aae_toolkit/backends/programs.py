"""Checks of untrusted TorchScript and torch.export archives before torch loads them and evaluates parts of them.

The checks limit a hostile archive; they do not make loading it safe. SECURITY.md describes the remaining risk.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aae_toolkit.files.archives import check_archive

_MAX_CODE = 2**26  # bytes of code once decompressed; weights are stored uncompressed
_OPENS_FILES = re.compile(r"\b(save|from_file|load_library)\b")  # operators that open files
_OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+|math\.\w+")
_SIZE = r"(L\['\w+'\]\.size\(\)\[\d+\]|\d+)"
_GUARD = re.compile(rf"{_SIZE} (==|!=|<=|>=|<|>) {_SIZE}")
_WORD = re.compile(r"[^\W\d]\w*")
_SYMPY = frozenset(
    {"Symbol", "Integer", "Mul", "Add", "Pow", "Max", "Min", "positive", "integer", "nonnegative", "True"}
)


def check_torchscript(path: Path) -> None:
    """Raise `ValueError` unless the file is a TorchScript archive whose code opens no file."""
    for name in check_archive(path, inflated=_MAX_CODE):
        if name.endswith(".py") and (call := _OPENS_FILES.search(_member(path, name))):
            raise ValueError(f"its code calls {call[0]}, which opens files")


def check_torch_export(path: Path) -> None:
    """Raise `ValueError` unless the file is a torch.export archive of numerical operators and symbolic sizes."""
    for name in check_archive(path, inflated=_MAX_CODE):
        if "aotinductor" in name.lower():
            raise ValueError("it holds machine code, which torch would load")
        if not name.lower().endswith(".json"):
            continue
        for key, value in _fields(json.loads(_member(path, name))):
            if key == "guards_code" and not all(_GUARD.fullmatch(str(guard)) for guard in value):
                raise ValueError("it holds guards that are more than comparisons of sizes, which torch would run")
            if key == "target" and isinstance(value, str) and not _is_numerical(value):
                raise ValueError(f"it calls {value[:80]!r}, which is no numerical operator")
            if key == "expr_str" and not _is_expression(value):
                raise ValueError(f"it holds the expression {str(value)[:80]!r}, which torch would run")


def _member(path: Path, name: str) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield str(key), inner
        yield from _fields(inner)


def _is_numerical(target: str) -> bool:
    return bool(_OPERATOR.fullmatch(target)) and not _OPENS_FILES.search(target)


def _is_expression(text: Any) -> bool:
    """Return whether a text is arithmetic over symbols such as s34 and u0: no attribute, index or other name."""
    if not isinstance(text, str) or not re.fullmatch(r"[\w\s()'=,+*/<>-]*", text):
        return False
    return all(word in _SYMPY or re.fullmatch(r"[su]\d+", word) for word in _WORD.findall(text))
