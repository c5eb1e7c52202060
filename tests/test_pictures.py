import json
import random
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_source
from drawings import Told, blank_panels, crowding, random_split, shown_texts, untrained_model, view_of, words
from exports import one_variant
from PIL import Image
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.models.directory import TrainedModel, load_model
from aae_toolkit.progress import Silent
from aae_toolkit.text import rough_percent
from aae_toolkit.visualization import categories, latent
from aae_toolkit.visualization.canvas import colors, group_styles, new_figure, save, show_image, style
from aae_toolkit.visualization.many import MOST, largest, most_confused, with_others
from aae_toolkit.visualization.mistakes import class_probabilities
from aae_toolkit.visualization.pictures import PICTURES, draw, draw_all
from aae_toolkit.visualization.reconstructions import examples
from aae_toolkit.visualization.view import View

SEED_PICTURES = [
    "latent_features_tnse.png",
    "learned_latent_features.png",
    "modes_and_samples_from_each_label.png",
    "predicted_label_distribution.png",
    "reconstruction_example.png",
    "y_distribution.png",
    "z_distribution.png",
    "learned_modes.png",
]
LONG_NAMES = tuple(f"a very long class name, of which this is number {i}" for i in range(10))
SIZES = {  # K, Z, image shape, class names
    "two categories, one style": (2, 1, (1, 6, 9), ("left", "right")),
    "ten categories, two styles, colour": (10, 2, (3, 8, 8), LONG_NAMES),
    "thirty categories, ten styles, two channels": (30, 10, (2, 5, 15), LONG_NAMES),
    "thirty classes, upright": (30, 12, (1, 12, 4), tuple(f"number {i} of all classes" for i in range(30))),
    "two hundred classes": (200, 2, (1, 6, 6), tuple(f"number {i} of all classes" for i in range(200))),
    "one class": (2, 1, (1, 6, 6), ("only",)),
}


@pytest.fixture(autouse=True)
def _drawn_as_by_the_command() -> Iterator[None]:
    """Without a display, and every warning an error: no missing glyph, no empty slice, no layout that failed."""
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


VIEWS = [pytest.param(size, id=name, marks=[pytest.mark.slow] * ("thirty" in name)) for name, size in SIZES.items()]


@pytest.fixture(scope="module", params=VIEWS)
def view(request: pytest.FixtureRequest) -> View:
    k, z, shape, names = request.param
    return view_of(untrained_model(k, z, shape, names), n=60)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def n_panels(view: View) -> dict[str, int]:
    counts = dict.fromkeys(PICTURES, 1)
    counts["reconstruction_example.png"] = 2 * 10
    counts["z_distribution.png"] = min(10, view.z.shape[1])
    counts["learned_modes.png"] = min(MOST, view.n_categories)
    counts["confusion_matrix.png"] = 2  # with the bar of colours
    counts["most_uncertain.png"] = 24
    return counts


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_its_panels_its_title_and_room_for_every_word(name: str, view: View) -> None:
    drawn = PICTURES[name].draw(view)
    title = drawn.get_suptitle()
    assert title.startswith(PICTURES[name].title)
    assert "Look for" in title
    assert drawn.get_supxlabel()  # what was measured
    assert len(drawn.axes) == n_panels(view)[name]
    assert blank_panels(drawn) == []
    assert crowding(drawn) == []


def flowing(drawn: Any) -> str:
    """The note of a figure, as one line."""
    return str(drawn.get_supxlabel()).replace("\n", " ")


def test_the_pictures_are_the_seeds_and_two_more() -> None:
    assert list(PICTURES) == [*SEED_PICTURES, "confusion_matrix.png", "most_uncertain.png"]
    assert all(picture.caption.count("Look for") == 1 for picture in PICTURES.values())


def test_every_tile_of_a_row_of_pictures_is_drawn() -> None:
    view = view_of(untrained_model(k=10))
    for content, n_columns in ((categories.style_rows, 11), (categories.modes_and_samples, 2)):
        [image] = content(view).axes[0].images
        sheet = np.asarray(image.get_array())
        for row in np.flatnonzero(view.category_sizes):
            for column in range(n_columns):
                assert sheet[7 * row : 7 * row + 6, 7 * column : 7 * column + 6].std() > 0


