"""Exported files on the oldest ONNX Runtime that `pyproject.toml` allows, and on the oldest that the manifest names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from conftest import REPOSITORY
from exports import add_image_classifier, one_variant
from PIL import Image

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.export.contract import Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import IMAGE_FILE, ArtifactEntry, read_manifest
from aae_toolkit.export.writer import export_model
from aae_toolkit.parity.reduction import add_reduced
from aae_toolkit.progress import Silent

[ALLOWED] = re.findall(r'"onnxruntime>=([\d.]+)"', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
NAMED = "1.18"  # of files of opset 18
NUMPY = {"1.18": ["numpy==1.26.4"]}  # it was built for numpy 1
REPLAY = """
import sys
import numpy as np, onnxruntime as ort
directory, file, artifact = sys.argv[1:]
golden = np.load(f"{directory}/golden.npz")
session = ort.InferenceSession(f"{directory}/{file}")
feeds = {i.name: golden[f"{artifact}.input.{i.name}"] for i in session.get_inputs()}
found = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
floats = [name for name in found if found[name].dtype.kind == "f"]
print(ort.__version__, max(float(np.abs(found[n] - golden[f"{artifact}.output.{n}"]).max()) for n in floats))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories with an old ONNX Runtime each, by version; a version that pip cannot get is left out."""
    found = {}
    for version in dict.fromkeys((ALLOWED, NAMED)):
        path = tmp_path_factory.mktemp("onnxruntime") / version
        packages = [f"onnxruntime=={version}.*", *NUMPY.get(version, [])]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(path), *packages]
        if subprocess.run(command, capture_output=True, check=False, timeout=300).returncode == 0:
            found[version] = path
    return found


def on(installed: dict[str, Path], version: str, *command: str) -> str:
    if version not in installed:
        pytest.skip(f"pip cannot get onnxruntime {version} for Python {sys.version.split()[0]} here")
    environment = os.environ | {"PYTHONPATH": f"{installed[version]}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize("version", [ALLOWED, NAMED])
def test_exported_files_run_on_an_old_onnxruntime(
    version: str, installed: dict[str, Path], export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    export = Path(shutil.copytree(export_dir, tmp_path / "export"))
    opened, data = ExportDirectory.open(export), DataDirectory(data_dir)
    opened = add_reduced(opened, "int8", data, device="cpu", force=True, progress=Silent())
    files = [entry for entry in opened.artifacts if entry.format == Format.ONNX]
    assert {entry.oldest_onnxruntime for entry in files} == {NAMED}
    assert len(files) == 4
    for entry in files:
        ran_on, worst = on(installed, version, "-c", REPLAY, str(export), entry.file, entry.artifact).split()
        assert ran_on.startswith(f"{version}.")
        assert float(worst) < (1e-4 if entry.precision == "fp32" else 0.3)
    image = tmp_path / "image.png"
    Image.fromarray(data.load("test").images[0, 0]).save(image)
    command = ["-m", "aae_toolkit", "predict", "--model", str(export / "classifier.onnx"), str(image), "--json"]
    predicted = json.loads(on(installed, version, *command))
    assert predicted["label"] == data.load("test").labels[0]


IMAGE_REPLAY = """
import sys
import numpy as np, onnxruntime as ort
path, images, output = sys.argv[1:]
session, given = ort.InferenceSession(path), np.load(images)
np.savez(output, **{name: session.run(None, {"image": given[name]})[1] for name in given.files})
"""


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize("version", [ALLOWED, NAMED])
def test_decoded_images_get_the_same_probabilities_on_an_old_onnxruntime(
    version: str, installed: dict[str, Path], export_dir: Path, tmp_path: Path
) -> None:
    export = add_image_classifier(Path(shutil.copytree(export_dir, tmp_path / "export")))
    path, rng = export.path / IMAGE_FILE, np.random.default_rng(0)
    shapes = [(2, 12, 9, channels) for channels in (1, 2, 3, 4)] + [(1, 1, 1, 1), (1, 1, 90, 4), (1, 300, 7, 3)]
    images = {f"image_{i}": rng.integers(0, 256, shape, dtype=np.uint8) for i, shape in enumerate(shapes)}
    np.savez(tmp_path / "images.npz", **images)  # type: ignore[arg-type]  # numpy's stub takes kwargs for a flag
    on(installed, version, "-c", IMAGE_REPLAY, str(path), str(tmp_path / "images.npz"), str(tmp_path / "found.npz"))
    session, found = ort.InferenceSession(path), np.load(tmp_path / "found.npz")
    for name, image in images.items():
        np.testing.assert_allclose(found[name], session.run(None, {"image": image})[1], atol=1e-5)


@pytest.mark.parametrize(
    ("opset", "ir_version", "oldest"),
    [(18, 10, "1.18"), (21, 10, "1.18"), (22, 10, "1.21"), (18, 11, "1.23"), (23, 10, "1.23"), (25, 13, "1.24"),
     (99, 10, None), (None, None, None)],
)  # fmt: skip
def test_the_oldest_onnxruntime_follows_from_opset_and_ir_version(
    opset: int | None, ir_version: int | None, oldest: str | None, export_dir: Path
) -> None:
    entry = read_manifest(export_dir).artifacts[0].model_copy(update={"opset": opset, "ir_version": ir_version})
    assert entry.oldest_onnxruntime == oldest
    again = ArtifactEntry.model_validate_json(entry.model_dump_json())
    assert (again, again.oldest_onnxruntime) == (entry, oldest)


@one_variant
def test_manifest_card_and_verify_name_the_oldest_onnxruntime(
    export_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((export_dir / "manifest.json").read_text(encoding="utf-8"))
    named = {entry["file"]: entry["oldest_onnxruntime"] for entry in content["artifacts"]}
    assert named["classifier.onnx"] == NAMED
    assert named["classifier.pt2"] is None
    card = (export_dir / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"- ONNX files: ONNX Runtime {NAMED} or newer" in card
    assert run(["verify", str(export_dir)]) == 0
    assert f"its ONNX files run on ONNX Runtime {NAMED} or newer" in capsys.readouterr().out
    assert run(["verify", str(export_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["oldest_onnxruntime"] == NAMED


@one_variant
def test_a_newer_opset_needs_a_newer_onnxruntime(model_dir: Path, tmp_path: Path) -> None:
    written = export_model(model_dir, tmp_path, (Format.ONNX,), Silent(), opset=25)
    [oldest] = {entry.oldest_onnxruntime for entry in written.artifacts}
    assert oldest == written.manifest.oldest_onnxruntime == "1.24"
