"""Training of y alone, with `use_autoencoder: false`: what is built, and what the commands make of such a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_config
from drawings import Told, untrained_model
from refusals import refused
from safetensors.torch import load_file
from test_phases import CONSISTENCY, a_batch, networks, phases_of, snapshot

from aae_toolkit.cli.app import run
from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, Variant, VariantConfig, load_config
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.estimators.clusterer import AAEClusterer
from aae_toolkit.models.directory import load_model
from aae_toolkit.report.gallery import picture_names
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.pictures import PICTURES, no_decoder
from aae_toolkit.visualization.tensorboard import pictures
from aae_toolkit.visualization.view import View

SWITCHES = {"use_mutual_info": True, "use_mode_decoder": True, "use_disentanglement": True}
OF_THE_DECODER = [name for name, picture in PICTURES.items() if picture.why_not is no_decoder]


def y_alone(variant: Variant, consistency: dict[str, Any]) -> VariantConfig:
    training = {"use_autoencoder": False, "ema_decay": 0.9}
    if variant == "semi_supervised":
        return SemiSupervisedConfig.model_validate({"training": training, "consistency": consistency})
    return UnsupervisedConfig.model_validate({"training": training | SWITCHES, "consistency": consistency})


@pytest.mark.parametrize(
    ("variant", "consistency", "terms"),
    [
        ("semi_supervised", {}, {"classification"}),
        ("semi_supervised", {"lambda_pairs": 1.0}, {"classification", "pairs"}),
        ("unsupervised", {"lambda_pairs": 1.0, "lambda_balance": 1.0}, {"pairs", "balance"}),
    ],
)
def test_only_the_consistency_phase_is_built(variant: Variant, consistency: dict[str, Any], terms: set[str]) -> None:
    nets = networks()
    [phase] = phases_of(nets, y_alone(variant, consistency))
    before = snapshot(nets)
    found = PhaseRunner(phase, Runtime(torch.device("cpu"), "fp32", compile=False)).run(a_batch())
    assert phase.name == "consistency"
    assert set(found) == terms
    changed = {name for name, value in nets.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"encoder"}
    assert not [name for name in changed if name.startswith("encoder.z_head")]


def test_labels_alone_see_the_views_and_the_batch_norm_of_the_other_terms() -> None:
    alone, among = (
        next(p for p in phases_of(networks(), y_alone("semi_supervised", terms)) if p.name == "consistency")
        for terms in ({}, CONSISTENCY)
    )
    assert alone.augment.affine == among.augment.affine == 1
    assert list(alone.views) == ["labeled"]
    assert alone.updates_batch_norm
    assert among.updates_batch_norm


def test_training_nothing_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "nothing.yaml"
    config.write_text("unsupervised: {training: {use_autoencoder: false}}")
    with refused("use_autoencoder: false leaves all epochs to the terms", "set lambda_pairs above 0", kind=UsageError):
        load_config(config, "unsupervised")


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("y-alone") / "semi_supervised"
    train(
        tiny_config("semi_supervised", n_epochs=2, use_autoencoder=False),
        DataDirectory(data_dir),
        directory,
        device="cpu",
    )
    return directory


def test_the_model_says_that_its_decoder_is_not_trained(trained: Path) -> None:
    assert not load_model(trained).description.decoder_is_trained
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert "classification" in lines[-1]
    assert not {"reconstruction", "generator_gaussian", "z_divergence"} & lines[-1].keys()


def test_the_weights_of_decoder_and_style_stay_as_drawn(trained: Path, data_dir: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    train(
        tiny_config("semi_supervised", n_epochs=3, use_autoencoder=False), DataDirectory(data_dir), longer, device="cpu"
    )
    for network in ("encoder", "decoder"):
        one, other = (load_file(d / f"{network}_semi_supervised.safetensors") for d in (trained, longer))
        same = {name for name, value in one.items() if torch.equal(value, other[name])}
        assert same == {name for name in one if network == "decoder" or name.startswith("z_head")}


def test_its_pictures_leave_the_decoder_out(trained: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["visualize", "--data", str(data_dir), "--model", str(trained)]
    assert run(command) == 0
    said = capsys.readouterr()
    drawn = {path.name for path in (trained / "visualization").glob("*.png")}
    assert drawn == set(PICTURES) - {*OF_THE_DECODER, "learned_modes.png"}
    for name in OF_THE_DECODER:
        assert f"{name} is not drawn: the model was trained without its autoencoder" in said.out + said.err
    assert set(picture_names(decoder=False, mode_decoder=False)) == drawn


def test_its_export_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "--model", str(trained), "--output", str(tmp_path / "export")]
    assert run(command) == 1
    assert "aae: the model has no trained decoder, because" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_tensorboard_and_samples_need_a_decoder(data_dir: Path) -> None:
    model = untrained_model()
    described = model.description.model_copy(update={"decoder_is_trained": False})
    blind = type(model)(described, model.encoder, model.decoder)
    view = View.of(blind, DataDirectory(data_dir).load("validation"), Told())
    assert pictures(view) == {}
    clusterer = AAEClusterer(
        2,
        n_epochs=1,
        config={"training": {"use_autoencoder": False}, "consistency": {"lambda_pairs": 1.0, "n_neighbors": 0}},
    )
    clusterer.fit(torch.rand(40, 4, generator=torch.Generator().manual_seed(0)).numpy())
    with pytest.raises(AaeError, match="no trained decoder"):
        clusterer.sample(0)