def test_an_empty_category_is_drawn_as_one() -> None:
    view = view_of(untrained_model(k=4, empty=(1, 3)))
    assert (view.category_sizes > 0).tolist() == [True, False, True, False]
    for name, n in {"modes_and_samples_from_each_label.png": 2, "predicted_label_distribution.png": 2}.items():
        drawn = PICTURES[name].draw(view)
        assert [text.get_text().strip() for text in drawn.axes[0].texts] == ["never predicted"] * n
        assert "Never predicted: 1, 3 (2 of 4)." in drawn.get_supxlabel().replace("\n", " ")
    rows = PICTURES["learned_latent_features.png"].draw(view).axes[0].get_yticklabels()
    assert ["never predicted" in row.get_text() for row in rows] == [False, True, False, True]
    panels = PICTURES["learned_modes.png"].draw(view).axes
    assert ["never predicted" in panel.get_title() for panel in panels] == [False, True, False, True]


def state_of(model: TrainedModel) -> dict[str, Any]:
    networks = {"encoder": model.encoder, "decoder": model.decoder, "mode_decoder": model.mode_decoder}
    return {
        f"{name}.{key}": value.clone()
        for name, network in networks.items()
        if network is not None
        for key, value in network.state_dict().items()
    }


def test_drawing_leaves_the_model_and_every_random_stream_alone(tmp_path: Path) -> None:
    model = untrained_model()
    model.encoder.train()  # as while it is being trained
    before, streams = state_of(model), (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    draw_all(model, random_split(model), tmp_path, Silent())
    assert all(torch.equal(value, before[name]) for name, value in state_of(model).items())
    assert model.encoder.training
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert np.array_equal(np.random.get_state()[1], streams[1])  # noqa: NPY002  (the stream that others may use)
    assert random.getstate() == streams[2]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model = untrained_model()
        np.random.default_rng()
        torch.rand(3)  # the state of the global streams says nothing
        draw_all(model, random_split(model), tmp_path / name, Silent())
    for name in PICTURES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_cannot_be_drawn_is_said_and_does_not_stay_from_another_model(tmp_path: Path) -> None:
    rich, plain, told = untrained_model(), untrained_model(mode_decoder=False), Told()
    assert {path.name for path in draw_all(rich, random_split(rich), tmp_path, told)} == set(PICTURES)
    assert not [line for line in told.lines if "not drawn" in line]
    written = draw_all(plain, random_split(plain, labelled=False), tmp_path, told)
    absent = {"learned_modes.png", "confusion_matrix.png"}
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()} == set(PICTURES) - absent
    assert "learned_modes.png is not drawn: the model has no mode decoder" in told.lines
    assert "confusion_matrix.png is not drawn: no image has a label" in told.lines


def test_files_are_images_of_a_size_to_look_at(tmp_path: Path) -> None:
    model = untrained_model(k=2, z=1)
    for path in draw_all(model, random_split(model), tmp_path, Silent()):
        width, height = size_of(path)
        assert 400 < width < 2500
        assert 250 < height < 3000


@pytest.mark.parametrize("shape", [(1, 12, 4), (1, 4, 20)], ids=["upright", "wide"])
def test_pictures_of_many_classes_have_a_size_to_look_at_too(shape: tuple[int, int, int], tmp_path: Path) -> None:
    names = tuple(f"{'a name of two hundred characters ' * 6}{i}" for i in range(200))
    model = untrained_model(k=200, shape=shape, names=names)
    for path in draw_all(model, random_split(model, n=400), tmp_path, Silent()):
        assert max(size_of(path)) < 3000, path.name


