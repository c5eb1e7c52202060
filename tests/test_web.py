import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_source
from exports import copy_with_only, one_variant
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.web import runtime
from aae_toolkit.web.runtime import runtime_files
from aae_toolkit.web.samples import sample_images
from aae_toolkit.web.web_page import write_page

NO_RUNTIME = {"ort.js": b"", "ort.wasm": b"", "package.json": b"{}"}
STATIC = resources.files("aae_toolkit.web").joinpath("static")
PAGE_BYTES = 300_000  # of everything but the runtime and the networks


def written(page: Path) -> set[str]:
    return {str(file.relative_to(page)) for file in page.rglob("*") if file.is_file()}


# the page


def test_a_page_is_its_own_files_the_runtime_both_networks_and_the_golden_vectors(
    export_dir: Path, tmp_path: Path
) -> None:
    sizes = write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    assert sizes == {name: (tmp_path / name).stat().st_size for name in written(tmp_path)}
    own = {file.name for file in STATIC.iterdir()}
    model = {"classifier.onnx", "decoder.onnx", "model.json", "golden.json", "samples.json", "SHA256SUMS"}
    assert set(sizes) == own | model | {f"runtime/{name}" for name in NO_RUNTIME}
    for name in ("classifier.onnx", "decoder.onnx", "model.json"):
        assert (tmp_path / name).read_bytes() == (export_dir / name).read_bytes()
    assert sum(size for name, size in sizes.items() if not name.endswith(".onnx")) < PAGE_BYTES


@one_variant
def test_a_page_without_its_server_keeps_every_file_that_it_needs(export_dir: Path, tmp_path: Path) -> None:
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    listed = re.search(r"FILES = (\[[^\]]*\])", (tmp_path / "offline.js").read_text())
    assert listed is not None
    kept = set(json.loads(re.sub(r",\s*\]", "]", listed[1])))
    assert kept == written(tmp_path) - {"SHA256SUMS", "offline.js", "runtime/package.json"} | {"./"}


