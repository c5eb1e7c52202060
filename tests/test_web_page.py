"""The page of `aae export --web` in Chromium."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visit, chromium_page, needs_chromium
from builds import Builds
from conftest import TINY_TRAINING, needs_mnist, tiny_source
from drawn_files import png16
from exports import one_variant
from numpy.typing import NDArray
from PIL import Image

from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.config import SemiSupervisedConfig, Variant
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.images import read_image, read_noted
from aae_toolkit.data.preparation import Fit, Preparation
from aae_toolkit.export.contract import Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.writer import export_model
from aae_toolkit.parity.pictures import write_pictures
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.web.samples import sample_images
from aae_toolkit.web.web_page import write_page

pytestmark = needs_chromium

READY_MS = 60_000  # for a busy machine; idle, it is two seconds
Stroke = list[tuple[float, float]]  # points, of which the drawing area is 1 x 1


class Quiet(SimpleHTTPRequestHandler):
    """What `python -m http.server` answers, without its log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def opened(directory: Path, **window: Any) -> Iterator[Visit]:
    """A visit of the page, once it has verified itself; at the end nothing went wrong and no other host was asked."""
    with served(directory) as (address, _), chromium_page(**window) as visit:
        visit.page.goto(address)
        visit.page.locator("#verified", has_text="Verified on this device").wait_for(timeout=READY_MS)
        yield visit
        assert visit.errors == []
        assert [url for url in visit.requests if not url.startswith(address)] == []


def shown(visit: Visit, canvas: str) -> NDArray[np.uint8]:
    """The pixels of a canvas, [H, W, 3]."""
    script = """(canvas) => {
        const { width, height } = canvas;
        return [height, width, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
    }"""
    height, width, rgba = visit.page.locator(canvas).evaluate(script)
    return np.array(rgba, np.uint8).reshape(height, width, 4)[..., :3]


def across(y: float) -> Stroke:
    """A stroke that fills the row of 6 whose middle is at y."""
    return [(0.02, y - 0.04), (0.98, y - 0.04), (0.98, y + 0.04), (0.02, y + 0.04)]


def draw(visit: Visit, *strokes: Stroke) -> None:
    """Draw with the mouse."""
    visit.page.locator("#canvas").scroll_into_view_if_needed()
    box = visit.page.locator("#canvas").bounding_box()
    assert box is not None
    at = [[(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke] for stroke in strokes]
    for first, *others in at:
        visit.page.mouse.move(*first)
        visit.page.mouse.down()
        for point in others:
            visit.page.mouse.move(*point, steps=4)
        visit.page.mouse.up()


def label(visit: Visit) -> str:
    """The class that is named, once a probability stands beside it."""
    visit.page.locator("#label", has_text="%").wait_for()
    text: str = visit.page.locator("#label").inner_text()
    return text.rpartition(",")[0]


@pytest.fixture(scope="session")
def page_dir(variant: Variant, export_dir: Path, web_runtime: dict[str, bytes], builds: Builds) -> Path:
    """The page of either variant's shared model, which tells three classes by the row that is bright."""
    return builds.get(f"{variant}-page", lambda path: write_page(ExportDirectory.open(export_dir), path, web_runtime))


@dataclass
class Colour:
    """The page of a convolutional model of colour pictures, 5 wide and 6 high, its export and its data."""

    page: Path
    export: Path
    data: Path


@pytest.fixture(scope="session")
def colour(web_runtime: dict[str, bytes], builds: Builds) -> Colour:
    source = tiny_source(channels=3)
    narrow = type(source)(**(vars(source) | {"images": source.images[..., :5].copy()}))
    model = {"encoder": "conv", "conv_channels": [4, 6], "hidden_size": 8, "z_size": 3}
    config = SemiSupervisedConfig.model_validate({"model": model, "training": TINY_TRAINING})

    def build(path: Path) -> None:
        write_data_directory(path / "data", narrow, None, None, None, seed=0)
        train(config, DataDirectory(path / "data"), path / "model", device="cpu")
        export_model(path / "model", path / "export", (Format.ONNX,), Silent())
        export = ExportDirectory.open(path / "export")
        write_page(export, path / "page", web_runtime, sample_images(export, DataDirectory(path / "data")))

    path = builds.get("colour", build)
    return Colour(path / "page", path / "export", path / "data")


def assert_golden(visit: Visit, export: Path) -> None:
    """What the page itself verified, and every golden output once more, compared here."""
    result = visit.page.evaluate("aae.selftest()")
    with np.load(export / "golden.npz") as golden:
        vectors = dict(golden)
    n = len(vectors["classifier.input.images"])
    assert result.items() >= {"passed": True, "n": n, "labels": 0}.items()
    assert result["maxDifference"] < 1e-4
    script = """([artifact, feeds]) => {
        const from = { uint8: Uint8Array, float32: Float32Array };
        const Tensor = aae.Tensor;
        const tensors = Object.entries(feeds).map(([name, { type, dims, values }]) =>
            [name, new Tensor(type, from[type].from(values), dims)]);
        return aae.model.run(artifact, Object.fromEntries(tensors)).then((outputs) =>
            Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, [...t.data].map(Number)])));
    }"""
    for artifact in ("classifier", "decoder"):
        prefix = f"{artifact}.input."
        feeds = {
            name.removeprefix(prefix): {"type": str(v.dtype), "dims": v.shape, "values": v.ravel().tolist()}
            for name, v in vectors.items()
            if name.startswith(prefix)
        }
        for name, found in visit.page.evaluate(script, [artifact, feeds]).items():
            expected = vectors[f"{artifact}.output.{name}"]
            np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-4, rtol=0)