def test_of_many_classes_the_others_are_one_and_the_picture_says_so() -> None:
    view = view_of(untrained_model(k=200, names=tuple(f"c{i}" for i in range(200))), n=400)
    confusion = PICTURES["confusion_matrix.png"].draw(view)
    labels = [label.get_text() for label in confusion.axes[0].get_yticklabels()]
    assert len(labels) == MOST
    assert labels[-1] == "other (171 classes)"
    assert "Shown: the 29 classes with the most mistakes. The other 171 are summed" in flowing(confusion)
    bars = PICTURES["predicted_label_distribution.png"].draw(view)
    assert bars.axes[0].get_xticklabels()[-1].get_text() == "other (171 categories)"
    assert len(bars.axes[0].patches) <= MOST**2
    assert "Shown: the 29 largest of 200 categories." in flowing(bars)
    for name in ("learned_latent_features.png", "modes_and_samples_from_each_label.png", "learned_modes.png"):
        assert "Shown: the 30 largest of 200 categories." in flowing(PICTURES[name].draw(view))
    legend = [text.get_text() for text in PICTURES["latent_features_tnse.png"].draw(view).legends[0].get_texts()]
    assert "other (171 classes)" in legend
    assert len(legend) <= MOST + 1  # and the mark of misclassified images


def test_all_other_categories_are_a_bar_that_does_not_flatten_the_rest() -> None:
    view = view_of(untrained_model(k=200), n=400)
    y = np.eye(200, dtype=np.float32)[np.arange(400) % 200]  # two images in each
    axes = PICTURES["predicted_label_distribution.png"].draw(replace(view, y=y)).axes[0]
    assert axes.get_ylim()[1] < 4
    assert "342 images, cut here" in [text.get_text().strip() for text in axes.texts]


def test_the_largest_and_the_most_confused_are_chosen() -> None:
    sizes = np.arange(200)[::-1] % 100
    assert largest(sizes, 3).tolist() == [0, 1, 100]
    assert largest(sizes[:2], 3).tolist() == [0, 1]
    table = np.diag(np.full(200, 10))
    table[7, 150] = 3
    assert {7, 150} < {*most_confused(table).tolist()}
    summed = with_others(with_others(table, most_confused(table)).T, most_confused(table)).T
    assert summed.shape == (MOST, MOST)
    assert summed.sum() == table.sum()


def test_many_unreadable_names_are_one_short_line(tmp_path: Path) -> None:
    told, model = Told(), untrained_model(k=200, names=tuple("\u07ff\U000131f1" * 50 + f" {i}" for i in range(200)))
    view = view_of(model, progress=told)
    if not view.names.unreadable:
        pytest.skip("an installed font has hieroglyphs")
    draw(view, ("y_distribution.png",), tmp_path)
    assert max(map(len, told.lines)) < 1000


def test_images_without_labels_are_grouped_by_category() -> None:
    model = untrained_model(k=3, names=("category_0", "category_1", "category_2"))
    view = view_of(model, labelled=False)
    for name, picture in PICTURES.items():
        if picture.why_not(view) is None:
            drawn = picture.draw(view)
            assert blank_panels(drawn) == crowding(drawn) == [], name
            assert "misclassified" not in words(drawn)
    legend = [t.get_text() for t in shown_texts(PICTURES["latent_features_tnse.png"].draw(view))["legend"]]
    assert legend == [str(k) for k in np.flatnonzero(view.category_sizes)]
    bars = PICTURES["predicted_label_distribution.png"].draw(view).axes[0]
    assert sum(bar.get_height() for bar in bars.patches) == len(view.images)


def test_misclassified_images_are_marked_and_counted() -> None:
    view = view_of(untrained_model())
    drawn = PICTURES["latent_features_tnse.png"].draw(view)
    crosses = [dots for dots in drawn.axes[0].collections if len(dots.get_offsets()) and dots.get_linewidth()[0] > 0]
    n_wrong = int((view.category_to_class[view.categories] != view.labels).sum())
    assert 0 < n_wrong < len(view.images)
    assert sum(len(dots.get_offsets()) for dots in crosses) == n_wrong
    assert f"misclassified ({n_wrong})" in words(drawn)


def test_many_styles_do_not_hide_the_categories() -> None:
    """Codes of two clear categories and ten styles: neighbours in the picture share their category."""
    rng, n = np.random.default_rng(0), 200
    y = np.eye(2, dtype=np.float32)[np.arange(n) % 2]
    view = replace(view_of(untrained_model(k=2, z=10), n=n), y=y, z=rng.normal(size=(n, 10)).astype(np.float32))
    points = latent._tsne(view, np.arange(n))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(n, np.inf))
    assert (y.argmax(axis=1)[distances.argmin(axis=1)] == y.argmax(axis=1)).mean() > 0.95


