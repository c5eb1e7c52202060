"""Any configuration and any command line: success, or one line with an exit status of the contract."""

from __future__ import annotations

import copy
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from exports import one_variant
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from refusals import value_unless_refused

from aae_toolkit.cli import commands
from aae_toolkit.cli.app import run
from aae_toolkit.config import VARIANTS, dump_config, load_config, shipped_configs
from aae_toolkit.errors import AaeError

HUNDREDS = float(os.environ.get("AAE_MUTANTS", "0"))
STATUSES = {0, 1, 2, 3, 4, 5, 6}
RELAXED = settings(
    max_examples=int(HUNDREDS * 100) or 40,
    deadline=None,
    derandomize=HUNDREDS == 0,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

SHIPPED = {name: yaml.safe_load(path.read_text()) for name, path in shipped_configs().items()}
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**6),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["1e-5", "mlp", "conv", "\x1b[2J", "auto", "fp32", "cosine", "semi_supervised"]),
    st.dates(),
    st.binary(max_size=4),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=8
)


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*at, key)
            yield from places(value, (*at, key))


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """A shipped configuration with a few keys changed, renamed, added or left out; or any text at all."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.text(max_size=60) | st.text("{}[]&*!|>-:,?#'\" \n\tab1", max_size=60))
    content = copy.deepcopy(SHIPPED[draw(st.sampled_from(sorted(SHIPPED)))])
    for _ in range(draw(st.integers(1, 3))):
        *parents, key = draw(st.sampled_from(list(places(content)))) if content else ("x",)
        section = content
        for parent in parents:
            section = section[parent]
        kind = draw(st.sampled_from(["change", "change", "remove", "rename", "add"]))
        old = section.pop(key, None)
        if kind == "change":
            section[key] = draw(values)
        elif kind == "rename":
            section[f"{key}{draw(st.text(max_size=2))}"] = old
        elif kind == "add":
            section |= {key: old, draw(scalars): draw(values)}
    try:
        return yaml.safe_dump(content, allow_unicode=draw(st.booleans()))
    except (UnicodeError, ValueError):
        return "a: 1"


@RELAXED
@given(configurations(), st.sampled_from(VARIANTS))
def test_any_configuration_is_read_or_refused_in_one_line(tmp_path_factory, text, variant):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    config = value_unless_refused(lambda: load_config(path, variant))
    if config is not None:  # and what is read is a configuration
        path.write_text(dump_config(config))
        assert load_config(path, variant) == config


COMMANDS = (*commands.COMMANDS, "train semi-supervised", "train unsupervised", "tune semi-supervised", "")
HEAVY = (
    "training.trainer.train",
    "tuning.study.tune",
    "visualization.pictures.draw_all",
    "export.writer.export_model",
    "parity.check.check_parity",
    "parity.check.replay_golden",
    "bench.bench",
    "machine.doctor.diagnose",
    "report.contents.gather",
    "web.runtime.runtime_files",
    "data.sources._download",
)
garbage = st.text(max_size=8).filter(lambda text: "/" not in text and ".." not in text)
numbers = st.sampled_from(["0", "1", "-1", "2", "3", "1e3", "nan", "inf", "9" * 30, "1,2", ",", "0x10", "٣", "1_0"])
words = st.sampled_from(
    ["auto", "cpu", "cuda", "cuda:99", "gpu", "digits", "folder", "mnist", "onnx", "aoti", "test", "yes", "no", "fp32",
     "seed", "10%", "", "--", "-", "--json", "--help", "-h", "--version", "\x00", "\x1b[2J", "a\nb",
     "x" * 5000, "\udcff", "@file", "--data=", "-x", "--no-such-flag"]
)  # fmt: skip


@pytest.fixture(scope="module")
def flags() -> dict[str, list[str]]:
    """Of each command the flags that its help names."""
    found = {}
    for command in COMMANDS:
        with redirect_stdout(io.StringIO()) as printed:
            assert run([*command.split(), "--help"]) == 0
        found[command] = sorted(set(re.findall(r"--[a-z][a-z0-9-]+", printed.getvalue())) - {"--help"})
    return found


@pytest.fixture
def paths(data_dir: Path, model_dir: Path, export_dir: Path, tmp_path: Path) -> list[str]:
    """What a flag may name: directories of every kind, files, and what is not there."""
    for name, original in {"data": data_dir, "model": model_dir, "export": export_dir}.items():
        shutil.copytree(original, tmp_path / name)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new("L", (6, 6)).save(tmp_path / "photos" / "a" / "x.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "out").mkdir()
    names = ("data", "model", "export", "photos", "empty", "file", "out", "absent", "export/classifier.onnx")
    return [*names, "photos/a/x.png", "data/dataset.json", "model/config.yml", "file/below", "out/new"]


@one_variant
def test_any_command_line_ends_in_success_or_one_line(
    flags: dict[str, list[str]], paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise AaeError("the command line was understood")

    for name in HEAVY:
        monkeypatch.setattr(f"aae_toolkit.{name}", stop)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    path = st.sampled_from(paths)
    value = st.one_of(path, path, numbers, words, garbage)
    right = {"--data": path, "--model": st.just("model"), "--export": st.just("export")}
    right |= {"--model": st.just("export/classifier.onnx"), "--source": st.sampled_from(["digits", "folder"])}
    right |= {"--web-runtime": path, "--raw-dir": path, "--output": path}

    @st.composite
    def command_lines(draw: st.DrawFn) -> list[str]:
        command = draw(st.sampled_from(COMMANDS))
        given_flags = draw(st.lists(st.sampled_from(flags[command] or ["--x"]), max_size=5))
        line = command.split()
        for flag in given_flags:
            line.append(flag)
            if draw(st.integers(0, 5)):
                line.append(draw(right.get(flag, value) if draw(st.integers(0, 4)) else value))
        return line + draw(st.lists(value, max_size=2))

    @RELAXED
    @given(command_lines())
    def check(line: list[str]) -> None:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as error:
            status = run(line)
        said = [text for text in error.getvalue().splitlines() if text.startswith("aae: ")]
        assert status in STATUSES
        assert "internal error" not in error.getvalue()
        assert "Traceback" not in error.getvalue()
        is_help = status == 2 and not said and line in ([], ["train"], ["tune"])  # that a group is named is no mistake
        assert len(said) == (status != 0) or is_help
        assert not said or error.getvalue().rstrip("\n").endswith(said[0])

    check()
