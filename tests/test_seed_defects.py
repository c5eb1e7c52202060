"""One test for each defect of the seed's published code that is mended here, by its number in the design."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_source

from aae_toolkit.config import ScheduleConfig, SemiSupervisedConfig, UnsupervisedConfig
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import fit_category_map
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Networks
from aae_toolkit.text import percent
from aae_toolkit.training import losses
from aae_toolkit.training.batches import Batch, Batches
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner, rate_factor
from aae_toolkit.training.trainer import train

CPU = torch.device("cpu")
EAGER = Runtime(CPU, "fp32", compile=False)


def small_networks(dropout: float = 0.0) -> Networks:
    torch.manual_seed(0)
    architecture = Architecture(
        encoder="mlp",
        hidden_size=8,
        conv_channels=(4,),
        encoder_dropout=dropout,
        image_shape=(1, 4, 4),
        n_classes=3,
        z_size=2,
    )
    return Networks(architecture, mode_decoder=False)


def a_batch(n: int = 10) -> Batch:
    images = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(images, images, torch.arange(n) % 3)


def phases_by_name(networks: Networks, config: SemiSupervisedConfig | UnsupervisedConfig) -> dict:
    return {phase.name: phase for phase in build_phases(networks, config)}


def test_01_an_epoch_passes_over_every_unlabelled_image_not_only_as_many_as_are_labelled() -> None:
    unlabeled = Split(np.zeros((470, 1, 2, 2), np.uint8), np.full(470, -1))
    labeled = Split(np.zeros((30, 1, 2, 2), np.uint8), np.zeros(30, np.int64))
    batches = Batches(unlabeled, labeled, 10, seed=0, device=CPU)
    assert sum(len(batch.images) for batch in batches.epoch(0)) == 470


def test_02_cross_entropy_is_taken_on_logits_and_can_reach_zero() -> None:
    confident = 100 * torch.eye(3)
    assert losses.classification(confident, torch.arange(3)).item() == pytest.approx(0, abs=1e-6)
    assert losses.classification(confident.softmax(1), torch.arange(3)).item() > 0.5  # what softmax twice gave


def test_03_adversarial_losses_keep_growing_where_log_of_sigmoid_plus_epsilon_is_flat() -> None:
    logits = torch.tensor([[-1000.0]], requires_grad=True)
    loss = losses.generation(logits)
    assert loss.item() == pytest.approx(1000)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.item() == pytest.approx(-1)


def test_04_fakes_are_detached_and_both_adversaries_see_train_mode_codes() -> None:
    networks = small_networks(dropout=0.5)
    networks.train()
    phases = phases_by_name(networks, SemiSupervisedConfig())
    phases["discriminator"].prepare()
    sum(phases["discriminator"](a_batch()).values()).backward()
    assert all(parameter.grad is None for parameter in networks.encoder.parameters())
    for name in ("discriminator", "generator"):
        modes = []
        handle = networks.encoder.register_forward_hook(lambda module, *_: modes.append(module.training))  # noqa: B023
        phases[name](a_batch())
        handle.remove()
        assert modes == [True]


def test_05_disabled_terms_do_not_run_and_modes_are_decoded_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    off = {"use_mutual_info": False, "use_mode_decoder": False, "use_disentanglement": False}
    config = UnsupervisedConfig.model_validate({"training": off})
    assert list(phases_by_name(small_networks(), config)) == ["reconstruction", "discriminator", "generator"]
    networks = small_networks()
    decoded = []
    networks.decoder.register_forward_hook(lambda _, inputs, __: decoded.append(len(inputs[0])))
    phases_by_name(networks, UnsupervisedConfig())["mode_separation"](a_batch())
    assert decoded == [3]  # K pictures, once


def test_06_the_z_penalty_does_not_grow_with_the_batch() -> None:
    z = torch.randn(50, 4)
    assert losses.z_l2(z.repeat(8, 1)).item() == pytest.approx(losses.z_l2(z).item(), rel=1e-6)
    whole_batch = torch.randn(100, 4)
    assert losses.z_l2(whole_batch).item() == pytest.approx(torch.linalg.vector_norm(whole_batch).item(), rel=1e-5)


def test_07_metrics_are_means_over_the_epoch_and_hold_no_graph(data_dir: Path, tmp_path: Path) -> None:
    seen = []
    original = PhaseRunner.run

    def record(self: PhaseRunner, batch: Batch) -> dict:
        terms = original(self, batch)
        seen.append(terms)
        return terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhaseRunner, "run", record)
        train(tiny_config("semi_supervised", n_epochs=1), DataDirectory(data_dir), tmp_path, device="cpu")
    values = [terms["reconstruction"] for terms in seen if "reconstruction" in terms]
    assert len(values) > 1
    assert not any(value.requires_grad for value in values)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["reconstruction"] == pytest.approx(torch.stack(values).mean().item(), rel=1e-5)


def test_08_a_falling_learning_rate_keeps_the_optimizers_state() -> None:
    runner = PhaseRunner(build_phases(small_networks(), SemiSupervisedConfig())[0], EAGER)
    runner.run(a_batch())
    optimizer = runner.phase.optimizer
    before = {k: v["exp_avg"].clone() for k, v in optimizer.state.items()}
    schedule = ScheduleConfig(kind="multistep", milestones=(50,), gamma=0.1)
    runner.set_rate(rate_factor(schedule, 50, 100))
    assert runner.phase.optimizer is optimizer
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.00008)
    assert all(torch.equal(before[k], v["exp_avg"]) for k, v in optimizer.state.items())


@pytest.mark.parametrize(("n", "batch_size"), [(90, 17), (90, 100), (91, 7)])
def test_09_sizes_that_do_not_divide_train(data_dir: Path, n: int, batch_size: int, tmp_path: Path) -> None:
    write_data_directory(tmp_path / "data", tiny_source(n + 30 + 120), 30, 60, 60, seed=0)
    data = DataDirectory(tmp_path / "data")
    assert data.index.splits["train_unlabeled"].n == n
    train(tiny_config("semi_supervised", batch_size=batch_size, n_epochs=1), data, tmp_path / "model", device="cpu")


def test_10_dropout_reaches_both_variants_and_the_sgd_switch_every_optimizer() -> None:
    networks = small_networks(dropout=0.3)
    assert [m.p for m in networks.encoder.modules() if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]
    for config in (SemiSupervisedConfig, UnsupervisedConfig):
        phases = build_phases(small_networks(), config.model_validate({"training": {"use_adam_optimization": False}}))
        assert all(isinstance(phase.optimizer, torch.optim.SGD) for phase in phases)


def test_11_the_labelled_set_is_drawn_by_seed_and_the_test_set_is_apart(tmp_path: Path) -> None:
    labelled = {}
    for seed in (0, 1):
        write_data_directory(tmp_path / str(seed), tiny_source(), None, None, None, seed=seed)
        data = DataDirectory(tmp_path / str(seed))
        labelled[seed] = data.load("train_labeled")
        assert np.bincount(labelled[seed].labels).tolist() == [10, 10, 10]
        used = [data.load(name).images for name in ("train_labeled", "train_unlabeled", "validation", "test")]
        rows = np.concatenate(used).reshape(240, -1)
        assert len(np.unique(rows, axis=0)) == 240  # disjoint: every image once
    assert not np.array_equal(labelled[0].images, labelled[1].images)


def test_12_nothing_that_is_read_can_run_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    write_data_directory(tmp_path / "data", tiny_source(), None, None, None, seed=0)
    from aae_toolkit.config import load_config
    from aae_toolkit.files import sha256
    from aae_toolkit.training.checkpoint import load_checkpoint

    split = tmp_path / "data" / "validation.npz"
    np.savez(split, images=np.array([Hostile()], dtype=object), labels=np.zeros(1, np.int64))
    index = tmp_path / "data" / "dataset.json"
    content = json.loads(index.read_text())
    content["splits"]["validation"]["sha256"] = sha256(split)
    index.write_text(json.dumps(content))
    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Hostile()))
    (tmp_path / "c.yaml").write_text(f"unsupervised: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'harm'}]")
    with pytest.raises(AaeError):
        DataDirectory(tmp_path / "data").load("validation")
    with pytest.raises(AaeError):
        load_checkpoint(tmp_path)
    with pytest.raises(AaeError):
        load_config(tmp_path / "c.yaml", "unsupervised")
    assert not (tmp_path / "harm").exists()


def test_13_the_category_map_is_fitted_on_validation_and_kept_for_test(data_dir: Path, tmp_path: Path) -> None:
    from aae_toolkit.evaluation import encode, evaluate
    from aae_toolkit.models.directory import load_model

    data = DataDirectory(data_dir)
    train(tiny_config("unsupervised"), data, tmp_path, device="cpu")
    model, validation, test = load_model(tmp_path), data.load("validation"), data.load("test")
    y, _ = encode(model.encoder, validation.images)
    assert model.description.category_to_class == fit_category_map(y, validation.labels, 3)
    assert model.description.category_to_class_from == "majority on validation"
    evaluation = evaluate(model, test, "test")
    assert evaluation.accuracy <= evaluation.majority_accuracy  # the refitted map is shown beside it, never instead


def test_14_a_fraction_is_shown_as_the_percentage_it_is() -> None:
    assert percent(0.85) == "85.00%"


def test_14_an_untrained_mode_decoder_is_neither_built_nor_saved(data_dir: Path, tmp_path: Path) -> None:
    train(tiny_config("unsupervised"), DataDirectory(data_dir), tmp_path, device="cpu")
    assert not list(tmp_path.glob("mode_decoder*"))


def test_15_an_empty_category_is_drawn_more_but_cannot_take_the_prior() -> None:
    y = torch.nn.functional.one_hot(torch.arange(100) % 9, 10).float()  # category 9 is empty
    share = losses.prior_weights(y) / losses.prior_weights(y).sum()
    seeds = torch.softmax(10 - y.sum(0), dim=0)  # exp(expected - count), normalized
    assert seeds[9] > 0.99
    assert 1 / 10 < share[9] < 0.25
    assert math.isclose(share.sum().item(), 1, rel_tol=1e-6)
