"""Plain English: docstrings, help texts, configuration keys and headings stand alone, without private words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import REPOSITORY
from pydantic import BaseModel

from aae_toolkit.cli.commands import application
from aae_toolkit.cli.predict import parser
from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, shipped_configs

PACKAGE = REPOSITORY / "aae_toolkit"

FIRST_WORD = re.compile(r"(Of|What|That|So|As|Which|Where)\b")
LAST_WORD = re.compile(r"\b(a|an|and|are|at|besides|but|by|for|from|is|of|or|than|that|the|to|which|with)\W*$", re.I)
PRIVATE_WORDS = re.compile(
    r"\b(by lot|goes on|hangs?|held against|looks|look(s|ed)? at|mend(s|ed)?|no data set has|said of|so many)\b", re.I
)
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def faults(text: str) -> list[str]:
    """Reasons why a text is not plain English; none if it is."""
    text = " ".join(text.split())
    checks = {
        "begins in the middle of a sentence": FIRST_WORD.match(text.lstrip("`* ")),
        "ends in the middle of a sentence": LAST_WORD.search(text) or text.endswith((",", ";", ":")),
        "has an open bracket": text.count("(") != text.count(")"),
        "has a private word": PRIVATE_WORDS.search(text),
    }
    return [reason for reason, fault in checks.items() if fault]


def require_plain(texts: Iterator[tuple[str, str]]) -> None:
    """Fail with every fault in texts, given with their places."""
    assert [f"{place}: {', '.join(reasons)}: {text}" for place, text in texts if (reasons := faults(text))] == []


MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    "text",
    [
        "Of weights, noise and order.",
        "What an ONNX file says of itself that is not so",
        "That decode, and that the model runs on.",
        "As labels-3000, with fewer images.",
        "`What` it is",
        "What the server's 99th percentile is held against.",
        "The limit that p99 is held against.",
        "Strength of a look at an image.",
        "Turns, shifts and sizes of looks.",
        "Images that no data set has.",
        "Threads of the",
        "Number of images (per batch",
        "Weight of:",
    ],
)
def test_a_fragment_or_a_private_word_is_a_fault(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize("text", ["Random seed.", "Whether any term is on.", "Officially `of` (x) is a word.", "Asks."])
def test_plain_english_has_no_fault(text: str) -> None:
    assert faults(text) == []


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """First lines of a module's docstrings, with their names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", path.stem), text.splitlines()[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_are_plain_english(path: Path) -> None:
    require_plain(docstrings(path))


def help_texts(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Help of a command, of its options and of all commands below it, with their names."""
    yield " ".join(words), command.help or ""
    for option in command.params:
        yield f"{' '.join(words)} {option.name}", getattr(option, "help", None) or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from help_texts(inner, (*words, name))


def test_help_texts_are_plain_english() -> None:
    texts = dict(help_texts(typer.main.get_command(application())))
    assert "Random seed" in texts["train semi-supervised seed"]
    require_plain(iter(texts.items()))


def test_help_texts_of_predict_are_plain_english() -> None:
    command = parser()
    require_plain((action.dest, action.help or "") for action in command._actions)
    require_plain((group.title or "", group.description or "") for group in command._action_groups)
    assert faults(command.description or "") == []


def keys(section: BaseModel, path: str) -> Iterator[tuple[str, str]]:
    """Text of every configuration key in a section and the sections below it, with its path."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        yield f"{path}.{name}", re.sub(r"\s*\[[^\[\]]+\]\.$", "", field.description or "")
        if isinstance(value, BaseModel):
            yield from keys(value, f"{path}.{name}")


def test_texts_of_configuration_keys_are_plain_english() -> None:
    for section in (SemiSupervisedConfig(), UnsupervisedConfig()):
        texts = dict(keys(section, section.variant))
        assert "Random seed" in texts[f"{section.variant}.training.seed"]
        require_plain(iter(texts.items()))


def test_comments_of_shipped_configurations_are_plain_english() -> None:
    comments = {
        name: " ".join(line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#")
        for name, path in shipped_configs().items()
    }
    assert all(comments.values())
    require_plain(iter(comments.items()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_headings_are_plain_english(page: Path) -> None:
    require_plain((page.name, heading) for heading in HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8"))))
