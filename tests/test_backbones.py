"""Frozen backbones: embeddings in the data directory, training on them, and one network in every export."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_source
from PIL import Image
from refusals import refused
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from aae_toolkit.backbones.description import WEIGHTS_FILE, BackboneDescription, thumbnail_shape
from aae_toolkit.backbones.embedder import Embedder, random_view
from aae_toolkit.backbones.network import Backbone, Resize, changes_of_images
from aae_toolkit.backbones.provider import find
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.embeddings import default_views, thumbnails
from aae_toolkit.data.split import SPLITS, Split
from aae_toolkit.errors import UsageError
from aae_toolkit.evaluation import encode, encode_split, load_for
from aae_toolkit.export.contract import Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import DEFAULT_FORMATS
from aae_toolkit.export.writer import export_model
from aae_toolkit.files import sha256
from aae_toolkit.models.directory import load_model
from aae_toolkit.parity.check import check_parity, replay_golden
from aae_toolkit.predict import predict
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.pictures import draw_all

NAME = "torchvision:shufflenet_v2_x0_5"
CPU = torch.device("cpu")
SIDE = 40  # of the images; their thumbnails have half of it
CONSISTENCY = {"lambda_pairs": 1.0, "n_neighbors": 3, "lambda_pseudo_labels": 1.0, "augmentation": 0.0}


def get_model(name: str, **options: Any) -> torch.nn.Module:
    from torchvision import models

    return models.get_model(name, **options)


def source():
    return tiny_source(48, channels=3, size=SIDE)


class Counting:
    """An embedder that counts its calls, and ends with an error after some."""

    def __init__(self, embedder: Embedder, most: int = 10**6) -> None:
        self.description, self.weights = embedder.description, embedder.weights
        self.embedder, self.most, self.calls = embedder, most, 0

    def __call__(self, images: Any, n_views: int, seed: tuple[int, ...]) -> Any:
        if self.calls == self.most:
            raise KeyboardInterrupt
        self.calls += 1
        return self.embedder(images, n_views, seed)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory) -> Path:
    """Random weights of the network, whose BatchNorm has seen the images, or its features would hardly vary."""
    torch.manual_seed(0)
    network = get_model("shufflenet_v2_x0_5", weights=None)
    images = F.interpolate(torch.from_numpy(source().images[:24]) / 255, 224)
    with torch.no_grad():
        for _ in range(20):
            network((images - 0.45) / 0.22)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def embedder(weights_file) -> Embedder:
    return Embedder(NAME, weights_file, (3, SIDE, SIDE), CPU)


@pytest.fixture(scope="session")
def embedded(embedder, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("embedded") / "data"
    write_data_directory(path, source(), 12, 12, 12, seed=0, embedder=embedder, n_views=2)
    return path


@pytest.fixture(scope="session")
def trained(embedded, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "model"
    config = tiny_config("semi_supervised", consistency=CONSISTENCY, n_epochs=60, ema_decay=0.9)
    train(config, DataDirectory(embedded), path, device="cpu")
    return path


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "export"
    return export_model(trained, path, DEFAULT_FORMATS, Silent()).path


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(28, 224), (300, 224)])
def test_resizing_is_that_of_torch_with_antialiasing(interpolation, sides):
    images = torch.rand(2, 3, sides[0], sides[0] + 2)
    wanted = F.interpolate(images, (sides[1], sides[1]), mode=interpolation, antialias=True)
    given = Resize(images.shape[2:], (sides[1], sides[1]), interpolation)(images)
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-5)


def test_a_backbone_embeds_as_the_whole_network_before_its_classifier(embedder, weights_file):
    network = get_model("shufflenet_v2_x0_5", weights=None).eval()
    network.load_state_dict(load_file(weights_file))
    network.fc = torch.nn.Identity()
    images = source().images[:4]
    resized = F.interpolate(torch.from_numpy(images) / 255, (224, 224), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (embedder.description.mean, embedder.description.std))
    with torch.inference_mode():
        wanted = network((resized - mean) / std)
    given = embedder(images, 0, (0,))
    np.testing.assert_allclose(given[:, 0], wanted, rtol=2e-3, atol=2e-3)
    assert given.dtype == np.float16


def test_a_backbone_never_trains(embedder):
    backbone = Backbone(embedder.description, (1, 28, 28)).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert backbone(torch.rand(2, 1, 28, 28)).shape == (2, embedder.description.embedding_size)


def test_images_that_a_backbone_was_not_made_for_are_named(embedder):
    assert changes_of_images(embedder.description, (3, 224, 224)) == []
    enlarged, grey = changes_of_images(embedder.description, (1, 28, 28))
    assert enlarged == "images of 28 x 28 pixels are enlarged to 224 x 224"
    assert grey == "grey images are repeated to three channels"


def test_views_differ_from_the_image_and_from_each_other_and_follow_the_seed():
    images = torch.rand(4, 3, 16, 16)
    first, same, other = (random_view(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "vit_b_32", "convnext_tiny"])
def test_networks_of_torchvision_lose_only_their_classes(name):
    provider, own = find(f"torchvision:{name}")
    with torch.device("meta"):
        network = provider.create(own).eval()
        size = provider.preprocessing(own).input_size
        assert network(torch.zeros(1, 3, *size)).ndim == 2


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_networks_of_timm_give_embeddings(name, tmp_path):
    timm = pytest.importorskip("timm")
    save_file(timm.create_model(name).state_dict(), tmp_path / "net.safetensors")
    embedder = Embedder(f"timm:{name}", tmp_path / "net.safetensors", (1, 28, 28), CPU)
    assert embedder.description.input_size == (160, 160)
    assert "apache-2.0" in embedder.description.licence
    assert embedder(np.zeros((2, 1, 28, 28), np.uint8), 1, (0,)).shape == (2, 2, embedder.description.embedding_size)


# --- weights that others made ----------------------------------------------------------------------------------------


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("code ran",))


def test_weights_that_are_a_pickle_with_code_are_refused(tmp_path, capsys):
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps({"fc.weight": Runs()}))
    with refused("not a state dict that loads without running code"):
        Embedder(NAME, path, (3, SIDE, SIDE), CPU)
    torch.save({"fc.weight": Runs()}, path)
    with refused("not a state dict that loads without running code"):
        Embedder(NAME, path, (3, SIDE, SIDE), CPU)
    assert "code ran" not in capsys.readouterr().out


def test_a_state_dict_of_torch_save_gives_the_same_backbone(weights_file, embedder, tmp_path):
    torch.save(load_file(weights_file), tmp_path / "net.pth")
    assert Embedder(NAME, tmp_path / "net.pth", (3, SIDE, SIDE), CPU).description == embedder.description


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("conv1.0.weight"), "does not fit torchvision:shufflenet_v2_x0_5: it lacks conv1.0.weight"),
        (lambda s: s.update(more=torch.zeros(1)), "unknown there: more"),
        (lambda s: s.update({"conv1.0.weight": torch.zeros(2)}), "other shapes: conv1.0.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(weights_file, tmp_path, edit, message):
    state = load_file(weights_file)
    edit(state)
    save_file(state, tmp_path / "net.safetensors")
    with refused(message):
        Embedder(NAME, tmp_path / "net.safetensors", (3, SIDE, SIDE), CPU)


def test_weights_that_are_absent_damaged_or_no_state_dict_are_refused(tmp_path):
    with refused("is no file"):
        Embedder(NAME, tmp_path / "absent.safetensors", (3, SIDE, SIDE), CPU)
    (tmp_path / "net.safetensors").write_bytes(b"x" * 100)
    with refused("not a state dict"):
        Embedder(NAME, tmp_path / "net.safetensors", (3, SIDE, SIDE), CPU)
    torch.save([1, 2], tmp_path / "net.pth")
    with refused("holds no state dict"):
        Embedder(NAME, tmp_path / "net.pth", (3, SIDE, SIDE), CPU)


def test_weights_that_cannot_be_downloaded_name_the_flag(monkeypatch):
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fails)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fails)
    with refused("cannot be downloaded (no route to host more); give a file with --backbone-weights"):
        Embedder(NAME, None, (3, SIDE, SIDE), CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "names no provider; give timm:NAME or torchvision:NAME"),
        ("hub:resnet18", "names no provider"),
        ("torchvision:resnet19", "has no network 'resnet19'; did you mean resnet1"),
        ("torchvision:hf-hub:x/y", "has no network"),
    ],
)
def test_an_unknown_backbone_is_refused_with_near_names(name, message):
    with refused(message, kind=UsageError):
        find(name)


def test_flags_without_a_backbone_are_refused(tmp_path, capsys):
    for flag in (["--views", "3"], ["--backbone-weights", "x"]):
        assert run(["init-datasets", "--data", str(tmp_path / "d"), "--source", "digits", *flag]) == 2
        assert f"{flag[0]} needs --backbone" in capsys.readouterr().err


def test_a_missing_package_names_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    command = ["init-datasets", "--data", str(tmp_path / "d"), "--source", "digits", "--backbone", "timm:resnet18"]
    assert run(command) == 1
    assert 'pip install "aae-toolkit[train,cpu,timm]"' in capsys.readouterr().err


# --- the data directory ----------------------------------------------------------------------------------------------


def test_embeddings_and_thumbnails_belong_to_their_images(embedded, embedder):
    data = DataDirectory(embedded)
    for name in SPLITS:
        images, split = data.load(name), data.load_inputs(name)
        mapped = data.load_inputs(name, mapped=True)
        np.testing.assert_array_equal(split.labels, images.labels)
        np.testing.assert_array_equal(mapped.embeddings, split.embeddings)
        np.testing.assert_array_equal(split.images, thumbnails(images.images))
        assert split.embeddings.shape == (len(images), 3 if name.startswith("train") else 1, 1024)
        np.testing.assert_allclose(split.embeddings[:, 0], embedder(images.images, 0, (0,))[:, 0], atol=2e-3)
    assert data.backbone == embedder.description
    assert data.index.embeddings.n_views == 2


def test_thumbnails_are_means_of_squares():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 67, 67), dtype=np.uint8)
    small = thumbnails(images)
    assert small.shape[1:] == thumbnail_shape((3, 67, 67)) == (3, 23, 23)
    assert abs(int(small[1, 2, 4, 5]) - images[1, 2, 12:15, 15:18].mean()) <= 0.5
    assert abs(int(small[0, 0, 22, 22]) - images[0, 0, 66:, 66:].mean()) <= 0.5
    assert thumbnails(images[..., :28, :28]) is not None
    assert default_views(100) > default_views(10_000) > default_views(100_000) > 0


def test_a_run_that_was_stopped_continues_from_its_parts(embedder, embedded, tmp_path):
    stopped = Counting(embedder, most=2)
    with pytest.raises(KeyboardInterrupt):
        write_data_directory(tmp_path, source(), 12, 12, 12, seed=0, embedder=stopped, n_views=2)
    assert not (tmp_path / "dataset.json").exists()
    [first, *_] = sorted(tmp_path.glob(".aae-embeddings-*/*.npz"))
    first.write_bytes(first.read_bytes()[:-40])  # damage is noticed, and the part is computed again
    rest = Counting(embedder)
    write_data_directory(tmp_path, source(), 12, 12, 12, seed=0, embedder=rest, n_views=2)
    assert rest.calls == 4 - 2 + 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in embedded.iterdir())
    for name in SPLITS:
        file = f"{name}.embeddings.npy"
        np.testing.assert_allclose(np.load(tmp_path / file), np.load(embedded / file), atol=2e-3)
    again = Counting(embedder)
    write_data_directory(tmp_path, source(), 12, 12, 12, seed=0, embedder=again, n_views=2)
    assert again.calls == 0  # all is there


@pytest.mark.parametrize("file", ["train_unlabeled.embeddings.npy", "train_labeled.thumbnails.npz"])
def test_a_changed_file_is_refused(embedded, tmp_path, file):
    copy = shutil.copytree(embedded, tmp_path / "copy")
    content = bytearray((copy / file).read_bytes())
    content[-20] ^= 1
    (copy / file).write_bytes(content)
    with refused(f"{file} is damaged"):
        DataDirectory(copy).load_inputs(file.split(".")[0])


@pytest.mark.parametrize(
    "table", [np.zeros((3, 3, 1024), np.float16), np.zeros((24, 3, 1024)), np.array([{"a": 1}], dtype=object)]
)
def test_a_file_that_holds_no_embeddings_is_refused(embedded, tmp_path, table):
    copy = shutil.copytree(embedded, tmp_path / "copy")
    np.save(copy / "train_labeled.embeddings.npy", table, allow_pickle=True)
    index = json.loads((copy / "dataset.json").read_text())
    index["embeddings"]["sha256"]["train_labeled.embeddings.npy"] = sha256(copy / "train_labeled.embeddings.npy")
    (copy / "dataset.json").write_text(json.dumps(index))
    with refused("train_labeled.embeddings.npy"):
        DataDirectory(copy).load_inputs("train_labeled")


def test_other_embeddings_are_kept_unless_overwritten(embedded, embedder, tmp_path):
    copy = shutil.copytree(embedded, tmp_path / "copy")
    with refused("already holds other embeddings of torchvision:shufflenet_v2_x0_5", kind=UsageError):
        write_data_directory(copy, source(), 12, 12, 12, seed=0)
    with refused("already holds other embeddings", kind=UsageError):
        write_data_directory(copy, source(), 12, 12, 12, seed=0, embedder=embedder, n_views=1)
    write_data_directory(copy, source(), 12, 12, 12, seed=0, overwrite=True)
    assert sorted(p.name for p in copy.iterdir()) == sorted(["dataset.json", *(f"{name}.npz" for name in SPLITS)])
    assert "backbone" not in json.loads((copy / "dataset.json").read_text())
    write_data_directory(copy, source(), 12, 12, 12, seed=0, embedder=embedder, n_views=0)  # added to the same splits


# --- training and use ------------------------------------------------------------------------------------------------


def test_training_learns_from_embeddings_and_the_model_directory_is_whole(trained, embedded):
    model, data = load_model(trained), DataDirectory(embedded)
    assert (trained / WEIGHTS_FILE).read_bytes() == (embedded / WEIGHTS_FILE).read_bytes()
    assert model.description.validation_accuracy > 0.8
    assert model.architecture.picture_shape == (3, 20, 20)
    split = data.load("validation")
    stored, _ = encode_split(model, load_for(model, data, "validation"))
    whole, _ = encode(model.image_encoder, split.images)
    np.testing.assert_allclose(stored, whole, atol=2e-2)  # float16
    standardize = model.encoder.features[0]
    table = np.concatenate([data.load_inputs(n).embeddings[:, 0] for n in ("train_unlabeled",)]).astype(np.float32)
    np.testing.assert_allclose(standardize.mean, table.mean(axis=0), atol=1e-3)


def test_a_model_is_evaluated_on_images_without_embeddings(trained, tmp_path):
    write_data_directory(tmp_path, source(), 12, 12, 12, seed=0)
    model, data = load_model(trained), DataDirectory(tmp_path)
    split = load_for(model, data, "test")
    assert split.embeddings is None
    assert encode_split(model, split)[0].shape == (12, 3)


def test_training_from_mapped_files_gives_the_same_weights(embedded, trained, tmp_path):
    config = tiny_config("semi_supervised", consistency=CONSISTENCY, n_epochs=60, ema_decay=0.9, resident_mib=0)
    train(config, DataDirectory(embedded), tmp_path, device="cpu")
    name = "encoder_semi_supervised.safetensors"
    one, other = load_file(tmp_path / name), load_file(trained / name)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("variant", "section", "message"),
    [
        ("semi_supervised", {"model": {"encoder": "conv"}}, "model.encoder conv takes images"),
        ("unsupervised", {"training": {"use_mutual_info": True}}, "training.use_mutual_info encodes decoded pictures"),
    ],
)
def test_a_configuration_for_images_is_refused(embedded, tmp_path, variant, section, message):
    config = tiny_config(variant)
    changed = type(config).model_validate(
        {**config.model_dump(), **{k: {**config.model_dump()[k], **v} for k, v in section.items()}}
    )
    with refused(message, kind=UsageError):
        train(changed, DataDirectory(embedded), tmp_path, device="cpu")


def test_every_optional_term_trains_on_embeddings(embedded, tmp_path):
    terms = {"lambda_balance": 1.0, "lambda_over_clustering": 1.0, "lambda_virtual_adversarial": 1.0}
    training = {"use_mode_decoder": True, "ema_decay": 0.9, "n_epochs": 2}
    config = tiny_config("unsupervised", consistency=CONSISTENCY | terms, **training)
    train(config, DataDirectory(embedded), tmp_path, device="cpu")
    model, data = load_model(tmp_path), DataDirectory(embedded)
    written = draw_all(model, load_for(model, data, "validation"), tmp_path / "pictures", Silent())
    assert len(written) == 10


def test_weights_that_contradict_the_description_are_refused(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    content = json.loads((copy / "model.json").read_text())
    content["sha256"] = {}
    content["architecture"]["backbone"]["name"] = "torchvision:resnet18"
    (copy / "model.json").write_text(json.dumps(content))
    with refused("does not fit model.json"):
        load_model(copy)
    (copy / WEIGHTS_FILE).unlink()
    with refused(f"{WEIGHTS_FILE} is missing"):
        load_model(copy)


def test_a_damaged_backbone_is_refused_before_training(embedded, tmp_path):
    copy = shutil.copytree(embedded, tmp_path / "copy")
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS_FILE).unlink()  # it may be a link to another directory's
    (copy / WEIGHTS_FILE).write_bytes(content)
    with refused(WEIGHTS_FILE):
        train(tiny_config("semi_supervised"), DataDirectory(copy), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model" / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["os:system", "timm:../x", "timm:hf-hub:a/b", "timm:"])
def test_a_description_names_only_networks_of_providers(embedder, name):
    with pytest.raises(ValueError, match="name"):
        BackboneDescription.model_validate({**embedder.description.model_dump(), "name": name})


# --- the export ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_file_takes_images_and_is_the_same_classifier(exported, embedded, tmp_path):
    export = ExportDirectory.open(shutil.copytree(exported, tmp_path / "export"))
    split = DataDirectory(embedded).load("test")
    report = check_parity(export, split, "test", batch_sizes=(5,), progress=Silent())
    assert report, [r.reason for r in report.results]
    assert {r.artifact.partition(".")[0] for r in report.results} == {"classifier", "encoder", "decoder", "weights"}
    assert replay_golden(export, progress=Silent())


def test_image_files_are_labelled_by_the_exported_graph(trained, embedded, tmp_path):
    exported = export_model(trained, tmp_path / "export", (Format.ONNX,), Silent()).path
    (tmp_path / "images").mkdir()
    images = DataDirectory(embedded).load("test").images
    for i, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "images" / f"{i:02}.png")
    y, _ = encode(load_model(trained).image_encoder, images)
    labels = [p.class_name for p in predict(exported / "classifier.onnx", sorted((tmp_path / "images").iterdir()))]
    assert labels == [f"row_{k}" for k in y.argmax(axis=1)]
    card = (exported / "MODEL_CARD.md").read_text()
    assert NAME in card
    assert load_model(trained).architecture.backbone.sha256 in card
    assert "BSD-3" in card


def test_first_labels_follow_the_mean_over_views() -> None:
    embeddings = np.random.default_rng(0).random((5, 3, 4)).astype(np.float16)
    images, labels = np.zeros((5, 1, 2, 2), np.uint8), np.full(5, -1)
    np.testing.assert_allclose(
        Split(images, labels, embeddings).averaged, embeddings.astype(np.float64).mean(axis=1), 1e-3
    )
    assert Split(images, labels).averaged is images
