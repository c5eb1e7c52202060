import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import yaml
from conftest import MODEL_EPOCHS, TINY_MODEL, TINY_TRAINING, tiny_config, tiny_source
from safetensors.torch import load_file

from aae_toolkit import losses
from aae_toolkit.config import Variant, VariantConfig, load_config, shipped_configs, with_flags
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.progress import Silent
from aae_toolkit.training import trainer
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.trainer import train

T = TypeVar("T")


class StopAfter(Silent):
    """A listener that interrupts training after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def say(self, line: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


class SignalAt(Silent):
    """A listener that sends this process a signal before some step."""

    def __init__(self, signum: int, step: int) -> None:
        self.signum, self.left = signum, step

    def track(self, items: Iterable[T], description: str, total: int, done: int = 0) -> Iterator[T]:
        for item in items:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(self.signum)
            yield item


def losses_of(directory: Path) -> list[float]:
    """Every loss term of every epoch."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    measured = {"seconds", "images_per_second", "peak_memory_mib"}
    return [value for line in lines for name, value in line.items() if name not in measured]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return {f"{p.name}:{k}": v for p in sorted(directory.glob("*.safetensors")) for k, v in load_file(p).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_model_directory_holds_what_the_contract_says(model_dir: Path, variant: Variant) -> None:
    expected = {"config.yml", "model.json", "metrics.jsonl", "checkpoint.pt"}
    expected |= {f"encoder_{variant}.safetensors", f"decoder_{variant}.safetensors"}
    assert {p.name for p in model_dir.iterdir()} == expected
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, MODEL_EPOCHS + 1))
    own = {"semi_supervised": {"classification", "validation_accuracy"}, "unsupervised": {"z_l2", "mode_separation"}}
    assert {"reconstruction", "seconds", "images_per_second"} | own[variant] <= lines[0].keys()


def test_the_tiny_task_is_learned(model_dir: Path, variant: Variant) -> None:
    last = json.loads((model_dir / "metrics.jsonl").read_text().splitlines()[-1])
    if variant == "semi_supervised":
        assert last["validation_accuracy"] > 0.9
    else:
        assert last["validation_majority_accuracy"] > 0.4  # chance is a third


def test_the_resolved_configuration_is_taken_back(model_dir: Path, variant: Variant) -> None:
    config = load_config(model_dir / "config.yml", variant)
    assert config.training.n_epochs == MODEL_EPOCHS
    assert config.model.n_classes == (3 if variant == "semi_supervised" else 4)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    data = DataDirectory(data_dir)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tiny_config(variant, seed=seed), data, tmp_path / name, device="cpu")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_resumed_run_ends_at_the_weights_of_an_uninterrupted_one(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=3)
    train(config, data, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "cut", device="cpu", progress=StopAfter(2))
    assert not (tmp_path / "cut" / "model.json").exists()
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 5, 6])
def test_a_signal_lets_the_step_finish_and_the_run_resumes_to_the_same_weights(
    data_dir: Path, tmp_path: Path, variant: Variant, signum: int, step: int
) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=2)  # of 6 steps
    train(config, data, tmp_path / "whole", device="cpu")
    handler = signal.getsignal(signum)
    with pytest.raises(Stopped, match=rf"stopped by {signal.Signals(signum).name}.*continue with --resume") as caught:
        train(config, data, tmp_path / "cut", device="cpu", progress=SignalAt(signum, step))
    assert caught.value.exit_status == 128 + signum
    assert signal.getsignal(signum) is handler
    assert not (tmp_path / "cut" / "model.json").exists()
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert losses_of(tmp_path / "whole") == pytest.approx(losses_of(tmp_path / "cut"))


