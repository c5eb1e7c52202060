import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_config
from PIL import Image

from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory, Split
from aae_toolkit.errors import AaeError
from aae_toolkit.models.directory import load_model
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.canvas import colors, figure, show_image
from aae_toolkit.visualization.curves import draw_learning_curves
from aae_toolkit.visualization.pictures import draw_all

SEED_PICTURES = {
    "latent_features_tnse.png",
    "learned_latent_features.png",
    "modes_and_samples_from_each_label.png",
    "predicted_label_distribution.png",
    "reconstruction_example.png",
    "y_distribution.png",
    "z_distribution.png",
}


def is_drawn(path: Path) -> bool:
    pixels = np.asarray(Image.open(path).convert("L"))
    return pixels.shape[0] > 100 and pixels.shape[1] > 100 and np.unique(pixels).size > 20


def test_every_picture_of_the_seed_is_drawn_and_the_model_is_left_alone(
    model_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    model = load_model(model_dir)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    random_state = torch.get_rng_state()
    written = draw_all(model, DataDirectory(data_dir).load("validation"), tmp_path, Silent())
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == SEED_PICTURES
    assert all(is_drawn(path) for path in written)
    assert all(torch.equal(before[k], v) for k, v in model.encoder.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())


def test_a_mode_decoder_adds_its_modes_and_a_model_without_one_removes_them(data_dir: Path, tmp_path: Path) -> None:
    data = DataDirectory(data_dir)
    split = data.load("validation")
    train(tiny_config("unsupervised", use_mode_decoder=True), data, tmp_path / "with", device="cpu")
    train(tiny_config("unsupervised"), data, tmp_path / "without", device="cpu")
    draw_all(load_model(tmp_path / "with"), split, tmp_path / "pictures", Silent())
    assert is_drawn(tmp_path / "pictures" / "learned_modes.png")
    draw_all(load_model(tmp_path / "without"), split, tmp_path / "pictures", Silent())
    assert not (tmp_path / "pictures" / "learned_modes.png").exists()


def test_images_without_labels_are_drawn_too(model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    split = DataDirectory(data_dir).load("validation")
    bare = Split(split.images, np.full_like(split.labels, -1))
    assert len(draw_all(load_model(model_dir), bare, tmp_path, Silent())) == len(SEED_PICTURES)


def test_images_of_another_shape_are_refused(model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    split = DataDirectory(data_dir).load("validation")
    with pytest.raises(AaeError, match="the model takes images"):
        draw_all(load_model(model_dir), Split(split.images[:, :, :2], split.labels), tmp_path, Silent())


def test_the_same_model_gives_the_same_picture(model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    split = DataDirectory(data_dir).load("validation")
    for name in ("a", "b"):
        draw_all(load_model(model_dir), split, tmp_path / name, Silent())
    for name in SEED_PICTURES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_learning_curves_have_the_seeds_names(model_dir: Path, variant: Variant, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    written = {path.name for path in draw_learning_curves(copy, variant)}
    common = {f"{variant}_advesarial_learning_curve.png", f"{variant}_reconstruction_learning_curve.png"}
    own = {
        "semi_supervised": {
            "semi_supervised_classification_learning_curve.png",
            "semi_supervised_accuracy_learning_curve.png",
        },
        "unsupervised": {"unsupervised_accuracy_learning_curve.png"},
    }
    assert written == common | own[variant]
    assert all(is_drawn(copy / name) for name in written)


def test_a_curve_is_drawn_only_where_its_term_was_trained(tmp_path: Path) -> None:
    line = {"epoch": 1, "reconstruction": 0.5, "mutual_information": 0.1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    names = {path.name for path in draw_learning_curves(tmp_path, "unsupervised")}
    assert names == {"unsupervised_reconstruction_learning_curve.png", "unsupervised_cyclic_info_learning_curve.png"}


@pytest.mark.parametrize("n", [1, 3, 10, 30])
def test_as_many_colours_as_asked_for_and_all_differ(n: int) -> None:
    assert len({str(color) for color in colors(n)}) == n


def test_grey_and_colour_images_are_drawn(tmp_path: Path) -> None:
    for channels in (1, 3):
        path = tmp_path / f"{channels}.png"
        with figure(path, 2, 2) as drawn:
            show_image(drawn.subplots(), np.random.default_rng(0).integers(0, 256, (channels, 8, 8), dtype=np.uint8))
        assert is_drawn(path)


def test_a_class_name_is_not_read_as_mathematics(model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    model = load_model(model_dir)
    named = model.description.model_copy(update={"class_names": ("a$b_$c", "$5 and $10", "x^2")})
    split = DataDirectory(data_dir).load("validation")
    assert draw_all(replace(model, description=named), split, tmp_path, Silent())
