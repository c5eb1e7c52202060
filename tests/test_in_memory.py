import json
from pathlib import Path

import torch
from conftest import tiny_config
from test_trainer import EVERYTHING

from aae_toolkit.config import Variant
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split, SplitName
from aae_toolkit.models.directory import load_model
from aae_toolkit.progress import Silent
from aae_toolkit.training.in_memory import train_in_memory
from aae_toolkit.training.trainer import train


def test_training_in_memory_runs_the_same_steps(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=2, **EVERYTHING)
    train(config, data, tmp_path, device="cpu")
    splits: dict[SplitName, Split] = {
        name: data.load(name) for name in ("train_labeled", "train_unlabeled", "validation")
    }
    arrays = ArrayData(splits, data.image_shape, data.class_names)
    model, history = train_in_memory(config, arrays, device="cpu", progress=Silent())
    saved = load_model(tmp_path).encoder.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.encoder.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line, of_epoch in zip(lines, history, strict=True):
        means = of_epoch.keys() - {"epoch", "seconds"}
        assert {"reconstruction", "pairs", "pseudo_labels"} <= means
        assert all(of_epoch[name] == line[name] for name in means)