def test_a_second_interrupt_is_not_held_back_and_a_second_termination_is() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum() == signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
        assert stop.signum() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.signum() == 0
            signal.raise_signal(signal.SIGTERM)
            assert stop.signum() == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_training_leaves_signals_alone(data_dir: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        config = tiny_config("semi_supervised", n_epochs=1)
        pool.submit(train, config, DataDirectory(data_dir), tmp_path, device="cpu").result()
    assert (tmp_path / "model.json").exists()


def test_killed_or_stopped_at_any_moment_a_run_resumes_to_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        json.dumps({"semi_supervised": {"model": TINY_MODEL, "training": TINY_TRAINING | {"n_epochs": 60}}})
    )
    paths = ["--dir-path", data_dir, "--config-path", tmp_path / "tiny.yaml", "--output-dir-path"]
    command = [sys.executable, "-m", "aae_toolkit", "train", "semi-supervised", "--device", "cpu", *paths]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    resumed = [*command, tmp_path / "cut", "--resume", "--checkpoint-every", "1"]
    for sign_of_life, delay, signum, status in (
        ("loading", 0.0, signal.SIGKILL, -signal.SIGKILL),
        ("epoch", 0.0, signal.SIGKILL, -signal.SIGKILL),
        ("epoch", 0.3, signal.SIGKILL, -signal.SIGKILL),
        ("epoch", 0.1, signal.SIGTERM, 143),
        ("epoch", 0.1, signal.SIGINT, 130),
    ):
        process = subprocess.Popen(resumed, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while not process.stdout.readline().startswith(sign_of_life):
            assert process.poll() is None
        time.sleep(delay)
        process.send_signal(signum)
        process.communicate()
        assert process.returncode == status
        if sign_of_life == "epoch":
            torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)  # it is whole
    subprocess.run(resumed, check=True, capture_output=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_resume_starts_where_nothing_has_been_kept_yet(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant)
    train(config, data, tmp_path / "fresh", device="cpu")
    train(config, data, tmp_path / "resumed", device="cpu", resume=True)
    assert same(weights(tmp_path / "fresh"), weights(tmp_path / "resumed"))


def test_a_finished_model_without_a_checkpoint_is_not_started_again(
    model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    (copy / "checkpoint.pt").unlink()
    with pytest.raises(UsageError, match=r"already holds a training \(model\.json\)"):
        train(tiny_config(variant, n_epochs=MODEL_EPOCHS), DataDirectory(data_dir), copy, device="cpu", resume=True)


def test_a_loss_that_is_not_finite_ends_the_epoch_and_the_last_checkpoint_stands(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = DataDirectory(data_dir), tiny_config("semi_supervised", n_epochs=3)
    train(config, data, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "cut", device="cpu", progress=StopAfter(1))
    with monkeypatch.context() as patch:
        patch.setattr(losses, "generation", lambda logits: logits.mean() * float("nan"))
        expected = r"in epoch 2: .*generator_categorical = nan, generator_gaussian = nan"
        with pytest.raises(AaeError, match=expected):
            train(config, data, tmp_path / "cut", device="cpu", resume=True)
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_weights_that_are_not_finite_are_never_kept(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruin(weights: list[torch.Tensor]) -> None:
        weights[0].data.fill_(float("inf"))

    monkeypatch.setattr("aae_toolkit.training.step.refresh", ruin)
    with pytest.raises(AaeError, match="not finite"):
        train(tiny_config("unsupervised"), DataDirectory(data_dir), tmp_path, device="cpu")
    assert not (tmp_path / "checkpoint.pt").exists()


def test_nothing_is_compiled_again_after_the_first_epoch(data_dir: Path, tmp_path: Path) -> None:
    class ForbidAfterFirst(Silent):
        def say(self, line: str) -> None:
            torch.compiler.set_stance("fail_on_recompile")

    compiled = torch._dynamo.utils.counters["stats"]
    compiled.clear()
    config = tiny_config("semi_supervised", n_epochs=3, batch_size=17, compile=True, precision="bf16")  # two sizes
    try:
        train(config, DataDirectory(data_dir), tmp_path, device="cpu", progress=ForbidAfterFirst())
    finally:
        torch.compiler.set_stance("default")
    assert 4 <= compiled["unique_graphs"] <= 8  # four phases, at most two batch sizes


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant) for name, path in shipped_configs().items() for variant in yaml.safe_load(path.read_text())],
    indirect=["variant"],
)
def test_every_shipped_configuration_trains(
    name: str, variant: Variant, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "save_checkpoint", lambda *_: None)  # up to 760 MB
    config = with_flags(load_config(name, variant), n_epochs=1, batch_size=50)  # two steps
    train(config, DataDirectory(data_dir), tmp_path, device="cpu")
    assert (tmp_path / "model.json").exists()


def test_peak_memory_is_recorded_and_levels_off(data_dir: Path, tmp_path: Path) -> None:
    train(tiny_config("unsupervised", n_epochs=30), DataDirectory(data_dir), tmp_path, device="cpu")
    peaks = [json.loads(line)["peak_memory_mib"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert peaks[0] > 10
    assert peaks[-1] - peaks[9] < 5


def test_streamed_images_give_the_same_weights(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    data = DataDirectory(data_dir)
    for name, budget in (("resident", 1), ("streamed", 0)):
        train(tiny_config(variant, resident_mib=budget), data, tmp_path / name, device="cpu")
    assert same(weights(tmp_path / "resident"), weights(tmp_path / "streamed"))


def test_bf16_and_compiled_runs_learn_as_much(data_dir: Path, tmp_path: Path) -> None:
    accuracy = {}
    for name, training in {
        "fp32": {},
        "bf16": {"precision": "bf16"},
        "compiled": {"compile": True},
    }.items():
        config = tiny_config("semi_supervised", n_epochs=MODEL_EPOCHS, augment_labeled=False, **training)
        train(config, DataDirectory(data_dir), tmp_path / name, device="cpu")
        last = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        accuracy[name] = last["validation_accuracy"]
    assert min(accuracy.values()) > 0.9


def test_resuming_a_finished_run_changes_nothing(
    model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    train(tiny_config(variant, n_epochs=MODEL_EPOCHS), DataDirectory(data_dir), copy, device="cpu", resume=True)
    assert same(weights(copy), weights(model_dir))


def test_resuming_with_other_settings_names_the_first_that_differs(
    model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    with pytest.raises(UsageError, match=rf"n_epochs: {MODEL_EPOCHS}.*n_epochs: 9"):
        train(tiny_config(variant, n_epochs=9), DataDirectory(data_dir), copy, device="cpu", resume=True)


def test_a_damaged_checkpoint_is_one_line(model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    content = (copy / "checkpoint.pt").read_bytes()
    for damaged in (b"", b"not a checkpoint", content[: len(content) // 2]):
        (copy / "checkpoint.pt").write_bytes(damaged)
        with pytest.raises(AaeError, match="damaged or not a checkpoint") as caught:
            train(tiny_config(variant, n_epochs=MODEL_EPOCHS), DataDirectory(data_dir), copy, device="cpu", resume=True)
        assert "\n" not in str(caught.value)


def test_a_pickle_in_place_of_the_checkpoint_runs_nothing(data_dir: Path, variant: Variant, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"format": "aae-checkpoint-2", "x": Hostile()}, tmp_path / "checkpoint.pt")
    with pytest.raises(AaeError, match="damaged or not a checkpoint"):
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path, device="cpu", resume=True)
    assert not (tmp_path / "harm").exists()


def test_the_test_split_is_never_read_in_training(variant: Variant, tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), None, None, None, seed=0)
    (tmp_path / "data" / "test.npz").unlink()
    train(tiny_config(variant, n_epochs=1), DataDirectory(tmp_path / "data"), tmp_path / "model", device="cpu")


def test_labels_of_the_unlabelled_images_cannot_matter(variant: Variant, tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), None, None, None, seed=0)
    assert (DataDirectory(tmp_path / "data").load("train_unlabeled").labels == -1).all()


def test_data_without_any_label_trains_unsupervised_and_names_categories_by_themselves(tmp_path: Path) -> None:
    from dataclasses import replace

    import numpy as np

    source = tiny_source()
    bare = replace(
        source,
        class_names=(),
        labels=np.full_like(source.labels, -1),
        default_labeled=None,
        default_validation=0,
        default_test=0,
    )
    write_data_directory(tmp_path / "data", bare, None, None, None, seed=0)
    data = DataDirectory(tmp_path / "data")
    description = train(tiny_config("unsupervised"), data, tmp_path / "model", device="cpu")
    assert description.class_names == ("category_0", "category_1", "category_2", "category_3")
    assert description.category_to_class == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="no labelled training images"):
        train(tiny_config("semi_supervised"), data, tmp_path / "other", device="cpu")


def test_more_categories_than_classes_still_give_class_labels(data_dir: Path, tmp_path: Path) -> None:
    config = tiny_config("semi_supervised")
    wide = config.model_copy(update={"model": config.model.model_copy(update={"n_classes": 5})})
    description = train(wide, DataDirectory(data_dir), tmp_path, device="cpu")
    assert description.category_to_class[:3] == (0, 1, 2)
    assert len(description.category_to_class) == 5
    assert set(description.category_to_class) <= {0, 1, 2}


@pytest.mark.parametrize("encoder", ["mlp", "conv"])
def test_any_image_shape_trains_and_loads(encoder: str, tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(channels=3, size=9), None, None, None, seed=0)
    config: VariantConfig = tiny_config("semi_supervised", n_epochs=1)
    config = config.model_copy(update={"model": config.model.model_copy(update={"encoder": encoder})})
    train(config, DataDirectory(tmp_path / "data"), tmp_path / "model", device="cpu")
    assert load_model(tmp_path / "model").architecture.image_shape == (3, 9, 9)


def test_a_mode_decoder_is_saved_where_trained_and_gone_after_a_training_without(
    data_dir: Path, tmp_path: Path
) -> None:
    data, path = DataDirectory(data_dir), tmp_path / "mode_decoder_unsupervised.safetensors"
    train(tiny_config("unsupervised", use_mode_decoder=True), data, tmp_path, device="cpu")
    assert path.exists()
    assert load_model(tmp_path).mode_decoder is not None
    train(tiny_config("unsupervised"), data, tmp_path, device="cpu", overwrite=True)
    assert not path.exists()


def test_a_model_is_not_replaced_unless_asked(model_dir: Path, data_dir: Path, variant: Variant) -> None:
    before = weights(model_dir)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        train(tiny_config(variant), DataDirectory(data_dir), model_dir, device="cpu")
    assert same(weights(model_dir), before)


def test_a_full_disk_is_one_line_and_no_model(
    data_dir: Path, variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.raises(AaeError, match="cannot be written: No space left on device"):
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path / "model", device="cpu")
    with pytest.raises(AaeError, match=r"holds no model\.json"):
        read_description(tmp_path / "model")


def test_resuming_on_other_data_is_refused(model_dir: Path, variant: Variant, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    write_data_directory(tmp_path / "data", tiny_source(), None, None, None, seed=9)
    config = tiny_config(variant, n_epochs=MODEL_EPOCHS)
    with pytest.raises(UsageError, match="trained on other data"):
        train(config, DataDirectory(tmp_path / "data"), copy, device="cpu", resume=True)


def test_where_most_images_have_labels_an_epoch_passes_over_them_too(tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), 119, 60, 60, seed=0)  # one is left unlabelled
    data = DataDirectory(tmp_path / "data")
    for variant in ("semi_supervised", "unsupervised"):
        train(tiny_config(variant, n_epochs=1), data, tmp_path / variant, device="cpu")
        line = json.loads((tmp_path / variant / "metrics.jsonl").read_text())
        assert line["images_per_second"] * line["seconds"] == pytest.approx(120)


def test_categories_cannot_be_named_without_validation_images(tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), 30, 0, 60, seed=0)
    data = DataDirectory(tmp_path / "data")
    with pytest.raises(UsageError, match="no validation images to name the categories by"):
        train(tiny_config("unsupervised"), data, tmp_path / "model", device="cpu")
    train(tiny_config("semi_supervised"), data, tmp_path / "model", device="cpu")  # its categories are the classes
