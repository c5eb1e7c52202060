"""Commands killed by SIGKILL at random moments: what is there then is whole, and a rerun ends as if never killed.

`KILLS` in the environment says how many times each; `make test-faults` takes many.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fault_child
import pytest
import torch
import yaml
from conftest import TINY_MODEL, TINY_TRAINING
from exports import one_variant
from whole import LEFTOVER, assert_whole, contents

from aae_toolkit.config import Variant

KILLS = int(os.environ.get("KILLS", "3"))
REPORT = os.environ.get("KILL_REPORT")  # a file to which each kill adds a line: of what, and how far it was
N_EPOCHS = 6


@dataclass(frozen=True)
class Command:
    """What is run and killed: its arguments, the directory that it writes, and how far it was."""

    name: str
    arguments: list[str | Path]
    directory: Path
    stage: Callable[[Path], str]
    same: tuple[str, ...]  # suffixes of the files whose bytes a rerun has to reproduce


def kill_again_and_again(command: Command, start: Callable[[], None], scratch: Path) -> None:
    """Kill a command `KILLS` times, at moments spread over a whole run; after each, run it to its end.

    Args:
        command: to be killed.
        start: puts its directory into the state that each run starts from.
        scratch: for logs.
    """
    start()
    duration = fault_child.Child(command.arguments, scratch / "whole.log").measure()
    expected = contents(command.directory)
    assert not any(LEFTOVER.fullmatch(Path(name).name) for name in expected)
    rng, kills = random.Random(command.name), 0
    while kills < KILLS:
        start()
        moment = duration * (kills + rng.random()) / KILLS  # a random one of each of as many equal parts
        if not fault_child.Child(command.arguments, scratch / "killed.log").kill_after(moment):
            duration *= 0.98  # it was done sooner than the first time
            continue
        kills, stage = kills + 1, command.stage(command.directory)
        assert_whole(command.directory)
        assert fault_child.run(command.arguments, scratch / "again.log") == (0, []), (kills, moment)
        found = contents(command.directory)
        assert found.keys() == expected.keys()
        for name, content in found.items():
            assert not name.endswith(command.same) or content == expected[name], (kills, moment, name)
        if REPORT:
            with Path(REPORT).open("a") as report:
                report.write(f"{command.name}: {stage}\n")


def empty(directory: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(directory, ignore_errors=True)


def copied(source: Path, directory: Path) -> Callable[[], None]:
    def start() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(source, directory)

    return start


def data_stage(directory: Path) -> str:
    if (directory / "dataset.json").exists():
        return "index there"
    if (directory / "test.npz").exists():
        return "splits take their places"
    return "splits being written" if directory.exists() else "before the first file"


@pytest.mark.slow
@pytest.mark.parametrize("replaces", [False, True], ids=["into nothing", "over other splits"])
def test_init_datasets_killed_at_any_moment_leaves_whole_files_and_runs_again(replaces: bool, tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ["init-datasets", "--data", data, "--source", "digits", "--overwrite"]
    start = empty(data)
    if replaces:
        other = tmp_path / "other"
        init = ["init-datasets", "--data", other, "--source", "digits", "--seed", "1"]
        assert fault_child.run([*init], tmp_path / "log") == (0, [])
        start = copied(other, data)
    name = f"init-datasets {'over other splits' if replaces else ''}".strip()
    kill_again_and_again(Command(name, arguments, data, data_stage, (".npz", ".json")), start, tmp_path)


def model_stage(directory: Path) -> str:
    if (directory / "model.json").exists():
        return "model there"
    if not (directory / "checkpoint.pt").exists():
        return "before the first checkpoint"
    state = torch.load(directory / "checkpoint.pt", weights_only=True)
    return "model being written" if state["epoch"] == N_EPOCHS else "between checkpoints"


@pytest.mark.parametrize("variant", ["semi_supervised", pytest.param("unsupervised", marks=pytest.mark.slow)])
def test_training_killed_at_any_moment_leaves_whole_files_and_resumes_to_the_same_weights(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    training = TINY_TRAINING | {"n_epochs": N_EPOCHS}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({variant: {"model": TINY_MODEL, "training": training}}))
    arguments = [
        "train",
        variant.replace("_", "-"),
        "--data",
        data_dir,
        "--output",
        model,
        "--device",
        "cpu",
    ]
    arguments += ["--config", tmp_path / "tiny.yaml", "--checkpoint-every", "4", "--resume"]
    command = Command(f"train {variant}", arguments, model, model_stage, (".safetensors", "model.json", ".yml"))
    kill_again_and_again(command, empty(model), tmp_path)


def export_stage(directory: Path) -> str:
    if (directory / "manifest.json").exists():
        return "manifest there"
    artifacts = [path for path in directory.glob("*.*") if path.name.startswith(("classifier", "encoder", "decoder"))]
    return f"{len(artifacts)} artifacts there" if directory.exists() else "before the first file"


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize("format_", ["torchscript", *(["torch-export", "onnx"] if KILLS > 10 else [])])
def test_export_killed_at_any_moment_leaves_whole_files_and_runs_again(
    format_: str, model_dir: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    arguments = ["export", "--model", model_dir, "--output", export, "--format", format_]
    kill_again_and_again(
        Command(f"export {format_}", arguments, export, export_stage, (".onnx", ".pt", ".safetensors", "model.json")),
        empty(export),
        tmp_path,
    )
