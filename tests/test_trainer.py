import json
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import fault_child
import pytest
import torch
import yaml
from conftest import MODEL_EPOCHS, TINY_MODEL, TINY_TRAINING, tiny_config, tiny_source
from refusals import refused
from safetensors.torch import load_file
from torch import Tensor

from aae_toolkit.config import Variant, VariantConfig, load_config, shipped_configs, with_flags
from aae_toolkit.data.borders import border_brightness
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.evaluation import encode
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.models.networks import Encoder
from aae_toolkit.progress import Silent
from aae_toolkit.training import loop, losses, trainer, validation
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.checkpoint import save_checkpoint
from aae_toolkit.training.consistency import ConsistencyPhase
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.trainer import train

T = TypeVar("T")

TERMS = {"lambda_pairs": 1.0, "lambda_balance": 2.0, "n_neighbors": 3, "augmentation": 0.5}
EVERY_TERM = TERMS | {
    "elastic": 0.05,
    "lambda_over_clustering": 0.5,
    "n_over_clusters": 7,
    "lambda_virtual_adversarial": 0.5,
    "lambda_pseudo_labels": 1.0,
    "confidence": 0.3,
    "looks_to_trust": 2,
}
EVERYTHING: dict[str, Any] = {
    "consistency": EVERY_TERM,
    "ema_decay": 0.9,
    "weight_decay": 0.01,
    "autoencoder_every": 4,
    "autoencoder_after": 0.4,
}


class StopAfter(Silent):
    """A listener that interrupts training after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def say(self, line: str) -> None:
        self.left -= line.startswith("epoch ")
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
    measured = {"seconds", "images_per_second", "peak_memory_mib", "warnings"}
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
    shared = {"reconstruction", "seconds", "images_per_second", "validation_balanced_accuracy"}
    assert shared | own[variant] <= lines[0].keys()


def test_the_tiny_task_is_learned(model_dir: Path, variant: Variant) -> None:
    last = json.loads((model_dir / "metrics.jsonl").read_text().splitlines()[-1])
    if variant == "semi_supervised":
        assert last["validation_accuracy"] > 0.9
        assert read_description(model_dir).validation_accuracy == last["validation_accuracy"]
    else:
        assert last["validation_majority_accuracy"] > 0.4  # chance is a third
    accuracy = last.get("validation_accuracy", last.get("validation_majority_accuracy"))
    assert last["validation_balanced_accuracy"] == pytest.approx(accuracy)  # 20 images of each class


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
    assert load_model(tmp_path / "cut").description.unfinished == "epoch 2 of 3"
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert load_model(tmp_path / "cut").description == load_model(tmp_path / "whole").description
    assert load_model(tmp_path / "cut").description.unfinished is None
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 5, 6])
def test_a_signal_lets_the_step_finish_and_the_run_resumes_to_the_same_weights(
    data_dir: Path, tmp_path: Path, variant: Variant, signum: int, step: int
) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=2)  # of 6 steps
    train(config, data, tmp_path / "whole", device="cpu")
    handler = signal.getsignal(signum)
    said = rf"stopped by {signal.Signals(signum).name}.*continue with: aae train --resume .*/cut"
    with pytest.raises(Stopped, match=said) as caught:
        train(config, data, tmp_path / "cut", device="cpu", progress=SignalAt(signum, step))
    assert caught.value.exit_status == 128 + signum
    assert signal.getsignal(signum) is handler
    assert not (tmp_path / "cut" / "model.json").exists()
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert losses_of(tmp_path / "whole") == pytest.approx(losses_of(tmp_path / "cut"))


def equal(a: Any, b: Any) -> bool:
    """Whether two states, of whatever they are made, are the same bit for bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@pytest.mark.parametrize("step", [1, 8, 12, 16])
def test_average_and_memory_are_resumed_bit_for_bit(
    data_dir: Path, tmp_path: Path, variant: Variant, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = states_saved(monkeypatch)
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=3, **EVERYTHING)  # of 6 steps
    train(config, data, tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped):
        train(config, data, tmp_path / "cut", device="cpu", progress=SignalAt(signal.SIGTERM, step))
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    whole, cut = kept["whole"][-1], kept["cut"][-1]
    memory = whole["phases"]["consistency"]["memory"]
    assert memory["n_looks"].tolist() == [3] * 90
    torch.testing.assert_close(memory["y"].sum(dim=1), torch.ones(90))
    for name in ("networks", "average", "phases", "epoch", "step"):
        assert equal(whole[name], cut[name]), name
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert losses_of(tmp_path / "whole") == pytest.approx(losses_of(tmp_path / "cut"))