def test_normality_is_measured() -> None:
    z = np.random.default_rng(0).normal(size=20000).astype(np.float32)
    assert latent.normality(z) == pytest.approx((0, 0), abs=0.03)
    ks, wasserstein = latent.normality(z + 1)
    assert ks == pytest.approx(0.383, abs=0.02)  # 2 Phi(1/2) - 1
    assert wasserstein == pytest.approx(1, abs=0.03)


def test_a_style_far_from_its_prior_is_drawn_as_far_as_images_have_it() -> None:
    view = view_of(untrained_model())
    narrow = replace(view, z=(0.01 * view.z).astype(np.float32))
    labels = PICTURES["learned_latent_features.png"].draw(narrow).axes[0].get_xticklabels()
    lowest, highest = np.quantile(narrow.z[:, 0], (0.025, 0.975))
    assert [float(labels[i].get_text()) for i in (0, -1)] == pytest.approx([lowest, highest], rel=0.05)


def test_a_single_image_is_seen_on_the_logarithmic_axis() -> None:
    view = view_of(untrained_model(), n=4)
    drawn = PICTURES["y_distribution.png"].draw(view)
    [axes] = drawn.axes
    drawn.canvas.draw()
    bars = [bar for bar in axes.patches if bar.get_height() == 1]
    assert bars
    assert all(axes.get_ylim()[0] < 1 and bar.get_window_extent().height > 10 for bar in bars)
    assert "1" in [label.get_text() for label in axes.get_yticklabels()]


def test_the_most_uncertain_come_first() -> None:
    view = view_of(untrained_model(k=6))
    largest = np.sort(class_probabilities(view).max(axis=1))
    titles = [panel.get_title() for panel in PICTURES["most_uncertain.png"].draw(view).axes]
    shown = [int(title.splitlines()[0].split()[-1].rstrip("%")) for title in titles]
    assert shown == [round(100 * float(p)) for p in largest[:24]]
    assert all("true: row_" in title for title in titles)


def test_few_images_make_few_panels_and_no_t_sne() -> None:
    view = view_of(untrained_model(), n=3)
    assert PICTURES["latent_features_tnse.png"].why_not(view) == "3 images are too few for t-SNE, which needs 4"
    assert len(PICTURES["most_uncertain.png"].draw(view).axes) == 3
    assert len(PICTURES["reconstruction_example.png"].draw(view).axes) == 2 * 3


def test_each_class_is_among_the_examples() -> None:
    view = view_of(untrained_model(names=tuple("abcdefghij"), k=10), n=60)
    assert sorted(view.labels[examples(view)]) == list(range(10))


def test_equal_codes_are_drawn(tmp_path: Path) -> None:
    model = untrained_model()
    model.encoder.y_head.weight.zero_()
    model.encoder.z_head.weight.zero_()
    assert len(draw_all(model, random_split(model), tmp_path, Silent())) == len(PICTURES)


def test_a_class_name_is_not_read_as_mathematics(tmp_path: Path) -> None:
    model = untrained_model(names=("a$b_$c", "$5 and $10", "x^2"))
    assert draw_all(model, random_split(model), tmp_path, Silent())


def test_what_no_font_can_write_is_a_number_and_one_line(tmp_path: Path) -> None:
    told, model = Told(), untrained_model(names=("\u07ff\U000131f1", "plain", "row"))  # a hieroglyph
    view = view_of(model, progress=told)
    if not view.names.unreadable:
        pytest.skip("an installed font has hieroglyphs")
    draw(view, ("predicted_label_distribution.png",), tmp_path)
    assert [line for line in told.lines if "no installed font has the characters of" in line]
    assert view.names.texts == ("#0", "plain", "row")


@pytest.mark.parametrize(("share", "text"), [(0, "0.0%"), (1, "100.0%"), (0.99999, "over 99.9%"), (1e-5, "under 0.1%")])
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert rough_percent(share) == text


