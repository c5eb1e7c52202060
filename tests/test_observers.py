import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import yaml
from conftest import TINY_MODEL, TINY_TRAINING, tiny_config
from safetensors.numpy import load_file

from aae_toolkit.cli.app import run
from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.progress import Silent
from aae_toolkit.training.observer import Epoch, Observer
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.live import LIVE_PICTURES, LivePictures
from aae_toolkit.visualization.tensorboard import TensorBoardLog

T = TypeVar("T")
needs_tensorboard = pytest.mark.usefixtures("_tensorboard")


@pytest.fixture
def _tensorboard() -> None:
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")


class StopInEpoch(Silent):
    """A listener that interrupts training in some epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def track(self, items: Iterable[T], description: str, total: int, done: int = 0) -> Iterator[T]:
        if description.startswith(f"epoch {self.epoch}/"):
            raise KeyboardInterrupt
        yield from items


class Kept:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.histories: list[int] = []
        self.epochs: list[Epoch] = []

    def started(self, history: Any) -> None:
        self.histories.append(len(history))

    def epoch_ended(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)


def trained(
    data_dir: Path, output_dir: Path, observers: Iterable[Observer] = (), *, stop_in: int = 0, resume: bool = False
) -> None:
    """Train four epochs, or until one is interrupted."""
    config = tiny_config("unsupervised", n_epochs=4, use_mode_decoder=True)
    data, progress = DataDirectory(data_dir), StopInEpoch(stop_in)
    try:
        train(config, data, output_dir, device="cpu", resume=resume, progress=progress, observers=tuple(observers))
    except KeyboardInterrupt:
        assert stop_in


def test_an_observer_sees_every_epoch_with_the_model_of_then(data_dir: Path, tmp_path: Path) -> None:
    kept = Kept()
    trained(data_dir, tmp_path, [kept], stop_in=3)
    trained(data_dir, tmp_path, [kept], resume=True)
    assert kept.histories == [0, 2]
    assert [epoch.metrics["epoch"] for epoch in kept.epochs] == [1, 2, 3, 4]
    assert len(kept.epochs[0].validation) == 60
    written = json.loads((tmp_path / "model.json").read_text()) | {"sha256": {}}  # of files that were not there yet
    assert kept.epochs[-1].model.description.model_dump(mode="json") == written


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@needs_tensorboard
def test_watched_training_ends_at_the_same_bits(
    variant: Variant, ema_decay: float, data_dir: Path, tmp_path: Path
) -> None:
    sections = {variant: {"model": TINY_MODEL, "training": TINY_TRAINING | {"ema_decay": ema_decay}}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(sections))
    command = ["train", variant.replace("_", "-"), "--data", str(data_dir), "--device", "cpu"]
    command += ["--config", str(tmp_path / "tiny.yaml"), "--n-epochs", "3"]
    assert run([*command, "--output", str(tmp_path / "plain")]) == 0
    watched = [*command, "--output", str(tmp_path / "watched"), "--plot-every", "2", "--tensorboard"]
    assert run(watched) == 0
    for network in ("encoder", "decoder"):
        plain, other = (
            load_file(tmp_path / name / f"{network}_{variant}.safetensors") for name in ("plain", "watched")
        )
        assert all(np.array_equal(plain[key], other[key]) for key in plain)
    assert not (tmp_path / "plain" / "visualization").exists()
    assert {path.name for path in (tmp_path / "watched" / "visualization").iterdir()} == set(LIVE_PICTURES)
    assert len(list((tmp_path / "watched" / "tensorboard").iterdir())) == 1


def test_pictures_come_every_so_many_epochs(data_dir: Path, tmp_path: Path) -> None:
    class Watch(Kept):
        def epoch_ended(self, epoch: Epoch) -> None:
            super().epoch_ended(epoch)
            times.append([path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.png"))])

    times: list[list[int]] = []
    trained(data_dir, tmp_path, [LivePictures(tmp_path, 2), Watch()])
    assert times[0] == []
    assert len(times[1]) == 3 + len(LIVE_PICTURES)  # adversarial, reconstruction, accuracy
    assert times[1] == times[2]
    assert all(later > earlier for earlier, later in zip(times[2], times[3], strict=True))


def test_pictures_of_a_replaced_model_go_and_those_of_a_resumed_one_stay(data_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "visualization" / "confusion_matrix.png"
    picture.parent.mkdir()
    picture.write_bytes(b"")
    trained(data_dir, tmp_path, [LivePictures(tmp_path, None)], stop_in=2)
    assert not picture.exists()
    picture.write_bytes(b"")
    trained(data_dir, tmp_path, [LivePictures(tmp_path, None)], resume=True)
    assert picture.exists()


def scalars_of(directory: Path) -> dict[str, list[int]]:
    """Steps by tag, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["images"]) <= {"reconstructions", "modes", "mode_decoder"}
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@needs_tensorboard
def test_tensorboard_has_every_metric_and_the_pictures(data_dir: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardLog(tmp_path) as log:
        trained(data_dir, tmp_path, [log])
    scalars = scalars_of(tmp_path)
    assert all(steps == [1, 2, 3, 4] for steps in scalars.values())
    metrics = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {tag.split("/")[1] for tag in scalars} == metrics.keys() - {"epoch", "warnings"}
    assert {"loss/reconstruction", "accuracy/validation_majority_accuracy", "speed/images_per_second"} <= set(scalars)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("loss/reconstruction")[-1].value == pytest.approx(metrics["reconstruction"])
    sizes = {tag: (events.Images(tag)[-1].height, events.Images(tag)[-1].width) for tag in events.Tags()["images"]}
    assert sizes == {"reconstructions": (13, 69), "modes": (6, 27), "mode_decoder": (6, 27)}  # tiles of 6 x 6, 1 apart


@needs_tensorboard
def test_a_resumed_training_repeats_no_step(data_dir: Path, tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        trained(data_dir, tmp_path, [log], stop_in=4)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    with TensorBoardLog(tmp_path) as log:
        trained(data_dir, tmp_path, [log], resume=True)
    assert all(steps == [1, 2, 3, 4] for steps in scalars_of(tmp_path).values())
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)  # as where the later checkpoint was lost
    with TensorBoardLog(tmp_path) as log:
        trained(data_dir, tmp_path, [log], resume=True)
    assert all(steps == [1, 2, 3, 4] for steps in scalars_of(tmp_path).values())


@needs_tensorboard
def test_a_log_begun_late_has_the_epochs_before_and_a_new_training_replaces_it(data_dir: Path, tmp_path: Path) -> None:
    trained(data_dir, tmp_path, stop_in=3)
    with TensorBoardLog(tmp_path) as log:
        trained(data_dir, tmp_path, [log], resume=True)
    assert all(steps == [1, 2, 3, 4] for steps in scalars_of(tmp_path).values())
    with TensorBoardLog(tmp_path) as log:
        log.started([])
    assert scalars_of(tmp_path) == {}


def test_without_tensorboard_the_extra_is_named_and_nothing_written(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    output = tmp_path / "model"
    command = ["train", "semi-supervised", "--data", str(data_dir), "--output", str(output)]
    assert run([*command, "--tensorboard"]) == 1
    line = 'tensorboard is not installed; this command needs: pip install "aae-toolkit[tensorboard]"'
    assert line in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("n", ["0", "-1", "often"])
def test_plotting_less_than_every_epoch_is_refused(n: str, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "unsupervised", "--data", str(data_dir), "--plot-every", n]) == 2
    assert "'--plot-every'" in capsys.readouterr().err