def states_saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Collect the whole state behind each checkpoint, by the name of its directory."""
    kept: dict[str, list[dict[str, Any]]] = {}

    def save(directory: Path, state: TrainingState, run: Run) -> None:
        content = {
            "networks": state.networks.state_dict(),
            "average": state.average.state_dict(),
            "phases": {runner.phase.name: runner.state_dict() for runner in state.runners},
            "epoch": state.epoch,
            "step": state.step,
        }
        kept.setdefault(directory.name, []).append(deepcopy(content))
        save_checkpoint(directory, state, run)

    monkeypatch.setattr(trainer, "save_checkpoint", save)
    return kept


@pytest.mark.parametrize("terms", [EVERYTHING, {}])
def test_after_the_last_epoch_a_checkpoint_holds_the_model_alone_and_still_gives_it(
    data_dir: Path, tmp_path: Path, variant: Variant, terms: dict[str, Any]
) -> None:
    data, config = DataDirectory(data_dir), tiny_config(variant, n_epochs=1, **terms)
    train(config, data, tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(phase.keys() <= {"memory"} for phase in checkpoint["phases"].values())
    assert ("memory" in checkpoint["phases"].get("consistency", {})) == bool(terms)
    assert [checkpoint[name] is None for name in ("networks", "average")] == [bool(terms), not terms]
    expected, metrics = weights(tmp_path), (tmp_path / "metrics.jsonl").read_text()
    for path in [*tmp_path.glob("*.safetensors"), tmp_path / "model.json", tmp_path / "metrics.jsonl"]:
        path.unlink()  # as where the run was killed before it wrote them
    train(config, data, tmp_path, device="cpu", resume=True)
    assert same(weights(tmp_path), expected)
    assert (tmp_path / "metrics.jsonl").read_text() == metrics


def saved_networks(directory: Path, part: str) -> dict[str, Tensor]:
    """The checkpoint's encoder and decoder, named as in the model directory's files."""
    content = torch.load(directory / "checkpoint.pt", weights_only=True)[part]
    [suffix] = {path.stem.partition("_")[2] for path in directory.glob("encoder_*.safetensors")}
    named = ((*name.split(".", 1), value) for name, value in content.items())
    return {f"{net}_{suffix}.safetensors:{key}": v for net, key, v in named if net in ("encoder", "decoder")}


def test_the_average_is_what_is_evaluated_and_saved(
    variant: Variant, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[Tensor] = []

    def record(encoder: Encoder, images: Any) -> Any:
        evaluated.append(encoder.y_head.weight.clone())
        return encode(encoder, images)

    monkeypatch.setattr(validation, "encode", record)
    kept = states_saved(monkeypatch)
    train(tiny_config(variant, n_epochs=3, ema_decay=0.9), DataDirectory(data_dir), tmp_path, device="cpu")
    assert same(weights(tmp_path), saved_networks(tmp_path, "average"))
    last = kept[tmp_path.name][-1]
    assert not equal(dict(last["average"]), dict(last["networks"]))
    saved = weights(tmp_path)[f"encoder_{variant}.safetensors:y_head.weight"]
    assert [torch.equal(weight, saved) for weight in evaluated] == [False, False, True, True]  # epochs, then names


def test_the_average_counts_steps_over_epochs_and_a_resumed_run_goes_on_counting(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[float, int]] = []
    monkeypatch.setattr(loop, "average_in", lambda average, networks, *numbers: counted.append(numbers))
    data, config = DataDirectory(data_dir), tiny_config("unsupervised", n_epochs=3, ema_decay=0.9)
    with pytest.raises(Stopped):
        train(config, data, tmp_path, device="cpu", progress=SignalAt(signal.SIGTERM, 8))
    train(config, data, tmp_path, device="cpu", resume=True)
    assert counted == [(0.9, step) for step in range(1, 19)]


def test_without_an_average_the_last_weights_are_saved(model_dir: Path) -> None:
    assert torch.load(model_dir / "checkpoint.pt", weights_only=True)["average"] is None
    assert same(weights(model_dir), saved_networks(model_dir, "networks"))


def a_run(config: VariantConfig, data_dir: Path, output_dir: Path) -> Run:
    data, runtime = DataDirectory(data_dir), Runtime(torch.device("cpu"), "fp32", compile=False)
    return Run(fit_config_to_data(config, data), data, runtime, output_dir, Silent())


def test_an_average_is_apart_from_the_networks_and_teaches(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    alone = initial_state(a_run(tiny_config(variant), data_dir, tmp_path), 90)
    assert alone.average is alone.networks
    state = initial_state(a_run(tiny_config(variant, **EVERYTHING), data_dir, tmp_path), 90)
    assert state.average is not state.networks
    assert equal(dict(state.average.state_dict()), dict(state.networks.state_dict()))
    assert not any(parameter.requires_grad for parameter in state.average.parameters())
    phase = state.runners[-1].phase
    assert isinstance(phase, ConsistencyPhase)
    assert phase.teacher is state.average.encoder
    assert phase.memory is not None
    assert phase.memory.y.shape == (90, 3 if variant == "semi_supervised" else 4)


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3, 4, 5]), (3, [0, 3]), (4, [0, 4]), (99, [0])])
def test_the_autoencoders_phases_run_every_so_many_steps_and_their_means_are_over_those(
    every: int, steps: list[int], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = PhaseRunner.run, []

    def record(self: PhaseRunner, batch: Batch) -> dict[str, Tensor]:
        found.append(run(self, batch))
        return found[-1]

    monkeypatch.setattr(PhaseRunner, "run", record)
    config = tiny_config("semi_supervised", n_epochs=2, autoencoder_every=every)
    train(config, DataDirectory(data_dir), tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    values = [terms["reconstruction"] for terms in found if "reconstruction" in terms]
    assert sum("classification" in terms for terms in found) == 12
    assert len(values) == 2 * len(steps)
    for line, of_epoch in zip(lines, (values[: len(steps)], values[len(steps) :]), strict=True):
        assert line["reconstruction"] == pytest.approx(torch.stack(of_epoch).mean().item(), rel=1e-5)
    step = 0
    for terms in found:  # each step ends with its classification
        assert ("reconstruction" not in terms) or step % 6 in steps
        step += "classification" in terms


@pytest.mark.parametrize(("after", "n_without"), [(0.0, 0), (0.3, 1), (0.5, 2), (0.99, 3)])
def test_the_autoencoders_phases_begin_after_their_share_of_the_epochs(
    after: float, n_without: int, data_dir: Path, tmp_path: Path
) -> None:
    config = tiny_config("semi_supervised", n_epochs=4, autoencoder_after=after)
    train(config, DataDirectory(data_dir), tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert ["reconstruction" in line for line in lines] == [n >= n_without for n in range(4)]
    assert all("classification" in line for line in lines)


def test_labelled_batches_have_the_size_that_is_asked_for(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sizes = PhaseRunner.run, set()

    def record(self: PhaseRunner, batch: Batch) -> dict[str, Tensor]:
        sizes.add((len(batch.images), len(batch.labeled_images)))
        return run(self, batch)

    monkeypatch.setattr(PhaseRunner, "run", record)
    config = tiny_config("semi_supervised", n_epochs=1, batch_size=15, labeled_batch_size=7)
    train(config, DataDirectory(data_dir), tmp_path, device="cpu")
    assert sizes == {(15, 7)}


@pytest.mark.parametrize("n_neighbors", [0, 3, 89])
def test_partners_are_neighbours_or_with_none_the_image_itself(
    n_neighbors: int, variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    config = tiny_config(variant, consistency=TERMS | {"n_neighbors": n_neighbors})
    batches, _ = build_batches(a_run(config, data_dir, tmp_path))
    for batch in batches.epoch(0):
        assert torch.equal(batch.partners, batch.images) == (n_neighbors == 0)
        assert (batch.partner_indices == batch.indices).all() == (n_neighbors == 0)
    assert batches.neighbors is not None
    assert batches.neighbors.shape == (90, max(n_neighbors, 1))
    without, _ = build_batches(a_run(tiny_config(variant), data_dir, tmp_path))
    assert without.neighbors is None


@pytest.mark.parametrize("with_pairs", [False, True])
@pytest.mark.parametrize("blended", [False, True])
def test_the_memory_begins_with_spread_labels(with_pairs: bool, blended: bool, data_dir: Path, tmp_path: Path) -> None:
    terms = {"lambda_pseudo_labels": 1.0, "spread_labels": True, "n_neighbors": 3, "likeness": "pixels"}
    terms["blend_regression"] = blended
    config = tiny_config("semi_supervised", ema_decay=0.9, consistency=terms | (TERMS if with_pairs else {}))
    run = a_run(config, data_dir, tmp_path)
    batches, first_y = build_batches(run)
    assert (batches.neighbors is not None) == with_pairs
    assert first_y is not None
    assert first_y.shape == (90, 3)
    memory = initial_state(run, 90, first_y).runners[-1].phase.memory
    known = torch.from_numpy(first_y).any(dim=1)
    assert known.any()
    assert memory is not None
    assert memory.y.tolist() == first_y.tolist()
    assert (memory.y[known].max(dim=1).values == 1).all()  # unsure first labels would be left to a young network
    assert memory.n_looks.tolist() == (4.0 * known).tolist()


def test_the_memory_begins_with_clusters(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aae_toolkit.training.neighborhoods._CLUSTERED", 60)  # of 90 images
    terms = {"lambda_pseudo_labels": 1.0, "cluster_first": True, "likeness": "pixels"}
    run = a_run(tiny_config("unsupervised", ema_decay=0.9, consistency=terms), data_dir, tmp_path)
    batches, first_y = build_batches(run)
    assert batches.neighbors is None
    assert first_y is not None
    assert first_y.sum(axis=1).tolist().count(1) == 60
    assert (first_y.sum(axis=0) > 0).all()
    memory = initial_state(run, 90, first_y).runners[-1].phase.memory
    assert memory is not None
    assert memory.y.tolist() == first_y.tolist()
    assert memory.n_looks.tolist() == (first_y.any(axis=1) * 4.0).tolist()


def test_too_few_images_for_so_many_neighbours_are_refused(variant: Variant, data_dir: Path, tmp_path: Path) -> None:
    config = tiny_config(variant, consistency=TERMS | {"n_neighbors": 90})
    expected = "90 training images have no 90 neighbours; lower n_neighbors"
    with refused(expected, kind=UsageError):
        train(config, DataDirectory(data_dir), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()


def test_a_head_for_pseudo_labels_is_not_in_the_model(data_dir: Path, tmp_path: Path) -> None:
    terms = {"lambda_pseudo_labels": 1.0, "pseudo_label_head": True}
    config = tiny_config("semi_supervised", ema_decay=0.9, consistency=terms)
    train(config, DataDirectory(data_dir), tmp_path, device="cpu")
    assert "pseudo_labels.weight" in torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    assert not any("pseudo" in name for name in load_file(tmp_path / "encoder_semi_supervised.safetensors"))
    load_model(tmp_path)


def test_the_second_head_is_kept_for_resuming_and_not_in_the_model(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    train(tiny_config(variant, **EVERYTHING), DataDirectory(data_dir), tmp_path, device="cpu")
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["average"]["over_clustering.weight"].shape == (7, 16)
    assert not any("over_clustering" in name for name in weights(tmp_path))
    expected = {"config.yml", "model.json", "metrics.jsonl", "checkpoint.pt"}
    expected |= {f"encoder_{variant}.safetensors", f"decoder_{variant}.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert load_model(tmp_path).description.variant == variant
    names = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]).keys()
    assert {"pairs", "balance", "over_clustering", "virtual_adversarial", "pseudo_labels"} <= names
    assert ("classification" in names) == (variant == "semi_supervised")


@pytest.mark.slow
def test_pairs_and_balance_help_to_find_the_classes_without_labels(data_dir: Path, tmp_path: Path) -> None:
    terms = TERMS | {"n_neighbors": 10, "augmentation": 0.0, "lambda_balance": 4.0}
    found = {}
    for name, consistency in (("with", terms), ("without", {})):
        accuracies = []
        for seed in range(3):
            config = tiny_config("unsupervised", n_epochs=15, seed=seed, consistency=consistency)
            train(with_flags(config, n_classes=3), DataDirectory(data_dir), tmp_path / f"{name} {seed}", device="cpu")
            last = json.loads((tmp_path / f"{name} {seed}" / "metrics.jsonl").read_text().splitlines()[-1])
            accuracies.append(last["validation_majority_accuracy"])
        found[name] = sum(accuracies) / 3
    assert found["with"] > found["without"] + 0.15


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
    paths = ["--data", data_dir, "--config", tmp_path / "tiny.yaml", "--output"]
    command = ["train", "semi-supervised", "--device", "cpu", *paths]
    assert fault_child.run([*command, tmp_path / "whole"], tmp_path / "log") == (0, [])
    resumed = [*command, tmp_path / "cut", "--resume", "--checkpoint-every", "1"]
    for sign_of_life, delay, signum, status in (
        ("data: ", 0.0, signal.SIGKILL, -signal.SIGKILL),
        ("/60", 0.0, signal.SIGKILL, -signal.SIGKILL),
        ("/60", 0.3, signal.SIGKILL, -signal.SIGKILL),
        ("/60", 0.1, signal.SIGTERM, 143),
        ("/60", 0.1, signal.SIGINT, 130),
    ):
        child = fault_child.Child(resumed, tmp_path / "log")
        child.wait_for(sign_of_life)
        time.sleep(delay)
        child.send(signum)
        assert child.wait() == status
        if sign_of_life == "/60":  # of an epoch
            torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)  # it is whole
    assert fault_child.run(resumed, tmp_path / "log") == (0, [])
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
    with pytest.raises(UsageError, match=r"already holds a training \(model\.json\) without checkpoint\.pt"):
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


def gradient_that_is_not_finite(term: Tensor) -> Tensor:
    """A loss term as it is, whose gradient is not a number."""
    return term + (0 * term).sqrt()  # the root's is infinite, and times 0


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("z_l2", "in phase reconstruction the gradient of z_l2 became not finite (of encoder."),
        ("mode_separation", "in phase mode_separation the gradient of mode_separation became not finite (of decoder."),
    ],
)
def test_a_gradient_that_is_not_finite_takes_no_step_and_names_phase_and_term(
    loss: str, said: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = DataDirectory(data_dir), tiny_config("unsupervised", n_epochs=3)
    train(config, data, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "cut", device="cpu", progress=StopAfter(1))
    checkpoint = (tmp_path / "cut" / "checkpoint.pt").read_bytes()
    right = getattr(losses, loss)
    with monkeypatch.context() as patch:
        patch.setattr(losses, loss, lambda *tensors: gradient_that_is_not_finite(right(*tensors)))
        with refused(
            "training stopped in epoch 2", said, "those steps were skipped, and the last checkpoint is intact"
        ):
            train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert (tmp_path / "cut" / "checkpoint.pt").read_bytes() == checkpoint
    train(config, data, tmp_path / "cut", device="cpu", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_resuming_and_replacing_at_once_is_refused(
    model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    with refused("--resume continues", "--overwrite replaces", "one of them", kind=UsageError):
        train(tiny_config(variant), DataDirectory(data_dir), copy, device="cpu", resume=True, overwrite=True)
    assert same(weights(copy), weights(model_dir))


def test_what_was_made_from_a_model_goes_when_its_replacement_begins(data_dir: Path, tmp_path: Path) -> None:
    data, manifest = DataDirectory(data_dir), tmp_path / "export" / "manifest.json"
    config = tiny_config("semi_supervised", n_epochs=1)
    train(config, data, tmp_path, device="cpu", derived=[manifest])
    manifest.parent.mkdir()
    manifest.touch()
    train(config, data, tmp_path, device="cpu", derived=[manifest], resume=True)
    assert manifest.exists()
    with pytest.raises(Stopped):
        train(
            config,
            data,
            tmp_path,
            device="cpu",
            derived=[manifest],
            overwrite=True,
            progress=SignalAt(signal.SIGTERM, 1),
        )
    assert not manifest.exists()


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("build_batches", MemoryError("Unable to allocate 9 GiB"), "lower resident_mib (now 4096)"),
        (
            "initial_state",
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "lower --batch-size",
        ),
        ("_fit", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "lower --batch-size (now 16)"),
        ("_fit", OSError(12, "Cannot allocate memory"), "lower --batch-size (now 16)"),
    ],
)
def test_running_out_of_memory_is_one_line_with_the_setting_to_lower(
    function: str, error: Exception, said: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainer, function, exhausted)
    with refused("out of memory; ", said):
        train(tiny_config("semi_supervised"), DataDirectory(data_dir), tmp_path / "model", device="cpu")


def test_weights_that_are_not_finite_are_never_kept(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruin(weights: list[torch.Tensor]) -> None:
        weights[0].data.fill_(float("inf"))

    monkeypatch.setattr("aae_toolkit.training.step.refresh", ruin)
    with pytest.raises(AaeError, match="not finite"):
        train(tiny_config("unsupervised"), DataDirectory(data_dir), tmp_path, device="cpu")
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
def test_nothing_is_compiled_again_after_the_first_epoch(data_dir: Path, tmp_path: Path) -> None:
    class ForbidAfterFirst(Silent):
        def say(self, line: str) -> None:
            if line.startswith("epoch "):
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


@pytest.mark.parametrize("further", [{}, EVERYTHING], ids=["", "consistency"])
def test_streamed_images_give_the_same_weights(
    variant: Variant, further: dict[str, Any], data_dir: Path, tmp_path: Path
) -> None:
    data = DataDirectory(data_dir)
    for name, budget in (("resident", 1), ("streamed", 0)):
        train(tiny_config(variant, resident_mib=budget, **further), data, tmp_path / name, device="cpu")
    assert same(weights(tmp_path / "resident"), weights(tmp_path / "streamed"))


@pytest.mark.slow
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
    before = (copy / "config.yml").read_bytes()
    with refused("--resume: training.batch_size is 16 in this run, and 9 is asked for", kind=UsageError):
        train(tiny_config(variant, batch_size=9), DataDirectory(data_dir), copy, device="cpu", resume=True)
    with refused(f"--n-epochs 9: the run has done {MODEL_EPOCHS} epochs of {MODEL_EPOCHS}", kind=UsageError):
        train(tiny_config(variant, n_epochs=9), DataDirectory(data_dir), copy, device="cpu", resume=True)
    assert (copy / "config.yml").read_bytes() == before


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

    torch.save({"format": "aae-checkpoint-3", "x": Hostile()}, tmp_path / "checkpoint.pt")
    with pytest.raises(AaeError, match="damaged or not a checkpoint"):
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path, device="cpu", resume=True)
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_of_an_earlier_version_is_one_line(data_dir: Path, variant: Variant, tmp_path: Path) -> None:
    torch.save({"format": "aae-checkpoint-2"}, tmp_path / "checkpoint.pt")
    with refused("is not a checkpoint of this version (aae-checkpoint-3); delete it and train again"):
        train(tiny_config(variant), DataDirectory(data_dir), tmp_path, device="cpu", resume=True)


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


@pytest.mark.parametrize("further", [{}, EVERYTHING], ids=["", "consistency"])
@pytest.mark.parametrize("encoder", ["mlp", "conv"])
def test_any_image_shape_trains_and_loads(encoder: str, further: dict[str, Any], tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(channels=3, size=9), None, None, None, seed=0)
    config: VariantConfig = tiny_config("semi_supervised", n_epochs=1, **further)
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


def test_a_model_is_not_replaced_unless_asked(
    model_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        train(tiny_config(variant), DataDirectory(data_dir), copy, device="cpu")
    assert same(weights(copy), weights(model_dir))


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


def test_where_most_images_have_labels_an_epoch_passes_over_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = states_saved(monkeypatch)
    write_data_directory(tmp_path / "data", tiny_source(), 119, 60, 60, seed=0)  # one is left unlabelled
    data = DataDirectory(tmp_path / "data")
    for variant in ("semi_supervised", "unsupervised"):
        train(tiny_config(variant, n_epochs=1, **EVERYTHING), data, tmp_path / variant, device="cpu")
        line = json.loads((tmp_path / variant / "metrics.jsonl").read_text())
        assert line["images_per_second"] * line["seconds"] == pytest.approx(120)
        [state] = kept[variant]
        assert state["phases"]["consistency"]["memory"]["n_looks"].tolist() == [1] * 120


def test_categories_cannot_be_named_without_validation_images(tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), 30, 0, 60, seed=0)
    data = DataDirectory(tmp_path / "data")
    with pytest.raises(UsageError, match="no validation images to name the categories by"):
        train(tiny_config("unsupervised"), data, tmp_path / "model", device="cpu")
    train(tiny_config("semi_supervised"), data, tmp_path / "model", device="cpu")  # its categories are the classes


def test_without_validation_images_the_border_is_that_of_training_images(tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), 30, 0, 60, seed=0)
    data = DataDirectory(tmp_path / "data")
    train(tiny_config("semi_supervised", n_epochs=1), data, tmp_path / "model", device="cpu")
    border = read_description(tmp_path / "model").border_brightness
    assert border == pytest.approx(border_brightness(data.load("train_labeled").images))
