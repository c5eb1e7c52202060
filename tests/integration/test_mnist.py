"""The whole pipeline on real MNIST, as short as it can be and still say something."""

import json
from pathlib import Path

import pytest
from conftest import MNIST_RAW_DIR, needs_mnist
from PIL import Image

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory

pytestmark = [needs_mnist, pytest.mark.slow]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mnist")
    assert run(["init-datasets", "--data", str(path), "--raw-dir", str(MNIST_RAW_DIR)]) == 0
    return path


def test_the_splits_are_the_seeds_with_the_test_set_apart(mnist: Path) -> None:
    index = DataDirectory(mnist).index
    sizes = {name: split.n for name, split in index.splits.items()}
    assert sizes == {"train_labeled": 3000, "train_unlabeled": 47000, "validation": 10000, "test": 10000}
    assert set(index.splits["train_labeled"].class_counts.values()) == {300}
    assert index.splits["test"].class_counts["5"] == 892  # of the official test set


def test_train_evaluate_export_parity_bench_and_predict(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("semi_supervised: {model: {hidden_size: 256}, training: {n_epochs: 1, batch_size: 100}}")
    model, export = tmp_path / "model", tmp_path / "export"
    common = ["--data", str(mnist)]
    train = ["train", "semi-supervised", *common, "--output", str(model), "--config", str(config)]
    assert run(train) == 0
    capsys.readouterr()
    assert run(["evaluate", "--model", str(model), *common, "--split", "test", "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy > 0.85  # 3000 labels and one pass
    formats = ["--format", "onnx", "--format", "torchscript"]
    assert run(["export", "--model", str(model), "--output", str(export), *formats]) == 0
    capsys.readouterr()
    assert run(["parity", "--export", str(export), *common, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert report["n"] == 10000
    assert report["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    bench = ["bench", "--export", str(export), "--batch-sizes", "1,64", "--threads", "1"]
    assert run([*bench, "--backends", "eager,onnxruntime"]) == 0
    test = DataDirectory(mnist).load("test")
    paths = []
    for i in range(20):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(test.images[i, 0]).save(paths[-1])
    capsys.readouterr()
    assert run(["predict", "--model", str(export / "classifier.onnx"), *paths, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(line["label"] == label for line, label in zip(lines, test.labels.tolist(), strict=False)) >= 15
