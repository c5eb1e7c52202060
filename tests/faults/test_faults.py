"""What a machine does to a command: full disks, directories that go, second runs, signals, clocks, too little memory.

Each ends in one clear line, and what was kept before is as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fault_child
import pytest
import yaml
from conftest import TINY_MODEL, TINY_TRAINING, tiny_config
from exports import one_variant
from fault_child import Child, Limits
from refusals import refused
from whole import LEFTOVER, assert_whole, contents

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train

DIGITS = ["--source", "digits"]
MANY = int(os.environ.get("KILLS", "0")) > 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here: that takes root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def configuration(path: Path, **model: Any) -> Path:
    training = TINY_TRAINING | {"n_epochs": 4}
    section = {"model": TINY_MODEL | model, "training": training}
    path.write_text(yaml.safe_dump({"semi_supervised": section, "unsupervised": section}))
    return path


def training_of(data: Path, model: Path, config: Path) -> list[str | Path]:
    train = ["train", "semi-supervised", "--data", data, "--output", model, "--config", config]
    return [*train, "--device", "cpu"]


def weights(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.safetensors")}


def half_trained(data: Path, model: Path, config: Path, scratch: Path) -> list[str | Path]:
    """A training that was stopped with a checkpoint; what resumes it."""
    arguments = [*training_of(data, model, config), "--resume", "--checkpoint-every", "2"]
    child = Child(arguments, scratch / "half.log")
    child.wait_for("epoch 1/")
    child.send(signal.SIGTERM)
    assert child.wait() in (143, 0)  # 0: it was done by then
    assert (model / "checkpoint.pt").exists()
    return arguments


def assert_one_line(outcome: tuple[int, list[str]], status: int, *parts: object) -> None:
    found, lines = outcome
    assert found == status, lines
    assert len(lines) == 1
    for part in parts:
        assert str(part) in lines[0]
    assert "internal error" not in lines[0]


# In bytes; what is printed needs some too.
@pytest.mark.parametrize("room", [2_000, pytest.param(30_000, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_while_training_leaves_the_last_checkpoint(
    room: int, data_dir: Path, tmp_path: Path
) -> None:
    model, config = tmp_path / "model", configuration(tmp_path / "tiny.yaml")
    arguments = half_trained(data_dir, model, config, tmp_path)
    before = (model / "checkpoint.pt").read_bytes()
    outcome = fault_child.run(arguments, tmp_path / "log", Limits(file_size=room))
    assert_one_line(outcome, 1, f"model directory {model} cannot be written: File too large")
    assert (model / "checkpoint.pt").read_bytes() == before
    assert_whole(model)
    assert fault_child.run(arguments, tmp_path / "log") == (0, [])
    assert fault_child.run(training_of(data_dir, tmp_path / "whole", config), tmp_path / "log") == (0, [])
    assert weights(model) == weights(tmp_path / "whole")


@pytest.mark.parametrize("room", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_while_splitting_leaves_the_old_splits(room: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    init = ["init-datasets", "--data", data, *DIGITS]
    assert fault_child.run([*init], tmp_path / "log") == (0, [])
    before = contents(data)
    outcome = fault_child.run([*init, "--seed", "1", "--overwrite"], tmp_path / "log", Limits(file_size=room))
    assert_one_line(outcome, 1, f"data directory {data} cannot be written: File too large")
    assert contents(data) == before


@one_variant
@pytest.mark.parametrize("format_", ["onnx", "torchscript", "torch-export"])
def test_a_disk_that_is_full_while_exporting_leaves_no_manifest(format_: str, model_dir: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    arguments: list[str | Path] = ["export", "--model", model_dir, "--output", export]
    outcome = fault_child.run([*arguments, "--format", format_], tmp_path / "log", Limits(file_size=9_000))
    assert_one_line(outcome, 1, f"export directory {export} cannot be written: ")
    assert not (export / "manifest.json").exists()
    assert not any(LEFTOVER.fullmatch(name) for name in contents(export))


@pytest.mark.slow
def test_a_disk_without_room_and_one_that_became_read_only_are_one_line(
    small_disk: Path, data_dir: Path, tmp_path: Path
) -> None:
    model, config = small_disk / "model", configuration(tmp_path / "tiny.yaml")
    init = ["init-datasets", "--data", small_disk / "data", *DIGITS, "--labeled", "10"]
    assert fault_child.run([*init], tmp_path / "log") == (0, [])
    before = contents(small_disk)
    outcome = fault_child.run([*init, "--overwrite", "--seed", "1"], tmp_path / "log")
    if outcome != (0, []):  # there may be room for two
        assert_one_line(outcome, 1, "cannot be written: No space left on device")
        assert contents(small_disk) == before
    arguments = half_trained(data_dir, model, config, tmp_path)
    checkpoint = (model / "checkpoint.pt").read_bytes()
    room = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(max(0, room - 8192)))
    assert_one_line(fault_child.run(arguments, tmp_path / "log"), 1, "cannot be written: No space left on device")
    assert (model / "checkpoint.pt").read_bytes() == checkpoint
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    before = contents(small_disk)
    for refused_command in (arguments, [*init, "--overwrite"]):
        outcome = fault_child.run(refused_command, tmp_path / "log")
        assert_one_line(outcome, 1, "cannot be written: Read-only file system")
    assert contents(small_disk) == before
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert fault_child.run(arguments, tmp_path / "log") == (0, [])


class At(Silent):
    """A listener that does something after the first epoch."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def say(self, line: str) -> None:
        if line.startswith("epoch 1/"):
            self.action()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_that_goes_while_training_is_not_made_again(replaced: bool, data_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"

    def go() -> None:
        model.rename(tmp_path / "moved")
        if replaced:
            model.mkdir()

    with refused(model, "was removed, replaced or unmounted"):
        train(tiny_config("semi_supervised", n_epochs=3), DataDirectory(data_dir), model, progress=At(go))
    assert model.exists() == replaced
    assert not replaced or not list(model.iterdir())
    assert_whole(tmp_path / "moved")
    assert (tmp_path / "moved" / "checkpoint.pt").exists()


def test_a_second_run_on_one_directory_is_refused_until_the_first_is_killed(data_dir: Path, tmp_path: Path) -> None:
    model, config = tmp_path / "model", configuration(tmp_path / "tiny.yaml")
    arguments = [*training_of(data_dir, model, config), "--resume"]
    longer = [*arguments, "--n-epochs", "100000"]
    first = Child(longer, tmp_path / "first.log")
    try:
        first.wait_for("epoch 1/")
        for second in (longer, ["init-datasets", "--data", model, *DIGITS]):
            outcome = fault_child.run(second, tmp_path / "second.log")
            assert_one_line(outcome, 1, f"{model} is being written by process ", "wait for it to end")
    finally:
        first.send(signal.SIGKILL)
        first.wait()
    shutil.copytree(model, tmp_path / "killed")
    assert fault_child.run([*arguments[:-1], "--overwrite"], tmp_path / "log") == (0, [])
    assert not (model / ".aae-lock").exists()


@one_variant
@pytest.mark.parametrize(("signum", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (15, 143, "terminated")])
def test_a_signal_ends_an_export_in_one_line_at_whatever_moment(
    signum: int, status: int, said: str, model_dir: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    arguments: list[str | Path] = ["export", "--model", model_dir, "--output", export]
    arguments += ["--format", "onnx" if MANY else "torchscript"]
    duration = Child(arguments, tmp_path / "log").measure()
    n = 20 if MANY else 3
    for moment in range(n):
        child = Child(arguments, tmp_path / "log")
        child.send_after(signum, duration * (0.2 + 0.7 * moment / n))
        outcome = child.wait(), child.errors()
        if outcome != (0, []):  # it may have been done
            assert outcome == (status, [f"aae: {said}"])
            assert not any(LEFTOVER.fullmatch(name) for name in contents(export))
            assert_whole(export)


def test_a_clock_that_steps_back_changes_nothing(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = DataDirectory(data_dir), tiny_config("unsupervised", n_epochs=3)
    train(config, data, tmp_path / "whole", device="cpu")
    now = [time.time()]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "time", back)
    monkeypatch.setattr(time, "time_ns", lambda: int(back() * 1e9))
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "cut", device="cpu", progress=At(stop))
    for path in (tmp_path / "cut").iterdir():
        os.utime(path, (0, 2**33))  # in 2242
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(0 < line["seconds"] < 600 for line in lines)


def test_too_little_memory_is_one_line_with_what_to_lower(data_dir: Path, tmp_path: Path) -> None:
    model, config = tmp_path / "model", configuration(tmp_path / "wide.yaml", hidden_size=20_000)
    arguments = [*training_of(data_dir, model, config), "--batch-size", "30"]
    outcome = fault_child.run(arguments, tmp_path / "log", Limits(memory=600 * 2**20))
    assert_one_line(outcome, 1, "out of memory; lower --batch-size (now 30), or the networks' sizes")
    assert not model.exists() or not (model / "model.json").exists()
