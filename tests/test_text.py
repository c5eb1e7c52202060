"""Texts for people: nearest names, reasons of exceptions, Markdown."""

from __future__ import annotations

import pytest

from aae_toolkit.cli.app import run
from aae_toolkit.text import markdown, nearest, reason_of

NAMES = ("mnist", "fashion-mnist", "kmnist", "digits", "folder")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("digitz", ["digits"]), ("MNST", ["mnist"]), ("fashion", ["fashion-mnist"]), ("x" * 10**6, [])],
)
def test_the_nearest_name_is_found(word: str, expected: list[str]) -> None:
    assert nearest(word, NAMES) == expected


def test_a_reason_is_one_line_and_never_empty() -> None:
    assert reason_of(RuntimeError("a\n  b")) == "a b"
    silent = RuntimeError()
    silent.__cause__ = OSError("no route to host")
    assert reason_of(silent) == "no route to host"
    assert reason_of(TimeoutError()) == "TimeoutError"
    assert len(reason_of(RuntimeError("x" * 5000))) < 400
    circle = RuntimeError()
    circle.__cause__ = circle
    assert reason_of(circle) == "RuntimeError"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("a|b", r"a\|b"),
        ("*a* `b` ~c~", r"\*a\* \`b\` \~c\~"),
        ("__init__", r"\_\_init\_\_"),
        *((text, text) for text in ("row_0", "T-shirt/top", "Ankle boot", "été", "n = 3 (50.00%)")),
    ],
)
def test_foreign_text_shows_as_it_is_in_markdown(text: str, expected: str) -> None:
    assert markdown(text) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("init-datasets --data D --source mnst", "Did you mean 'mnist'?"),
        ("init-datasets --data D --source folder --fit padd", "Did you mean 'pad'?"),
        ("export --model M --format onxx", "Did you mean 'onnx'?"),
        ("evaluate --model M --data D --split tset", "Did you mean 'test'?"),
        ("train semi-supervised --data D --precision bf61", "Did you mean 'bf16'?"),
        ("train semi-supervised --data D --config digitz", "configuration digitz does not exist; did you mean digits?"),
        ("train unsupervised --data D --config clusters10", "did you mean clusters-10?"),
        ("train unsupervised --data D --config atuo", "did you mean auto?"),
        ("train unsupervised --data D --config 12345", "give a YAML file, or one of auto, "),
        ("bench --export E --backends onnxruntim", "did you mean onnxruntime?"),
        ("predict --model M a.png --invert yess", "did you mean 'yes'?"),
        ("evalute", "evaluate"),
        ("init-datasets --data D --source digits --backbone tim:resnet18", "timm"),
    ],
)
def test_a_misspelt_choice_suggests_the_nearest(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert "Value error" not in error