def test_golden_inputs_give_the_golden_outputs_in_the_page(page_dir: Path, export_dir: Path) -> None:
    with opened(page_dir) as visit:
        assert_golden(visit, export_dir)


@pytest.mark.slow
def test_a_convolutional_model_of_colour_pictures_gives_its_golden_outputs_too(colour: Colour) -> None:
    with opened(colour.page) as visit:
        assert_golden(visit, colour.export)


@pytest.mark.slow
@one_variant
def test_a_device_that_computes_otherwise_says_so(page_dir: Path, tmp_path: Path) -> None:
    page = shutil.copytree(page_dir, tmp_path / "page")
    golden = json.loads((page / "golden.json").read_text())
    outputs = golden["decoder"]["outputs"]["images"]
    outputs["base64"] = "AAAA" + outputs["base64"][4:]  # three bytes of the first pixel
    (page / "golden.json").write_text(json.dumps(golden))
    with served(page) as (address, _), chromium_page() as visit:
        visit.page.goto(address)
        visit.page.locator("#verified.warn", has_text="NOT the exported model").wait_for(timeout=READY_MS)


def test_a_drawn_stroke_gives_the_label_that_python_gives_what_it_became_and_clearing_takes_it_back(
    page_dir: Path, export_dir: Path
) -> None:
    classifier = OnnxRuntimeBackend(export_dir / "classifier.onnx")
    with opened(page_dir) as visit:
        for row, y in enumerate((1 / 12, 5 / 12, 9 / 12)):  # the middle of the bright rows 0, 2, 4 of 6
            draw(visit, across(y))
            named = label(visit)
            seen = shown(visit, "#seen")[None, None, ..., 0]
            assert seen.shape == (1, 1, 6, 6)
            assert (seen[0, 0, 2 * row] > 150).all()
            expected = classifier.run({"images": seen})
            assert named == f"row_{expected['label'][0]}"
            shares = visit.page.locator("#probabilities .share").all_inner_texts()
            np.testing.assert_allclose([float(s[:-1]) / 100 for s in shares], expected["probabilities"][0], atol=6e-4)
            visit.page.locator("#spoken", has_text=named).wait_for(state="attached")  # read aloud, once it stays
            visit.page.get_by_role("button", name="Clear").click()
            visit.page.locator("#label", has_text="Draw something").wait_for()
            assert not shown(visit, "#seen").any()


@pytest.mark.slow
@one_variant
def test_everything_is_done_by_keyboard_alone(page_dir: Path) -> None:
    with opened(page_dir) as visit:
        keys = visit.page.keyboard

        def focused() -> str:
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert visit.page.evaluate(f"document.activeElement.matches(':focus-visible') && {outline}") == "solid"
            return str(visit.page.evaluate("document.activeElement.id"))

        keys.press("Tab")
        assert focused() == "canvas"
        for key in ["Shift+ArrowUp"] * 4 + ["Shift+ArrowLeft"] * 5 + ["Space"] + ["Shift+ArrowRight"] * 10 + ["Space"]:
            keys.press(key)
        assert label(visit).startswith("row_")
        keys.press("Backspace")
        visit.page.locator("#label", has_text="Draw something").wait_for()
        reached = []
        for _ in range(8):
            keys.press("Tab")
            reached.append(focused())
        assert reached == ["undo", "clear", "file", "category", "z1", "z2", "center", "random"]
        visit.page.locator("#category").focus()
        before = shown(visit, "#decoded")
        keys.press("ArrowDown")
        visit.page.locator("#decoded[aria-label*=row_1]").wait_for()
        assert (shown(visit, "#decoded") != before).any()


