"""Preparation of image files on the browser page, run by Node: the pixels are Python's."""

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from drawn_files import png16
from PIL import Image

from aae_toolkit.data.images import read_noted
from aae_toolkit.data.preparation import Preparation

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node here: apt-get install nodejs")

STATIC = REPOSITORY / "aae_toolkit" / "web" / "static"
SCRIPT = """
import { readFile } from "node:fs/promises";
import { readDeepPng } from "./deep.js";
import { prepare } from "./prepare.js";

const { path, rgba, width, height, shape, preparation, border } = JSON.parse(await readFile("case.json", "utf8"));
let found = { rgba, width, height, notes: [] };
try {
  if (path) {
    const read = await readDeepPng(new File([await readFile(path)], "a.png"), preparation);
    found = read.isDeep ? { ...found, notes: read.notes(rgba) } : read;
  }
  const { pixels, notes } = prepare(found.rgba, found.width, found.height, shape, preparation, border);
  console.log(JSON.stringify({ pixels: [...pixels], notes: [...found.notes, ...notes] }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's modules, as Node takes them."""
    directory = tmp_path_factory.mktemp("page")
    for name in ("deep.js", "pixels.js", "prepare.js"):
        shutil.copy(STATIC / name, directory)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "run.js").write_text(SCRIPT)
    return directory


def on_page(page, shape, preparation, border=None, rgba=None, path=None):
    """Pixels [C, H, W] and notes of an image, given as RGBA [H, W, 4], as a canvas has it, or as a file."""
    case = {"shape": shape, "preparation": asdict(preparation), "border": border, "path": path and str(path)}
    if rgba is not None:
        case |= {"rgba": rgba.ravel().tolist(), "width": rgba.shape[1], "height": rgba.shape[0]}
    (page / "case.json").write_text(json.dumps(case))
    done = subprocess.run(["node", "run.js"], cwd=page, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    return found if "error" in found else (np.reshape(found["pixels"], shape), found["notes"])


def similar(notes):
    """Notes without the advice that a page cannot follow."""
    return [note.partition(";")[0] for note in notes]


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("size", [(23, 41), (41, 23), (1, 90)])
@pytest.mark.parametrize(("channels", "invert"), [(1, "yes"), (3, "auto"), (3, "no")])
def test_pixels_are_those_of_python(page, tmp_path, fit, size, channels, invert):
    rgba = np.random.default_rng(size[0]).integers(0, 256, (*size, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    rgba[0, :, :3], rgba[:, 0, :3] = 250, 250
    Image.fromarray(rgba).save(tmp_path / "a.png")
    preparation = Preparation(fit=fit, invert=invert, background=(200, 100, 50))
    shape = channels, 12, 10
    expected = read_noted(tmp_path / "a.png", shape, preparation, border=20.0)
    pixels, notes = on_page(page, shape, preparation, 20.0, rgba)
    assert np.abs(pixels - expected.pixels).max() <= 1
    assert notes == similar(expected.notes)


@pytest.mark.parametrize(
    ("border", "usual"), [(250, 10.0), (10, 250.0), (160, 10.0), (100, 250.0), (250, 250.0), (128, 10.0), (250, None)]
)
def test_an_opposite_border_is_noted_as_in_python(page, tmp_path, border, usual):
    Image.new("L", (6, 6), border).save(tmp_path / "a.png")
    rgba = np.full((6, 6, 4), border, np.uint8)
    expected = similar(read_noted(tmp_path / "a.png", (1, 6, 6), border=usual).notes)
    assert on_page(page, (1, 6, 6), Preparation(), usual, rgba)[1] == expected


@pytest.mark.parametrize("limits", [None, (0, 4095), (0, 1023), (100, 3000), (0, 0.5)])
@pytest.mark.parametrize("transparent", [None, 77])
def test_grey_png_files_of_16_bits_are_python_s(page, tmp_path, limits, transparent):
    values = np.random.default_rng(0).integers(0, 4096, (11, 13))
    values[3, 4] = 77
    path = png16(tmp_path / "a.png", values, transparent, filters=True)
    preparation = Preparation(range=limits, background=(9, 9, 9))
    expected = read_noted(path, (1, 11, 13), preparation)
    pixels, notes = on_page(page, (1, 11, 13), preparation, path=path)
    assert np.abs(pixels - expected.pixels).max() <= 1
    assert notes == list(expected.notes)


def test_colours_of_16_bits_are_noted_or_refused_as_in_python(page, tmp_path):
    path = png16(tmp_path / "a.png", np.full((4, 4, 3), 4000))
    canvas = np.full((4, 4, 4), 15, np.uint8)
    canvas[..., 3] = 255
    expected = read_noted(path, (3, 4, 4))
    pixels, notes = on_page(page, (3, 4, 4), Preparation(), rgba=canvas, path=path)
    assert (pixels == expected.pixels).all()
    assert notes == list(expected.notes) == ["uses at most a quarter of the range 0-65535"]
    refused = on_page(page, (3, 4, 4), Preparation(range=(0, 4095)), rgba=canvas, path=path)
    assert "16 bits per channel in colour, and the model takes values of 0-4095" in refused["error"]


def test_a_damaged_png_of_16_bits_is_refused(page, tmp_path):
    path = png16(tmp_path / "a.png", np.full((4, 4), 4000))
    path.write_bytes(path.read_bytes()[:48])
    assert on_page(page, (1, 4, 4), Preparation(), path=path) == {"error": "a.png is a damaged image"}


DROPPED = """
const handlers = {};
globalThis.document = { body: { classList: { add() {}, remove() {} } } };
globalThis.addEventListener = (name, handle) => (handlers[name] = handle);
const input = { files: [], addEventListener: globalThis.addEventListener };
const { onImageFile } = await import("./files.js");
const found = [];
onImageFile(input, (file, notes) => found.push([file, notes]));
for (const files of [["a"], ["b", "c", "d"], []]) {
  handlers.drop({ preventDefault() {}, dataTransfer: { files } });
  input.files = files;
  handlers.change();
}
console.log(JSON.stringify(found));
"""


def test_files_beside_the_first_are_said(page):
    shutil.copy(STATIC / "files.js", page)
    (page / "drop.js").write_text(DROPPED)
    done = subprocess.run(["node", "drop.js"], cwd=page, capture_output=True, text=True, check=True, timeout=60)
    expected = [["a", []]] * 2 + [["b", ["first of 3 files"]]] * 2
    assert json.loads(done.stdout) == expected