@one_variant
def test_the_checksums_of_a_page_are_those_of_its_files(export_dir: Path, tmp_path: Path) -> None:
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    lines = [line.split("  ") for line in (tmp_path / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == written(tmp_path) - {"SHA256SUMS"}
    assert all(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest for digest, name in lines)


def test_a_page_names_no_other_host() -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(https?:)?//[a-z]", text.replace("//\n", "")), file.name


def test_a_page_has_the_golden_vectors_of_its_export(export_dir: Path, tmp_path: Path) -> None:
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    found = json.loads((tmp_path / "golden.json").read_text())
    with np.load(export_dir / "golden.npz") as golden:
        for network, sides in found.items():
            for side, tensors in sides.items():
                for name, tensor in tensors.items():
                    values = np.frombuffer(base64.b64decode(tensor["base64"]), tensor["type"]).reshape(tensor["dims"])
                    np.testing.assert_array_equal(values, golden[f"{network}.{side.removesuffix('s')}.{name}"])
    assert {network: {side: set(tensors) for side, tensors in sides.items()} for network, sides in found.items()} == {
        "classifier": {"inputs": {"images"}, "outputs": {"label", "probabilities", "category"}},
        "decoder": {"inputs": {"y", "z"}, "outputs": {"images"}},
    }


@one_variant
@pytest.mark.parametrize("damaged", ["classifier.onnx", "decoder.onnx", "model.json", "golden.npz"])
def test_no_page_is_made_of_a_damaged_export(export_dir: Path, tmp_path: Path, damaged: str) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / damaged).write_bytes((export / damaged).read_bytes()[:-1] + b"x")
    with refused(damaged, "is damaged"):
        write_page(ExportDirectory.open(export), tmp_path / "page", NO_RUNTIME)
    assert not (tmp_path / "page").exists()


@one_variant
def test_a_page_needs_onnx_files(export_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx", "decoder.pt2")
    with refused("has no decoder.onnx, which a page needs; export with --format onnx"):
        write_page(ExportDirectory.open(export), tmp_path / "page", NO_RUNTIME)


@one_variant
def test_an_earlier_page_is_replaced_and_another_one_is_kept(export_dir: Path, tmp_path: Path) -> None:
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    (tmp_path / "main.js").write_text("of an earlier version")
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    assert (tmp_path / "main.js").read_text() == STATIC.joinpath("main.js").read_text()
    (tmp_path / "index.html").write_text("<!doctype html><title>mine</title>")
    with refused(tmp_path / "index.html", "was not written by aae web, and is kept"):
        write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    assert "mine" in (tmp_path / "index.html").read_text()


@one_variant
def test_a_page_replaces_no_data_model_or_export(
    export_dir: Path, model_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    for name, original in {"data": data_dir, "model": model_dir, "export": export_dir}.items():
        directory = shutil.copytree(original, tmp_path / name)
        before = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        with refused(f"{directory} holds ", "so a page would replace files of it; give a directory of its own"):
            write_page(ExportDirectory.open(export_dir), directory, NO_RUNTIME)
        assert {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()} == before


@one_variant
def test_a_page_that_cannot_be_written_whole_has_no_index(
    export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    real = Path.write_bytes

    def full_disk(path: Path, content: bytes) -> int:
        if "decoder" in path.name:
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with refused(f"page {tmp_path} cannot be written: No space left on device"):
        write_page(ExportDirectory.open(export_dir), tmp_path, NO_RUNTIME)
    assert "index.html" not in written(tmp_path)


# the command


@one_variant
def test_the_command_writes_the_page_of_an_export(
    export_dir: Path, tmp_path: Path, web_runtime: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "a page"
    assert run(["web", str(export_dir), str(page)]) == 0
    said = capsys.readouterr().out
    assert "--data DATA puts some validation images on it" in said
    assert f"python -m http.server --directory '{page}'" in said
    assert (page / "classifier.onnx").read_bytes() == (export_dir / "classifier.onnx").read_bytes()
    assert {name: (page / "runtime" / name).read_bytes() for name in NO_RUNTIME} == web_runtime


@one_variant
def test_the_page_of_an_export_needs_no_torch(
    data_dir: Path, export_dir: Path, tmp_path: Path, web_runtime: dict[str, bytes]
) -> None:
    code = """
import sys
from aae_toolkit.cli.app import run
status = run(sys.argv[1:])
assert not {"torch", "onnx", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
sys.exit(status)
"""
    command = ["web", str(export_dir), str(tmp_path), "--data", str(data_dir)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "index.html").is_file()


@one_variant
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "Missing argument 'EXPORT'"),
        (["E"], 2, "Missing argument 'DIR'"),
        (["E", "PAGE", "--opset", "20"], 2, "No such option: --opset"),
        (["NO ONNX", "PAGE"], 1, "has no classifier.onnx, decoder.onnx, which a page needs; export with --format onnx"),
        (["M", "PAGE"], 1, "is a model directory, not an export directory; write one with: aae export --model"),
        (["E", "PAGE", "--web-runtime", "absent"], 1, "--web-runtime absent does not exist"),
        (["E", "OTHER"], 1, "was not written by aae web"),
        (["E", "PAGE", "--data", "absent"], 1, "data directory absent does not exist"),
        (["E", "PAGE", "--data", "M"], 1, "data directory"),
    ],
)
def test_a_page_that_cannot_be_is_one_line_and_nothing_is_written(
    model_dir: Path,
    export_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    places = {"M": model_dir, "E": export_dir, "PAGE": tmp_path / "page", "OTHER": tmp_path / "other"}
    if "NO ONNX" in arguments:
        places["NO ONNX"] = copy_with_only(export_dir, tmp_path / "export", "classifier.pt2")
    assert run(["web", *(str(places.get(argument, argument)) for argument in arguments)]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "page").exists()
    assert (tmp_path / "other" / "index.html").read_text() == "mine"


@one_variant
def test_samples_are_validation_images_in_turn_from_each_class(
    data_dir: Path, export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, data = ExportDirectory.open(export_dir), DataDirectory(data_dir)
    samples = sample_images(export, data)
    assert samples.labels.tolist() == ([0, 1, 2] * 6)[:16]
    validation = data.load("validation")
    for image, label in zip(samples.images, samples.labels, strict=True):
        [index] = np.flatnonzero((validation.images == image).all(axis=(1, 2, 3)))
        assert validation.labels[index] == label
    write_page(export, tmp_path, NO_RUNTIME, samples)
    written_samples = json.loads((tmp_path / "samples.json").read_text())
    assert written_samples["labels"] == samples.labels.tolist()
    pixels = np.frombuffer(base64.b64decode(written_samples["images"]["base64"]), np.uint8)
    np.testing.assert_array_equal(pixels.reshape(written_samples["images"]["dims"]), samples.images)
    monkeypatch.setattr("aae_toolkit.web.samples._MOST_BYTES", 5 * 36)
    assert len(sample_images(export, data)) == 5
    monkeypatch.setattr("aae_toolkit.web.samples._MOST_BYTES", 1)
    assert len(sample_images(export, data)) == 1


@one_variant
def test_samples_of_other_classes_have_no_label_and_other_shapes_are_refused(export_dir: Path, tmp_path: Path) -> None:
    export, source = ExportDirectory.open(export_dir), tiny_source()
    other = replace(source, class_names=("row_2", "unknown", "row_0"))
    write_data_directory(tmp_path / "other", other, None, None, None, seed=0)
    assert set(sample_images(export, DataDirectory(tmp_path / "other")).labels.tolist()) == {2, -1, 0}
    unlabelled = replace(source, labels=np.full_like(source.labels, -1), class_names=())
    write_data_directory(tmp_path / "unlabelled", unlabelled, 0, 60, 60, seed=0)
    samples = sample_images(export, DataDirectory(tmp_path / "unlabelled"))
    write_page(export, tmp_path / "page", NO_RUNTIME, samples)
    assert json.loads((tmp_path / "page" / "samples.json").read_text())["labels"] == [None] * 16
    write_data_directory(tmp_path / "colour", tiny_source(channels=3), None, None, None, seed=0)
    with refused("the model takes images (1, 6, 6)"):
        sample_images(export, DataDirectory(tmp_path / "colour"))
    write_data_directory(tmp_path / "none", source, 30, 0, 60, seed=0)
    with refused("has no validation images to show on a page"):
        sample_images(export, DataDirectory(tmp_path / "none"))


def test_an_export_that_is_none_has_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["web", str(tmp_path), str(tmp_path / "page")]) == 1
    assert "holds no manifest.json" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


# the runtime


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user, and a package that stands for the pinned one; its file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in runtime._FILES:
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(path)
            archive.addfile(member, io.BytesIO(path.encode()))
    package = tmp_path / "package.tgz"
    package.write_bytes(packed.getvalue())
    monkeypatch.setattr(runtime, "INTEGRITY", runtime._integrity(packed.getvalue()))
    hashes = {path: hashlib.sha256(path.encode()).hexdigest() for path in runtime._FILES}
    monkeypatch.setattr(runtime, "_SHA256", hashes)
    return package


EXPECTED = {name: path.encode() for path, name in runtime._FILES.items()}


def put_npm(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make `script` the only npm; it finds the directory to write into as $5."""
    directory.mkdir()
    (directory / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_npm_gets_the_pinned_version_once_and_a_damaged_copy_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    put_npm(tmp_path / "bin", monkeypatch, f'echo "$@" >> {calls}; cp {cache} "$5"')
    assert runtime_files() == runtime_files() == EXPECTED
    [kept] = (tmp_path / "cache" / "aae_toolkit").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    assert runtime_files() == EXPECTED
    asked = calls.read_text().splitlines()
    assert len(asked) == 2
    assert all(line.startswith(f"pack {runtime.PACKAGE}@{runtime.VERSION} ") for line in asked)


def test_without_npm_the_line_says_how_to_bring_the_runtime(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with refused("npm, which gets onnxruntime-web", "is not installed; --web-runtime takes the package"):
        runtime_files()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'npm error code ENOTFOUND' >&2; exit 1",
            "npm could not get onnxruntime-web 1.30.0 (npm error code ENOTFOUND)",
        ),
        ("exit 7", "(exit status 7)"),
        ("true", "npm could not get"),
        ('echo other > "$5/x.tgz"', "npm got another content of onnxruntime-web"),
        ("exec sleep 5", "npm had not got onnxruntime-web 1.30.0 in 0.2 s"),
    ],
)
def test_what_npm_cannot_get_is_one_line_and_nothing_is_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    put_npm(tmp_path / "bin", monkeypatch, script)
    if "sleep" in script:
        monkeypatch.setattr(runtime, "_DOWNLOAD_SECONDS", 0.2)
    with refused(said, "--web-runtime takes the package"):
        runtime_files()
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_npm(tmp_path / "bin", monkeypatch, f'cp {cache} "$5"')
    (tmp_path / "cache").write_text("a file where the directory would be")
    with refused(f"cache {tmp_path / 'cache' / 'aae_toolkit'} cannot be written: ", "--web-runtime takes the package"):
        runtime_files()


def test_a_packed_or_an_installed_package_may_be_brought(cache: Path, tmp_path: Path) -> None:
    assert runtime_files(cache) == EXPECTED
    with tarfile.open(cache) as archive:
        archive.extractall(tmp_path / "node_modules", filter="data")
    assert runtime_files(tmp_path / "node_modules" / "package") == EXPECTED
    assert not (tmp_path / "cache").exists()


def test_another_package_than_the_pinned_one_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    with refused("package.tgz is not onnxruntime-web 1.30.0 as npm packs it"):
        runtime_files(cache)
    with refused(f"{tmp_path} holds no dist/ort.wasm.bundle.min.mjs; --web-runtime takes the package"):
        runtime_files(tmp_path)
    for path in runtime._FILES:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("another version")
    with refused("ort.wasm.bundle.min.mjs is not that of onnxruntime-web 1.30.0"):
        runtime_files(tmp_path)


def test_the_pinned_runtime_is_the_smallest_build(web_runtime: dict[str, bytes]) -> None:
    assert web_runtime.keys() == NO_RUNTIME.keys()
    assert json.loads(web_runtime["package.json"])["version"] == runtime.VERSION
    assert f"ONNX Runtime Web v{runtime.VERSION}".encode() in web_runtime["ort.js"][:200]
    assert web_runtime["ort.wasm"].startswith(b"\0asm")
    assert len(web_runtime["ort.wasm"]) < 15_000_000  # with WebGPU it would be 27 MB