@pytest.mark.slow
@one_variant
def test_clearing_in_the_middle_of_a_stroke_ends_it(page_dir: Path) -> None:
    with opened(page_dir) as visit:
        box = visit.page.locator("#canvas").bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + 50, box["y"] + 50)
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + 90, box["y"] + 50, steps=3)
        label(visit)
        visit.page.keyboard.press("Delete")
        visit.page.mouse.move(box["x"] + 90, box["y"] + 90, steps=3)
        visit.page.mouse.up()
        visit.page.locator("#label", has_text="Draw something").wait_for()
        assert not shown(visit, "#seen").any()


@pytest.mark.slow
def test_sliders_change_the_picture_to_what_the_decoder_gives(page_dir: Path, export_dir: Path) -> None:
    decoder = OnnxRuntimeBackend(export_dir / "decoder.onnx")
    with opened(page_dir) as visit:
        category = int(visit.page.locator("#category").input_value())
        seen = []
        for style in ((0.0, 0.0), (3.0, 0.0), (-3.0, 1.5)):
            for index, value in enumerate(style, 1):
                visit.page.locator(f"#z{index}").fill(str(value))
            visit.page.wait_for_timeout(200)
            y = np.zeros((1, len(visit.page.locator("#category option").all())), np.float32)
            y[0, category] = 1
            expected = decoder.run({"y": y, "z": np.array([style], np.float32)})["images"][0, 0] * 255
            seen.append(shown(visit, "#decoded")[..., 0])
            assert np.abs(seen[-1] - expected).max() <= 1
        assert (seen[0] != seen[1]).any()
        visit.page.get_by_role("button", name="All to 0").click()
        visit.page.locator(".slider output", has_text="0.00").nth(1).wait_for()
        visit.page.wait_for_timeout(200)
        np.testing.assert_array_equal(shown(visit, "#decoded")[..., 0], seen[0])
        visit.page.get_by_role("button", name="Random style").click()
        visit.page.wait_for_timeout(200)
        assert (shown(visit, "#decoded")[..., 0] != seen[0]).any()
        assert "The classifier says row_" in visit.page.locator("#decoded-label").inner_text()


@pytest.mark.slow
def test_categories_go_by_their_class_and_by_their_number_where_classes_have_several(
    page_dir: Path, variant: Variant
) -> None:
    classes = json.loads((page_dir / "model.json").read_text())["category_to_class"]
    with opened(page_dir) as visit:
        names = visit.page.locator("#category option").all_inner_texts()
        values = [int(option.get_attribute("value")) for option in visit.page.locator("#category option").all()]
    assert sorted(values) == list(range(len(classes)))
    assert [classes[k] for k in values] == sorted(classes)
    if variant == "semi_supervised":
        assert names == ["row_0", "row_1", "row_2"]
    else:  # four categories, three classes
        assert names == [f"row_{classes[k]} (category {k})" for k in values]


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize(("width", "colors"), [(320, "light"), (375, "light"), (375, "dark"), (1280, "dark")])
def test_the_page_fits_its_window(page_dir: Path, tmp_path: Path, width: int, colors: Any) -> None:
    page = shutil.copytree(page_dir, tmp_path / "page")
    description = json.loads((page / "model.json").read_text())
    description["class_names"] = ["a_class_whose_name_is_longer_than_any_telephone_is_wide_" * 3] * 3
    (page / "model.json").write_text(json.dumps(description))
    with opened(page, width=width, colors=colors) as visit:
        draw(visit, across(5 / 12))
        assert label(visit).startswith("a_class_whose")
        assert visit.overflow() == 0
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if colors == "light" else "rgb(20, 22, 26)")