@pytest.mark.parametrize("n", [1, 3, 10, 30])
def test_as_many_colours_as_asked_for_and_all_differ(n: int) -> None:
    assert len({str(color) for color in colors(n)}) == n


def test_a_hundred_groups_look_different() -> None:
    assert len({(group.color, group.marker) for group in group_styles(100)}) == 100
    assert len({(group.color, group.hatch) for group in group_styles(100)}) == 100
    assert [group.color for group in group_styles(10)] == colors(10)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_are_drawn(channels: int, tmp_path: Path) -> None:
    drawn = new_figure(2, 2)
    show_image(drawn.subplots(), np.random.default_rng(0).integers(0, 256, (channels, 8, 8), dtype=np.uint8))
    assert blank_panels(drawn) == []
    save(drawn, tmp_path / "image.png")
    assert size_of(tmp_path / "image.png") == (240, 240)


def test_images_of_another_shape_are_refused() -> None:
    model = untrained_model()
    split = random_split(model)
    with refused("the model takes images (1, 6, 6), the data's are (1, 2, 6)"):
        View.of(model, Split(split.images[:, :, :2], split.labels), Silent())


def test_no_image_at_all_is_refused() -> None:
    with refused("no images to draw", "--validation above 0"):
        view_of(untrained_model(), n=0)


def test_classes_beyond_the_models_are_refused() -> None:
    model = untrained_model()
    split = random_split(model)
    with refused("class index 7", "3 classes"):
        View.of(model, Split(split.images, np.full_like(split.labels, 7)), Silent())


def test_weights_that_are_not_finite_are_refused() -> None:
    model = untrained_model()
    model.encoder.z_head.weight.fill_(float("nan"))
    with refused("codes are not finite", "train the model again"):
        view_of(model)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = untrained_model()
    with refused(tmp_path / "file", "cannot be written"):
        draw_all(model, random_split(model), tmp_path / "file", Silent())


def test_trained_models_of_both_variants_are_drawn(model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    written = draw_all(load_model(model_dir), DataDirectory(data_dir).load("validation"), tmp_path, Silent())
    assert {path.name for path in written} == set(PICTURES) - {"learned_modes.png"}


def spoil_nothing(model: Path) -> None:
    pass


def without_decoder(model: Path) -> None:
    next(model.glob("decoder_*.safetensors")).unlink()


def without_description(model: Path) -> None:
    (model / "model.json").unlink()


def of_another_version(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(content | {"format": "aae-model-2", "toolkit_version": "9.0"}))


def of_other_sizes(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    content["architecture"]["hidden_size"] = 5
    (model / "model.json").write_text(json.dumps(content))


def cut_short(model: Path) -> None:
    encoder = next(model.glob("encoder_*.safetensors"))
    encoder.write_bytes(encoder.read_bytes()[:100])


REFUSALS = {
    "an incomplete model": (
        without_decoder,
        6,
        "decoder_semi_supervised.safetensors is missing, though the index of its directory lists it",
    ),
    "no model": (without_description, 6, "holds no model.json; train one with"),
    "another version": (
        of_another_version,
        6,
        "is of format 'aae-model-2', written by version '9.0' of aae-toolkit; this",
    ),
    "other sizes": (of_other_sizes, 6, "does not fit model.json"),
    "damaged weights": (cut_short, 6, "is damaged"),
    "data of another shape": (spoil_nothing, 5, "the model takes images (1, 6, 6), the data's are (1, 5, 5)"),
}


@one_variant
@pytest.mark.parametrize(("spoil", "size", "line"), REFUSALS.values(), ids=REFUSALS)
def test_a_model_directory_that_cannot_be_drawn_gets_one_line(
    spoil: Any, size: int, line: str, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = shutil.copytree(model_dir, tmp_path / "model"), tmp_path / "data"
    write_data_directory(data, tiny_source(size=size), None, None, None, seed=0)
    spoil(model)
    assert run(["visualize", "--model", str(model), "--data", str(data)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert line in error
    assert not (model / "visualization").exists()
