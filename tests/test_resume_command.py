"""`aae train --resume MODEL`, and what the other commands make of a training that was stopped."""

import itertools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY_MODEL, TINY_TRAINING, tiny_source
from test_cli import status_of
from test_trainer import same, weights

from aae_toolkit.cli import seed
from aae_toolkit.cli.app import run
from aae_toolkit.config import load_config
from aae_toolkit.data.directory import write_data_directory
from aae_toolkit.training.stop import StopRequest

SECTION = {"model": TINY_MODEL, "training": TINY_TRAINING | {"n_epochs": 3}}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "three.yaml"
    path.write_text(yaml.safe_dump({"semi_supervised": SECTION, "unsupervised": SECTION}))
    return path


@pytest.fixture
def command(data_dir: Path, config: Path) -> list[str]:
    """A training of three epochs of six steps."""
    return ["train", "semi-supervised", "--data", str(data_dir), "--config", str(config), "--device", "cpu"]


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the next training get a SIGTERM in some step."""

    def prepare(step: int) -> None:
        steps = itertools.count(1)
        monkeypatch.setattr(StopRequest, "signum", lambda self: signal.SIGTERM if next(steps) == step else 0)

    return prepare


@pytest.fixture
def stopped(command: list[str], tmp_path: Path, stop_after: Callable[[int], None]) -> Path:
    """A model directory whose training was stopped in its third epoch."""
    stop_after(14)
    assert run([*command, "--output", str(tmp_path / "cut"), "--checkpoint-every", "5"]) == 143
    return tmp_path / "cut"


def test_a_training_goes_on_from_its_directory_alone(
    stopped: Path, command: list[str], data_dir: Path, tmp_path: Path
) -> None:
    before = (stopped / "run.json").read_text()
    recorded = json.loads(before)
    assert recorded["data"][0] == str(data_dir.resolve())
    assert (recorded["device"], recorded["checkpoint_every"]) == ("cpu", 5)
    assert run(["train", "--resume", str(stopped)]) == 0
    assert (stopped / "run.json").read_text() == before
    assert run([*command, "--output", str(tmp_path / "whole")]) == 0
    assert same(weights(stopped), weights(tmp_path / "whole"))


@pytest.mark.parametrize(
    "words", ["train semi-supervised --resume={}", "train semi-supervised --resume --output {}", "train --resume={}"]
)
def test_the_directory_may_stand_in_several_places(words: str, stopped: Path) -> None:
    assert run(words.format(stopped).split()) == 0
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_scripts_of_the_seed_resume_too(stopped: Path) -> None:
    assert status_of(seed.train_semi_supervised, "--resume", str(stopped)) == 0  # not with the seed's configuration
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_finished_training_is_extended(command: list[str], tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert run([*command, "--output", str(model)]) == 0
    assert run(["train", "--resume", str(model), "--n-epochs", "5"]) == 0
    assert len((model / "metrics.jsonl").read_text().splitlines()) == 5
    assert load_config(model / "config.yml", "semi_supervised").training.n_epochs == 5
    assert run(["train", "--resume", str(model)]) == 0  # nothing is left to train


def test_a_stopped_training_is_scored_drawn_exported_and_called_unfinished(
    stopped: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on, unfinished = ["--model", str(stopped), "--data", str(data_dir)], "UNFINISHED: epoch 2 of 3"
    assert run(["evaluate", *on]) == 0
    assert unfinished in capsys.readouterr().out
    assert run(["evaluate", *on, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == {"done": 2, "total": 3, "kept": 2, "chosen_by": None}
    assert run(["visualize", *on]) == 0
    assert unfinished in capsys.readouterr().out
    assert (stopped / "semi_supervised_accuracy_learning_curve.png").exists()
    assert (stopped / "visualization" / "confusion_matrix.png").exists()
    export = stopped / "export"
    assert run(["export", "--model", str(stopped), "--format", "torchscript"]) == 0
    assert unfinished in capsys.readouterr().out
    assert json.loads((export / "manifest.json").read_text())["unfinished"] == "epoch 2 of 3"
    assert "**UNFINISHED**: training was at epoch 2 of 3" in (export / "MODEL_CARD.md").read_text()
    assert run(["verify", str(export)]) == 0
    assert unfinished in capsys.readouterr().out
    assert run(["verify", str(export), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unfinished"] == "epoch 2 of 3"
    assert run(["report", "--model", str(stopped), "--output", str(tmp_path / "report.html")]) == 0
    assert ">UNFINISHED</span>: epoch 2 of 3" in (tmp_path / "report.html").read_text()


def test_a_training_stopped_in_its_first_epoch_says_how_to_get_a_model(
    command: list[str], tmp_path: Path, stop_after: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(3)
    model = tmp_path / "a model"
    assert run([*command, "--output", str(model)]) == 143
    said = f"stopped by SIGTERM in epoch 1, after step 3 of 6; continue with: aae train --resume '{model}'"
    assert said in capsys.readouterr().err
    assert run(["export", "--model", str(model)]) == 1
    again = f"aae train --resume '{model}'"
    expected = f"is the directory of a training that has no model yet, not a model directory; train on with: {again}"
    assert expected in capsys.readouterr().err


def test_a_data_directory_that_moved_is_found_beside_or_said_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after, other = tmp_path / "before", tmp_path / "after", tmp_path / "other"
    write_data_directory(before / "data", tiny_source(), None, None, None, seed=0)
    flags = ["--data", str(before / "data"), "--config", str(config), "--device", "cpu"]
    assert run(["train", "semi-supervised", *flags, "--output", str(before / "model")]) == 0
    before.rename(after)
    assert run(["train", "--resume", str(after / "model")]) == 0  # both moved
    shutil.move(after / "data", other)
    capsys.readouterr()
    assert run(["train", "--resume", str(after / "model")]) == 2
    assert f"was trained on {after / 'data'}, which is not there; name its new place" in capsys.readouterr().err
    assert run(["train", "--resume", str(after / "model"), "--data", str(other)]) == 0
    write_data_directory(tmp_path / "foreign", tiny_source(), None, None, None, seed=1)
    assert run(["train", "--resume", str(after / "model"), "--data", str(tmp_path / "foreign")]) == 2
    assert "the run was trained on other data than" in capsys.readouterr().err


REFUSALS = [
    ("train --resume {cut} --z-size 3", 2, "--resume: model.z_size is 2 in this run, and 3 is asked for"),
    ("train --resume {cut} --seed 5", 2, "--resume: training.seed is 0 in this run, and 5 is asked for"),
    ("train --resume {cut} --precision bf16", 2, 'training.precision is "fp32" in this run, and "bf16" is asked for'),
    ("train --resume {cut} --n-epochs 2", 2, "--n-epochs 2: the run has begun epoch 3 of 3; ask for 3 or more"),
    ("train --resume {cut} --keep best", 2, "--keep best: 60 labelled validation images are too few"),
    ("train --resume {cut} --config seed", 2, "training.n_epochs is 3 in this run, and 35 in --config seed"),
    ("train --resume {cut} --config seed --n-epochs 4", 2, "--resume: model.hidden_size is 16 in this run, and 1000"),
    ("train --resume {cut} --overwrite", 2, "--resume continues a training and --overwrite replaces it"),
    ("train semi-supervised --resume {cut} --output x", 2, "names the model directory already; leave --output out"),
    ("train semi-supervised --resume", 2, "--resume: name the model directory, --resume MODEL"),
    ("train semi-supervised", 2, "Missing option '--data'"),
    (
        "train unsupervised --resume {cut}",
        2,
        "of the semi-supervised variant; train on with: aae train semi-",
    ),
    ("train --resume {tmp}/none", 1, "holds no training that can go on, it has no config.yml"),
    ("train semi-supervised --resume {tmp}/none", 1, "no checkpoint.pt; start one with: aae train semi-supervised"),
    ("train --resume", 2, "No such option: --resume"),
    ("train unsupervised --data {data} --keep best", 2, "without supervision no label may choose an epoch"),
    ("train semi-supervised --data {data} --keep first", 2, "'first' is not one of 'last', 'best'"),
]


def test_what_contradicts_a_run_is_one_line_and_changes_nothing(
    stopped: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    for words, status, said in REFUSALS:
        capsys.readouterr()
        assert run(words.format(cut=stopped, tmp=tmp_path, data=data_dir).split()) == status, words
        error = capsys.readouterr().err
        assert said in error, words
        assert error.count("\n") == 1
        assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before, words


def test_a_damaged_record_and_one_of_an_earlier_version_ask_for_the_data(
    stopped: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped / "run.json").write_text('{"data": 3}')
    assert run(["train", "--resume", str(stopped)]) == 1
    assert "run.json is damaged: 'data' is 3; give a list; delete it, and give --data" in capsys.readouterr().err
    (stopped / "run.json").unlink()
    assert run(["train", "--resume", str(stopped)]) == 2
    assert "does not say what it was trained on; add --data" in capsys.readouterr().err
    assert run(["train", "--resume", str(stopped), "--data", str(data_dir)]) == 0


def test_pictures_and_events_go_on_as_they_were_asked_for(
    command: list[str], tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    model = tmp_path / "model"
    stop_after(8)
    assert run([*command, "--output", str(model), "--plot-every", "3"]) == 143
    assert not (model / "visualization").exists()
    assert run(["train", "--resume", str(model), "--checkpoint-every", "2"]) == 0
    assert (model / "visualization" / "learned_latent_features.png").exists()
    assert json.loads((model / "run.json").read_text())["checkpoint_every"] == 2
    torch.load(model / "checkpoint.pt", weights_only=True)