@pytest.mark.slow
@one_variant
def test_a_finger_draws_and_does_not_scroll(page_dir: Path) -> None:
    with opened(page_dir, width=375) as visit:
        box = visit.page.locator("#canvas").bounding_box()
        assert box is not None
        touch = visit.page.context.new_cdp_session(visit.page)
        x = box["x"] + box["width"] / 2
        for kind, share in (("touchStart", 0.1), ("touchMove", 0.5), ("touchMove", 0.9), ("touchEnd", None)):
            points = [] if share is None else [{"x": x, "y": box["y"] + share * box["height"]}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert label(visit).startswith("row_")
        assert (shown(visit, "#seen")[1:5, 2:4, 0].max(axis=1) > 60).all()  # a line down the middle
        assert visit.page.evaluate("scrollY") == 0


@pytest.mark.slow
@one_variant
def test_names_are_text_whatever_they_hold(page_dir: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=\"document.title='run'\">&lt;b&gt;"
    page = shutil.copytree(page_dir, tmp_path / "page")
    description = json.loads((page / "model.json").read_text())
    description["class_names"] = [name] * 3
    (page / "model.json").write_text(json.dumps(description))
    with opened(page) as visit:
        draw(visit, [(0.1, 0.1), (0.9, 0.1)])
        assert label(visit) == name
        assert visit.page.locator("#category option").first.inner_text() == name
        assert visit.page.locator("#probabilities .name").first.inner_text() == name
        assert visit.page.locator("img").count() == 0
        assert visit.page.title() == "A classifier in the browser"


@pytest.mark.slow
@one_variant
def test_of_many_classes_the_likeliest_are_listed(page_dir: Path, tmp_path: Path) -> None:
    page = shutil.copytree(page_dir, tmp_path / "page")
    with served(page) as (address, _), chromium_page() as visit:
        visit.page.goto(address)
        visit.page.locator("#main").wait_for(timeout=READY_MS)
        script = """async () => {
            const { Probabilities } = await import("./show.js");
            const [list, more] = ["ol", "p"].map((tag) => document.createElement(tag));
            const names = Array.from({ length: 50 }, (_, index) => `class ${index}`);
            const shares = Float32Array.from(names, (_, index) => (index === 42 ? 0.9 : index / 12250));
            new Probabilities(list, more, names).show(shares, 42);
            return [[...list.children].map((row) => row.textContent), more.textContent, more.hidden];
        }"""
        rows, more, hidden = visit.page.evaluate(script)
        assert rows[:2] == ["class 4290.0%", "class 490.4%"]
        assert (len(rows), more, hidden) == (12, "The 12 likeliest of 50 classes.", False)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Image files of every kind that people have, none of the model's size."""
    directory = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (37, 23, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    images = {
        "colour.png": (Image.fromarray(rgba[..., :3]), {}),
        "small.png": (Image.fromarray(rgba[:3, :2, :3]), {}),
        "grey.png": (Image.fromarray(rgba[..., 0]), {}),
        "see-through.png": (Image.fromarray(rgba), {}),
        "sideways.jpg": (Image.fromarray(rgba[..., :3]).resize((230, 370)), {"exif": exif, "quality": 95}),
        "lossless.webp": (Image.fromarray(rgba[..., :3]), {"lossless": True}),
    }
    for name, (image, options) in images.items():
        image.save(directory / name, **options)
    return {name: directory / name for name in images}


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize("channels", [1, 3])
def test_image_files_are_read_as_predict_reads_them(
    channels: int, page_dir: Path, colour: Colour, pictures: dict[str, Path], tmp_path: Path
) -> None:
    page = page_dir if channels == 1 else colour.page
    shape = (1, 6, 6) if channels == 1 else (3, 6, 5)
    with opened(page) as visit:
        assert visit.page.locator("#canvas").is_visible() == (channels == 1)
        for name, path in pictures.items():
            visit.page.locator("#file").set_input_files(path)
            label(visit)
            visit.page.wait_for_timeout(200)
            expected = read_image(path, shape).transpose(1, 2, 0)
            # the browser's own JPEG decoder rounds otherwise, and it keeps transparent colours in 8 bits
            tolerance = 3 if name.endswith(".jpg") or name.startswith("see") else 0
            assert np.abs(shown(visit, "#seen").astype(int) - expected).max() <= tolerance, name
        (tmp_path / "text.png").write_text("no image")
        visit.page.locator("#file").set_input_files(tmp_path / "text.png")
        visit.page.locator("#label", has_text="text.png is not an image that this browser can read").wait_for()


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_files_are_prepared_as_the_model_says(
    channels: int, fit: Fit, page_dir: Path, colour: Colour, pictures: dict[str, Path], tmp_path: Path
) -> None:
    page = shutil.copytree(page_dir if channels == 1 else colour.page, tmp_path / "page")
    shape = (1, 6, 6) if channels == 1 else (3, 6, 5)
    preparation = Preparation("exif", (250, 200, 180), (0, 4095), "auto", fit)
    description = json.loads((page / "model.json").read_text())
    description |= {"preparation": asdict(preparation), "border_brightness": 250}
    (page / "model.json").write_text(json.dumps(description))
    Image.new("L", (20, 10), 10).save(tmp_path / "dark.png")
    files = pictures | {"dark.png": tmp_path / "dark.png"}
    files["deep.png"] = png16(tmp_path / "deep.png", np.arange(600).reshape(20, 30) * 6)
    with opened(page) as visit:
        for name, path in files.items():
            visit.page.locator("#file").set_input_files(path)
            label(visit)
            visit.page.wait_for_timeout(200)
            expected = read_noted(path, shape, preparation, border=250)
            tolerance = 3 if name.endswith(".jpg") or name.startswith("see") else 1
            seen = shown(visit, "#seen").astype(int).transpose(2, 0, 1)[:channels]
            assert np.abs(seen - expected.pixels).max() <= tolerance, name
            notes = "; ".join(note.partition(";")[0] for note in expected.notes)
            assert visit.page.locator("#notes").inner_text() == (f"Note: {notes}." if notes else ""), name
        if channels == 1:  # drawings are dark on light, as the images of this model are
            draw(visit, across(1 / 12))
            label(visit)
            visit.page.wait_for_timeout(200)
            seen = shown(visit, "#seen")[..., 0]
            assert seen[0].max() < 105
            assert seen[3:].min() == 255
        colours = png16(tmp_path / "colours.png", np.full((4, 4, 3), 4000))
        visit.page.locator("#file").set_input_files(colours)
        visit.page.locator("#label", has_text="16 bits per channel in colour").wait_for()


@pytest.mark.slow
@one_variant
def test_files_of_every_kind_are_read_as_predict_reads_them(page_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    with opened(page_dir) as visit:
        for path, kind in write_pictures(tmp_path, DataDirectory(data_dir).load("test").images):
            if kind == "cmyk":
                continue  # converted by the browser
            visit.page.locator("#file").set_input_files(path)
            label(visit)
            visit.page.wait_for_timeout(200)
            expected = read_image(path, (1, 6, 6)).transpose(1, 2, 0)
            tolerance = 3 if path.suffix == ".jpg" or kind.startswith("transparent") else 1
            assert np.abs(shown(visit, "#seen").astype(int) - expected).max() <= tolerance, path.name


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 1280])
def test_sample_images_of_a_colour_model_get_the_labels_that_python_gives(
    colour: Colour, tmp_path: Path, width: int
) -> None:
    export = ExportDirectory.open(colour.export)
    samples = sample_images(export, DataDirectory(colour.data))
    expected = OnnxRuntimeBackend(colour.export / "classifier.onnx").run({"images": samples.images})["label"]
    with opened(colour.page, width=width) as visit:
        buttons = visit.page.locator("#samples button")
        assert buttons.count() == len(samples) == 16
        for index, image in enumerate(samples.images):
            name = f"row_{samples.labels[index]}"
            button = visit.page.get_by_role("button", name=f"Sample image {index + 1}: {name}", exact=True)
            np.testing.assert_array_equal(
                shown(visit, f"#samples button:nth-child({index + 1}) canvas"), image.transpose(1, 2, 0)
            )
            button.press("Enter")
            visit.page.locator("#notes", has_text=f"a sample image of class {name}.").wait_for()
            assert label(visit) == f"row_{expected[index]}"
            visit.page.wait_for_timeout(50)
            np.testing.assert_array_equal(shown(visit, "#seen"), image.transpose(1, 2, 0))
        assert visit.overflow() == 0
        visit.keep_screenshot(f"samples-{width}", tmp_path)


@one_variant
def test_a_page_without_samples_offers_none(page_dir: Path) -> None:
    with opened(page_dir) as visit:
        assert not visit.page.locator("#trying").is_visible()


@pytest.mark.slow
@one_variant
def test_a_dropped_file_is_classified(page_dir: Path, pictures: dict[str, Path]) -> None:
    with opened(page_dir) as visit:
        script = """async (bytes) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.png", { type: "image/png" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }"""
        visit.page.evaluate(script, list(pictures["grey.png"].read_bytes()))
        assert label(visit).startswith("row_")


@pytest.mark.slow
@one_variant
def test_the_page_works_with_the_network_off_and_opens_again_without_its_server(page_dir: Path) -> None:
    with served(page_dir) as (address, server), chromium_page() as visit:
        visit.page.goto(address)
        visit.page.locator("#verified", has_text="Verified").wait_for(timeout=READY_MS)
        visit.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        visit.page.wait_for_function("navigator.serviceWorker.controller")
        asked = len(visit.requests)
        server.shutdown()
        server.server_close()
        draw(visit, across(1 / 12))
        assert label(visit).startswith("row_")
        visit.page.locator("#z1").fill("2")
        assert (len(visit.requests), visit.errors) == (asked, [])
        visit.page.reload()
        visit.page.locator("#verified", has_text="Verified").wait_for(timeout=READY_MS)
        draw(visit, across(9 / 12))
        assert label(visit).startswith("row_")
    assert all(url.startswith(address) for url in visit.requests)


@pytest.mark.slow
@one_variant
def test_a_page_whose_files_are_missing_says_which(page_dir: Path, tmp_path: Path) -> None:
    page = shutil.copytree(page_dir, tmp_path / "page")
    (page / "decoder.onnx").unlink()
    with served(page) as (address, _), chromium_page() as visit:
        visit.page.goto(address)
        said = "This page does not work here: decoder.onnx: HTTP status 404"
        visit.page.locator("#status", has_text=said).wait_for(timeout=READY_MS)


@pytest.mark.slow
@one_variant
def test_opened_as_a_file_the_page_says_that_it_needs_a_server(page_dir: Path) -> None:
    with chromium_page() as visit:
        visit.page.goto((page_dir / "index.html").as_uri())
        assert "browsers load no modules from file://" in " ".join(visit.page.locator("#status").inner_text().split())


DIGITS: dict[str, list[Stroke]] = {
    "0": [
        [
            (0.5, 0.2),
            (0.36, 0.3),
            (0.32, 0.5),
            (0.36, 0.7),
            (0.5, 0.8),
            (0.64, 0.7),
            (0.68, 0.5),
            (0.64, 0.3),
            (0.5, 0.2),
        ]
    ],
    "1": [[(0.52, 0.2), (0.48, 0.8)]],
    "2": [[(0.34, 0.32), (0.42, 0.22), (0.56, 0.22), (0.64, 0.34), (0.56, 0.52), (0.32, 0.78), (0.68, 0.78)]],
    "3": [[(0.36, 0.24), (0.56, 0.22), (0.62, 0.34), (0.48, 0.48), (0.64, 0.6), (0.6, 0.76), (0.36, 0.78)]],
    "4": [[(0.38, 0.22), (0.34, 0.52), (0.66, 0.52)], [(0.62, 0.22), (0.6, 0.8)]],
    "7": [[(0.32, 0.24), (0.66, 0.24), (0.46, 0.8)]],
}


@pytest.mark.slow
@needs_mnist
def test_drawn_digits_are_labelled_by_a_model_of_real_mnist_at_any_size_and_place(
    mnist_export: Path, web_runtime: dict[str, bytes], tmp_path: Path
) -> None:
    write_page(ExportDirectory.open(mnist_export), tmp_path / "page", web_runtime)
    with opened(tmp_path / "page") as visit:
        assert_golden(visit, mnist_export)
        for digit, strokes in DIGITS.items():
            for scale, shift in ((1, 0), (0.4, 0.02)):
                draw(visit, *[[(x * scale + shift, y * scale + shift) for x, y in stroke] for stroke in strokes])
                assert label(visit) == digit
                seen = shown(visit, "#seen")[..., 0].astype(float)
                ink = np.argwhere(seen > 0)
                assert 18 <= (np.ptp(ink, axis=0) + 1).max() <= 22  # fills the box of 20, its edges smoothed
                y, x = (seen[..., None] * np.indices((28, 28)).transpose(1, 2, 0)).sum((0, 1)) / seen.sum()
                assert max(abs(y - 13.5), abs(x - 13.5)) <= 0.5  # centred by mass
                visit.page.get_by_role("button", name="Clear").click()
                visit.page.locator("#label", has_text="Draw something").wait_for()
