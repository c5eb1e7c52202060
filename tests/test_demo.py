"""`aae demo`: its last screen, and the sample images that the next command labels."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

from aae_toolkit.cli import demo
from aae_toolkit.cli.app import run
from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.config import VARIANTS
from aae_toolkit.data.images import read_image
from aae_toolkit.export.directory import ExportDirectory

TALL = 12  # lines that the last screen may have


def last_screen(printed: str) -> list[str]:
    """The lines from the sentence that says what was done."""
    lines = printed.splitlines()
    return lines[max(i for i, line in enumerate(lines) if line.startswith("Trained, exported, proven")) :]


@pytest.mark.slow
def test_the_demo_proves_every_file_and_ends_in_a_command_that_works_when_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_SHORT_EPOCHS", dict.fromkeys(VARIANTS, 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(REPOSITORY)
    assert run(["demo", "--output", "the demo", "--quiet"]) == 0
    screen = last_screen(capsys.readouterr().out)
    assert len(screen) <= TALL
    assert "with 300 labels:" in "\n".join(screen)
    assert "logistic regression" in "\n".join(screen)
    for variant in VARIANTS:
        manifest = ExportDirectory.open(Path("the demo") / variant / "export").manifest
        assert manifest.parity is not None
        assert manifest.parity["passed"]
        assert manifest.parity["n"] == 360
        proven = {result["artifact"] for result in manifest.parity["results"]}
        assert {entry.file for entry in manifest.artifacts} <= proven
    opened = [line.strip().split(": ")[0] for line in screen if re.search(r"\.(html|png): ", line)]
    assert len(opened) == 3
    assert all(Path(path).stat().st_size > 10_000 for path in opened)
    pasted = subprocess.run(["bash", "-c", screen[-1]], capture_output=True, text=True, check=True)
    labelled = [line.rsplit(maxsplit=2)[0] for line in pasted.stdout.splitlines()]
    assert labelled == [f"the demo/samples/digit-{i}.png" for i in range(10)]

    assert shape([line.replace("the demo", "aae-demo") for line in screen[:-1]]) == shape(readme_screen()[:-1])
    picture = importlib.import_module("tools.overview").draw(Path("the demo"))
    assert [len(axes.images) for axes in picture.axes][::3] == [20, 10]
    assert len(picture.axes[1].images) % 3 == 0
    assert "same as the model on 360 images" in {text.get_text() for text in picture.texts}


def shape(lines: list[str]) -> list[str]:
    """Lines without their figures, in which two runs differ."""
    return [re.sub(r"[\d.,]+", "0", line) for line in lines]


def readme_screen() -> list[str]:
    """The last screen as README shows it."""
    found = re.search(
        r"^(Trained, exported.*?^  \S*aae predict [^\n]*)", (REPOSITORY / "README.md").read_text(), re.M | re.S
    )
    assert found is not None
    return found[1].splitlines()


def test_samples_are_one_test_image_of_each_class_large_enough_to_see(tmp_path: Path) -> None:
    data = demo._write_digits(tmp_path / "data", ConsoleProgress(quiet=True))
    directory = demo._write_samples(data, tmp_path / "samples")
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == [f"digit-{i}.png" for i in range(10)]
    test = data.load("test")
    for digit, file in enumerate(files):
        assert Image.open(file).size == (128, 128)
        image = read_image(file, (1, 8, 8))
        nearest = np.abs(test.images.astype(int) - image).sum(axis=(1, 2, 3)).argmin()
        assert test.labels[nearest] == digit


def result(*, refused: tuple[str, ...] = (), speedup: float | None = 2.0) -> Any:
    comparisons = [SimpleNamespace(artifact=file) for file in ("a.onnx", "b.onnx")]
    proof = type("Proof", (), {"results": [c for c in comparisons if c.artifact not in refused]})()
    proof.results += [type("Refused", (), {"artifact": file, "__bool__": lambda _: False})() for file in refused]
    type(proof).__bool__ = lambda self: not refused
    fastest = SimpleNamespace(
        backend="onnxruntime",
        batch_size=1,
        latency_ms={"p50": 0.5},
        speedup_over_eager=speedup,
        differs_from_eager=True,
    )
    evaluation = SimpleNamespace(accuracy=0.5, n=360, baselines=[])
    return demo._Result(evaluation, ("a.onnx", "b.onnx"), proof, SimpleNamespace(results=[fastest]))  # type: ignore[arg-type]


def test_a_refusal_and_a_speed_that_differs_are_on_the_last_screen(tmp_path: Path) -> None:
    results = {"semi_supervised": result(refused=("b.onnx",)), "unsupervised": result(speedup=None)}
    lines = list(demo._last_screen(results, 300, tmp_path, tmp_path / "samples", "60 s"))  # type: ignore[arg-type]
    assert lines[0].endswith("in 60 s:")
    assert lines[2].strip() == "parity REFUSED: b.onnx; 0.500 ms an image, 2.0x PyTorch"
    assert lines[4].strip() == "2 exported files proven to be the trained model; 0.500 ms an image"
    assert len(lines) <= TALL


@pytest.mark.parametrize("place", ["on the path", "here", "elsewhere", "python -m"])
def test_the_next_command_calls_this_program_as_this_shell_finds_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my bin" / "aae"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(script.parent) if place == "on the path" else "/usr/bin")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path if place == "here" else tmp_path / "other")
    monkeypatch.setattr(sys, "argv", ["/x/__main__.py" if place == "python -m" else str(script)])
    expected = {
        "on the path": ["aae"],
        "here": ["my bin/aae"],
        "elsewhere": [str(script)],
        "python -m": [sys.executable, "-m", "aae_toolkit"],
    }
    assert demo._program() == expected[place]
    assert shlex.split(shlex.join(demo._program())) == demo._program()
