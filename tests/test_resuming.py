"""Trainings that go on: extended, shortened, with the best epoch kept, and what a stopped one leaves."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_source
from refusals import refused
from safetensors.torch import load_file
from test_trainer import EVERYTHING, SignalAt, StopAfter, same, weights

from aae_toolkit import SemiSupervisedAAEClassifier
from aae_toolkit.config import Variant, with_flags
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import UsageError
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.progress import Silent
from aae_toolkit.training import best, trainer
from aae_toolkit.training.best import Judge, judge_of
from aae_toolkit.training.stop import Stopped
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.curves import curves_of, draw_curve


class Said(Silent):
    """A listener that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(params=[{}, EVERYTHING], ids=["", "every term"])
def terms(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


def test_a_finished_run_is_extended_and_a_stop_in_its_extension_changes_nothing(
    variant: Variant, terms: dict[str, Any], data_dir: Path, tmp_path: Path
) -> None:
    data, short = DataDirectory(data_dir), tiny_config(variant, **terms)
    longer = with_flags(short, n_epochs=4)
    train(short, data, tmp_path / "whole", device="cpu")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    said = Said()
    train(longer, data, tmp_path / "whole", device="cpu", resume=True, progress=said)
    expected = "the run now has 4 epochs instead of 2: learning rates follow the schedule of 4 from here"
    assert f"{expected}, and optimizers start anew" in said.lines
    with pytest.raises(Stopped):
        train(longer, data, tmp_path / "cut", device="cpu", resume=True, progress=SignalAt(signal.SIGTERM, 9))
    assert read_description(tmp_path / "cut").unfinished == "epoch 3 of 4"
    train(longer, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    assert read_description(tmp_path / "cut").unfinished is None
    assert "n_epochs: 4" in (tmp_path / "cut" / "config.yml").read_text()


def test_a_finished_run_of_an_earlier_version_is_extended(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    data = DataDirectory(data_dir)
    train(tiny_config(variant, **EVERYTHING), data, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    config = checkpoint["config"].replace("    keep: last\n", "")
    earlier = {k: v for k, v in checkpoint.items() if k not in ("best", "precision")}
    torch.save(earlier | {"phases": {}, "config": config}, tmp_path / "checkpoint.pt")
    description = json.loads((tmp_path / "model.json").read_text())
    del description["epochs"]
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert load_model(tmp_path).description.unfinished is None
    train(tiny_config(variant, n_epochs=3, **EVERYTHING), data, tmp_path, device="cpu", resume=True)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_with_constant_rates_a_run_that_is_lengthened_before_its_end_is_that_of_the_whole_length(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    data, schedule = DataDirectory(data_dir), {"schedule": {"kind": "constant"}}
    train(tiny_config(variant, n_epochs=4, **schedule), data, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(variant, n_epochs=3, **schedule), data, tmp_path / "cut", device="cpu", progress=StopAfter(2))
    train(tiny_config(variant, n_epochs=4, **schedule), data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_stopped_run_can_be_ended_where_it_is_and_not_before(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    data = DataDirectory(data_dir)
    with pytest.raises(Stopped):
        train(tiny_config(variant, n_epochs=4), data, tmp_path, device="cpu", progress=SignalAt(signal.SIGTERM, 14))
    with refused("--n-epochs 2: the run has begun epoch 3 of 4; ask for 3 or more", kind=UsageError):
        train(tiny_config(variant, n_epochs=2), data, tmp_path, device="cpu", resume=True)
    train(tiny_config(variant, n_epochs=3), data, tmp_path, device="cpu", resume=True)
    assert read_description(tmp_path).unfinished is None
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_another_precision_of_this_machine_is_said(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", n_epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path, device="cpu", progress=StopAfter(1))
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save(checkpoint | {"precision": "bf16"}, tmp_path / "checkpoint.pt")
    said = Said()
    train(config, data, tmp_path, device="cpu", resume=True, progress=said)
    assert "warning: trained in bf16 so far, and on this machine in fp32" in said.lines


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best, "LEAST_IMAGES", 10)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of the epochs scores best, and the fourth as well."""
    accuracies = trainer.accuracies
    scored = [0.5, 0.9, 0.7, 0.9, 0.2, 0.1]

    def score(y: Any, validation: Split, run: Any) -> dict[str, float]:
        names = accuracies(y, validation, run)
        return dict.fromkeys(names, scored[current.pop(0)])

    current = [0, 1, 2, 3, 4, 5] * 4
    monkeypatch.setattr(trainer, "accuracies", score)


@pytest.mark.usefixtures("few_are_enough", "scores")
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_best_epoch_is_kept_the_later_one_of_equals(decay: float, data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", n_epochs=6, ema_decay=decay, keep="best")
    description = train(config, data, tmp_path / "best", device="cpu")
    assert description.epochs is not None
    assert description.epochs.model_dump() == {
        "done": 6,
        "total": 6,
        "kept": 4,
        "chosen_by": {"measure": "validation_accuracy", "score": 0.9, "n_epochs": 6, "n_images": 60},
    }
    assert description.epochs.choice == "epoch 4, the best of 6 by validation accuracy: 90.00% of 60 images"
    assert read_description(tmp_path / "best").epochs == description.epochs


@pytest.mark.usefixtures("few_are_enough", "scores")
def test_the_weights_of_the_best_epoch_are_those_of_its_end(data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", n_epochs=6, ema_decay=0.9)
    train(with_flags(config, keep="best"), data, tmp_path / "best", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "last", device="cpu", progress=StopAfter(4))
    assert same(weights(tmp_path / "last"), weights(tmp_path / "best"))
    checkpoint = torch.load(tmp_path / "best" / "checkpoint.pt", weights_only=True)
    last = {k: v for k, v in checkpoint["average"].items() if k.startswith("encoder")}
    kept = load_file(tmp_path / "best" / "encoder_semi_supervised.safetensors")
    assert not torch.equal(last["encoder.y_head.weight"], kept["y_head.weight"])  # the run itself goes on from its end


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize("step", [3, 8, 14, 20, 26])
def test_the_best_epoch_so_far_survives_a_stop(step: int, data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", n_epochs=5, keep="best", ema_decay=0.9)
    whole = train(config, data, tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped):
        train(config, data, tmp_path / "cut", device="cpu", progress=SignalAt(signal.SIGTERM, step))
    cut = train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert cut.epochs == whole.epochs
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.usefixtures("few_are_enough")
def test_a_resumed_run_may_begin_to_keep_the_best_epoch_and_cease_to(data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised")
    train(config, data, tmp_path, device="cpu")
    longer = with_flags(config, n_epochs=4, keep="best")
    epochs = train(longer, data, tmp_path, device="cpu", resume=True).epochs
    assert epochs is not None
    assert epochs.chosen_by is not None
    assert epochs.chosen_by.n_epochs == 3  # the last one so far, and two more
    last = train(with_flags(longer, keep="last"), data, tmp_path, device="cpu", resume=True)
    assert last.epochs is not None
    assert (last.epochs.kept, last.epochs.chosen_by) == (4, None)


def labels_of(*counts: int) -> Split:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)


def test_epochs_are_compared_by_accuracy_and_by_balanced_accuracy_where_classes_are_uneven() -> None:
    config = tiny_config("semi_supervised", keep="best")
    assert judge_of(labels_of(300, 250), config) == Judge("validation_accuracy", 550)
    assert judge_of(labels_of(2000, 200), config) == Judge("validation_balanced_accuracy", 2200)
    assert judge_of(labels_of(2), tiny_config("semi_supervised")) is None
    assert judge_of(labels_of(2), tiny_config("unsupervised")) is None


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((250, 249), "499 labelled validation images are too few to choose an epoch by, at least 500 are needed"),
        ((2000, 100), "2100 labelled validation images of uneven classes count as 380, which are too few"),
        ((), "0 labelled validation images are too few"),
    ],
)
def test_too_few_validation_images_are_refused(counts: tuple[int, ...], said: str) -> None:
    with refused("--keep best: ", said, kind=UsageError):
        judge_of(labels_of(*counts), tiny_config("semi_supervised", keep="best"))


def test_a_refused_choice_writes_nothing(tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), None, None, None, seed=0)
    with refused("60 labelled validation images are too few", kind=UsageError):
        config = tiny_config("semi_supervised", keep="best")
        train(config, DataDirectory(tmp_path / "data"), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()


def test_an_estimator_has_no_images_to_choose_an_epoch_by() -> None:
    rows = np.random.default_rng(0).random((40, 5))
    with pytest.raises(ValueError, match="best chooses by validation images, and arrays have none; set it to last"):
        SemiSupervisedAAEClassifier(config={"training": {"keep": "best"}}, n_epochs=1).fit(rows, np.arange(40) % 2)


def test_learning_curves_mark_the_epoch_that_was_chosen() -> None:
    lines = [{"epoch": epoch, "validation_accuracy": 0.5} for epoch in (1, 2, 3)]
    curve = curves_of("semi_supervised")["semi_supervised_accuracy_learning_curve.png"]
    for kept, marks in ((2, ["kept: epoch 2"]), (None, [])):
        [axes] = draw_curve(curve, lines, kept=kept).axes
        assert [text.get_text() for text in axes.get_legend().get_texts()][1:] == marks
