"""`--deterministic`: the same bytes of weights and of every exported file, in fresh processes and other directories."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TINY_MODEL, TINY_TRAINING
from refusals import refused

from aae_toolkit.config import TrainingConfig, load_config, with_flags
from aae_toolkit.errors import UsageError

TRAIN_AND_EXPORT = """
import sys
from aae_toolkit.cli.app import run
data, config, model = sys.argv[1:]
train = ["train", "semi-supervised", "--data", data, "--config", config, "--output", model]
assert run([*train, "--device", "cpu", "--deterministic"]) == 0
assert run(["export", "--model", model]) == 0
"""
NOT_COMPARED = {"metrics.jsonl", "checkpoint.pt", "run.json"}  # they say how long it took, and where the data lies


def checksums(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_two_processes_in_two_directories_write_the_same_bytes(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"semi_supervised": {"model": TINY_MODEL, "training": TINY_TRAINING}}))
    models = tmp_path / "model", tmp_path / "another place" / "of a longer name"
    for hash_seed, model in enumerate(models):
        command = [sys.executable, "-c", TRAIN_AND_EXPORT, str(data_dir), str(config), str(model)]
        environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
    first, second = map(checksums, models)
    assert first == second
    assert {"encoder_semi_supervised.safetensors", "export/classifier.onnx", "export/classifier.pt2"} <= first.keys()
    assert "export/classifier.torchscript.pt" in first
    assert load_config(models[0] / "config.yml", "semi_supervised").training.deterministic


def test_kernels_that_are_chosen_by_their_time_are_refused() -> None:
    assert not TrainingConfig().deterministic
    config = with_flags(load_config("seed", "semi_supervised"), deterministic=True)
    assert config.training.deterministic
    with refused("max-autotune", "deterministic", kind=UsageError):
        with_flags(config, compile_mode="max-autotune")
