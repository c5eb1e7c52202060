"""Files made to do harm: each is refused in one line, and each test would see the harm if it were done."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import copy_with_only, one_variant, rerecord
from mutation import MEMORY, Target, read_in_child
from PIL import Image
from refusals import refused

from aae_toolkit.backends import registry
from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.backends.registry import open_backend
from aae_toolkit.cli.app import run
from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.config import load_config
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.images import read_image
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.files import sha256
from aae_toolkit.files.archives import check_archive, read_npz
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.training.checkpoint import load_checkpoint


class Touch:
    """Unpickled, it writes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def pickles(canary: Path) -> dict[str, bytes]:
    """The same object as Python, torch's old format and torch's new one have it."""
    found = {"python": pickle.dumps(Touch(canary))}
    for name, new in (("old torch", False), ("torch", True)):
        written = io.BytesIO()
        torch.save({"format": "aae-checkpoint-3", "x": Touch(canary)}, written, _use_new_zipfile_serialization=new)
        found[name] = written.getvalue()
    return found


@pytest.fixture
def export(export_dir: Path, tmp_path: Path) -> Path:
    return copy_with_only(export_dir, tmp_path / "export")


def rewritten(path: Path, **members: bytes) -> None:
    """Replace members of an archive, by the last part of their names, or add them."""
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, value in members.items():
        content[next((full for full in content if full.endswith(name)), name)] = value
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)


def opened(directory: Path, backend: str, file: str) -> None:
    rerecord(directory)
    read_manifest(directory).verify(directory)
    open_backend(ExportDirectory.open(directory), Runnable("classifier", backend, file))  # type: ignore[arg-type]


def test_the_canary_sings_where_a_pickle_is_run(pickles: dict[str, bytes], canary: Path) -> None:
    for name, content in pickles.items():
        if name == "python":
            pickle.loads(content)
        else:
            torch.load(io.BytesIO(content), weights_only=False)
        canary.rmdir()


@pytest.mark.parametrize("kind", ["python", "old torch", "torch"])
def test_a_pickle_in_a_checkpoint_runs_nothing(
    pickles: dict[str, bytes], canary: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(pickles[kind])
    with refused("damaged or not a checkpoint"):
        load_checkpoint(tmp_path)
    assert not canary.exists()


@pytest.mark.parametrize("form", ["npz", "npy", "python"])
def test_a_pickle_in_a_data_set_runs_nothing(
    data_dir: Path, canary: Path, pickles: dict[str, bytes], tmp_path: Path, form: str
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data_dir, copy)
    path, objects = copy / "test.npz", np.array([Touch(canary)] * 60, dtype=object)
    with path.open("wb") as file:
        if form == "npz":
            np.savez(file, images=objects, labels=objects)
        elif form == "npy":
            np.save(file, objects, allow_pickle=True)
        else:
            file.write(pickles["python"])
    index = json.loads((copy / "dataset.json").read_text())
    index["splits"]["test"]["sha256"] = sha256(path)
    (copy / "dataset.json").write_text(json.dumps(index))
    for mapped in (False, True):
        with refused(path, "is not a split"):
            DataDirectory(copy).load("test", mapped=mapped)
    assert not canary.exists()


@one_variant
@pytest.mark.parametrize("kind", ["python", "old torch", "torch"])
@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl", "whole"])
def test_a_pickle_in_a_torchscript_archive_runs_nothing(
    export: Path, pickles: dict[str, bytes], canary: Path, kind: str, member: str
) -> None:
    path = export / "classifier.torchscript.pt"
    if member == "whole":
        path.write_bytes(pickles[kind])
    else:
        rewritten(path, **{member: pickles[kind]})
    with refused("classifier.torchscript.pt is damaged or not TorchScript"):
        opened(export, "torchscript", path.name)
    assert not canary.exists()


@one_variant
@pytest.mark.parametrize("kind", ["python", "old torch", "torch"])
@pytest.mark.parametrize("member", ["sample_inputs/model.pt", "weights/weight_0", "whole"])
def test_a_pickle_in_a_torch_export_archive_runs_nothing(
    export: Path, pickles: dict[str, bytes], canary: Path, kind: str, member: str
) -> None:
    path = export / "classifier.pt2"
    if member == "whole":
        path.write_bytes(pickles[kind])
    else:
        rewritten(path, **{member: pickles[kind]})
        if member.startswith("weights"):  # torch unpickles a weight where its index says so
            with zipfile.ZipFile(path) as archive:
                [name] = [name for name in archive.namelist() if name.endswith("model_weights_config.json")]
                config = json.loads(archive.read(name))
            for entry in config["config"].values():
                entry["use_pickle"] = True
            rewritten(path, **{"model_weights_config.json": json.dumps(config).encode()})
    with refused("classifier.pt2 is damaged or not a torch.export archive"):
        opened(export, "torch-export", path.name)
    assert not canary.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@one_variant
@pytest.mark.parametrize("place", ["expression", "guard", "operator"])
def test_code_in_a_torch_export_archive_is_not_run(export: Path, canary: Path, place: str) -> None:
    path, code = export / "classifier.pt2", f"__import__('os').mkdir({str(canary)!r})"
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("models/model.json")]
        program = archive.read(name).decode()
    if place == "expression":
        changed = program.replace("Symbol('", f"{code} or Symbol('", 1)
    elif place == "guard":
        changed = program.replace('"guards_code": []', f'"guards_code": {json.dumps([code])}')
    else:
        changed = program.replace("torch.ops.aten.linear.default", "torch.ops.aten.from_file.default", 1)
    assert changed != program
    rewritten(path, **{"models/model.json": changed.encode()})
    with refused("classifier.pt2 is damaged or not a torch.export archive (it "):
        opened(export, "torch-export", path.name)
    assert not canary.exists()


@one_variant
def test_machine_code_in_a_torch_export_archive_is_not_loaded(export: Path) -> None:
    name = "classifier/data/aotinductor/model/model.wrapper.so"
    rewritten(export / "classifier.pt2", **{name: b"\x7fELF"})
    with refused("it holds machine code, which torch would load"):
        opened(export, "torch-export", "classifier.pt2")


@one_variant
def test_torchscript_that_would_write_a_file_is_not_loaded(export: Path, canary: Path) -> None:
    class Writes(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.from_file(self.path, True, 4)

    torch.jit.save(torch.jit.script(Writes(str(canary))), str(export / "classifier.torchscript.pt"))
    with refused("its code calls from_file, which opens files"):
        opened(export, "torchscript", "classifier.torchscript.pt")
    assert not canary.exists()


@one_variant
@pytest.mark.parametrize("backend", ["torchscript", "torch-export", "onnxruntime"])
def test_a_file_without_a_checksum_is_loaded_on_trust_alone(
    export: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    manifest = read_manifest(export)
    files = {"torchscript": "classifier.torchscript.pt", "torch-export": "classifier.pt2"}
    file = files.get(backend, "classifier.onnx")
    copy = copy_with_only(export, export.with_name("only"), file)
    checksums = {name: found for name, found in manifest.sha256.items() if name != file}
    content = json.loads((copy / "manifest.json").read_text()) | {"sha256": checksums}
    (copy / "manifest.json").write_text(json.dumps(content))
    at = ["--export", str(copy)]
    for command in (
        ["parity", *at, "--data", str(data_dir)],
        ["bench", *at, "--batch-sizes", "1", "--threads", "1", "--rounds", "5", "--backends", backend],
        ["verify", str(copy)],
    ):
        assert run(command) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"has no checksum of {file}" in error
        assert "--trust" in error
    assert run(["verify", str(copy), "--trust"]) == 0
    assert "every checksum that is there holds" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "..\\out", "C:/out"])
def test_a_member_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ValueError, match="leads outside of it; it cannot be trusted"):
        check_archive(tmp_path / "a.npz")


def test_a_member_that_is_a_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("labels.npy")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(ValueError, match="is a link"):
        check_archive(tmp_path / "a.npz")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(ValueError, match="same name"):
        check_archive(tmp_path / "a.npz")


@pytest.mark.parametrize("wanted", ["images", "labels"])
def test_an_archive_bomb_is_refused_before_it_is_unpacked(data_dir: Path, tmp_path: Path, wanted: str) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data_dir, copy)
    arrays = {"images": np.zeros((60, 1, 6, 6), np.uint8), "labels": np.zeros(60, np.int64)}
    arrays[wanted] = np.zeros(10**7, np.uint8)
    np.savez_compressed(copy / "test.npz", **arrays)
    assert (copy / "test.npz").stat().st_size < 10**6
    index = json.loads((copy / "dataset.json").read_text())
    index["splits"]["test"]["sha256"] = sha256(copy / "test.npz")
    (copy / "dataset.json").write_text(json.dumps(index))
    with refused("it is compressed, and would decompress to more than allowed"):
        DataDirectory(copy).load("test")


def test_a_header_that_promises_more_than_the_file_has_costs_no_memory(tmp_path: Path) -> None:
    header = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
    header += repr({"descr": "|u1", "fortran_order": False, "shape": (10**12,)}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header + bytes(100))

    def read() -> None:
        with pytest.raises(ValueError, match=r"allocate|ends early|EOF|reading array data"):
            read_npz(tmp_path / "a.npz")

    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "scratch").mkdir()
    assert read_in_child(Target(tmp_path / "a.npz", read), [whole], tmp_path / "scratch") == {"clean": 1}
    assert MEMORY < 10**12


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A grey PNG that says it is of this size; its pixels are as many as `rows`, compressed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 20_000, 2**31 - 1])
def test_a_picture_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png(side, side, bytes(10**6)))
    with refused("a.png: ", "scale it down to 67 million"):
        read_image(tmp_path / "a.png", (1, 4, 4))


def test_postscript_is_not_interpreted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_bytes(script)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with refused("a.png: EPS is not read"):
        read_image(tmp_path / "a.png", (1, 4, 4))


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_a_yaml_tag_calls_nothing(tmp_path: Path, canary: Path, tag: str) -> None:
    (tmp_path / "a.yaml").write_text(f"semi_supervised: {tag} [{canary}]\n")
    with refused("is not YAML", "could not determine a constructor"):
        load_config(tmp_path / "a.yaml", "semi_supervised")
    assert not canary.exists()


def alias_bomb(levels: int, leaf: str, holder: str) -> str:
    lines = [f"a0: &a0 {leaf}"]
    lines += [f"a{i}: &a{i} {holder % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, levels)]
    return "\n".join(lines) + f"\nsemi_supervised: *a{levels - 1}\n"


@pytest.mark.parametrize(
    "text",
    [
        alias_bomb(12, "x", "[%s]"),
        alias_bomb(12, "{k: 1}", "{<<: [%s]}"),
        "semi_supervised: &a [*a]\n",
        "semi_supervised: &a {<<: *a}\n",
    ],
)
def test_a_yaml_alias_bomb_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with refused("is not YAML: its aliases expand to more than 10000 values, or refer to themselves"):
        load_config(tmp_path / "a.yaml", "semi_supervised")


def test_a_yaml_alias_for_people_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "semi_supervised: {model: &m {hidden_size: 8, z_size: 3}}\nunsupervised: {model: {<<: *m, z_size: 4}}\n"
    )
    assert load_config(tmp_path / "a.yaml", "semi_supervised").model.z_size == 3
    found = load_config(tmp_path / "a.yaml", "unsupervised").model
    assert (found.hidden_size, found.z_size) == (8, 4)


@pytest.mark.parametrize("size", [2**17 + 1, 2**24])
def test_a_configuration_of_absurd_length_is_refused_unread(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.yaml").write_text("#" * size)
    with refused("larger than 128 KiB"):
        load_config(tmp_path / "a.yaml", "semi_supervised")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("model.json", "[" * 200_000, "nested too deeply"),
        ("model.json", '{"format": ' + "9" * 10_000 + "}", "not JSON"),
        ("model.json", " " * (2**24 + 1), "larger than 16 MiB"),
        ("model.json", '{"a": "\ud800"}', "not JSON"),
    ],
)
def test_absurd_json_is_refused(tmp_path: Path, file: str, text: str, said: str) -> None:
    (tmp_path / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    with refused(file, said):
        read_description(tmp_path)


@one_variant
@pytest.mark.parametrize("key", ["hidden_size", "n_classes", "z_size"])
def test_a_model_that_says_it_is_huge_takes_no_memory(model_dir: Path, tmp_path: Path, key: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    content = json.loads((copy / "model.json").read_text())
    content["architecture"] |= {"hidden_size": 65536, key: 65536}
    content["category_to_class"] = [0] * content["architecture"]["n_classes"]
    (copy / "model.json").write_text(json.dumps(content))
    path = copy / "encoder_semi_supervised.safetensors"

    def read() -> None:
        with refused("does not fit model.json", "bytes of weights"):
            load_model(copy)

    (tmp_path / "scratch").mkdir()
    assert read_in_child(Target(path, read), [path.read_bytes()], tmp_path / "scratch") == {"clean": 1}


ESCAPE = "a\x1b[2J\nb\u202e\u2066.png"
SHOWN = "a\\x1b[2J\\nb\\u202e\\u2066.png"


@one_variant
def test_a_name_that_would_move_the_cursor_is_shown_as_escapes(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ESCAPE).write_bytes(b"no image")
    Image.new("L", (6, 6)).save(tmp_path / f"b{ESCAPE}")
    files = [str(tmp_path / ESCAPE), str(tmp_path / f"b{ESCAPE}")]
    assert run(["predict", *files, "--model", str(export_dir / "classifier.onnx")]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert printed.out.count(SHOWN) == 2
    assert "\x1b" not in printed.out + printed.err
    assert run(["predict", files[0], "--model", str(tmp_path / ESCAPE)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a\\x1b[2J b\\u202e" in error  # of an error line, line ends are spaces


def test_a_name_that_the_terminal_has_no_letters_for_is_shown_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    progress = ConsoleProgress()
    monkeypatch.setattr(progress.console, "file", written)
    progress.say("größe :smile: [bold]\udcff")
    written.flush()
    assert written.buffer.getvalue() == b"gr\\xf6\\xdfe :smile: [bold]\\udcff\n"  # type: ignore[attr-defined]


@one_variant
@pytest.mark.parametrize("name", ["cat\x1b[2J", "cat\n| a | b |", "\u202ecat", "c\x00t"])
def test_a_class_whose_name_cannot_be_printed_is_refused(
    model_dir: Path, data_dir: Path, tmp_path: Path, name: str
) -> None:
    for directory, file in ((model_dir, "model.json"), (data_dir, "dataset.json")):
        copy = tmp_path / file
        shutil.copytree(directory, copy)
        content = json.loads((copy / file).read_text())
        content["class_names"][0] = name
        (copy / file).write_text(json.dumps(content))
        with refused(file, "'class_names.0': a name with characters that cannot be printed"):
            DataDirectory(copy) if file == "dataset.json" else load_model(copy)


LINKS = [
    ("data", "dataset.json", lambda data, model, export: DataDirectory(data)),
    ("data", "test.npz", lambda data, model, export: DataDirectory(data).load("test")),
    ("model", "model.json", lambda data, model, export: load_model(model)),
    ("model", "encoder_semi_supervised.safetensors", lambda data, model, export: load_model(model)),
    ("model", "checkpoint.pt", lambda data, model, export: load_checkpoint(model)),
    ("export", "manifest.json", lambda data, model, export: read_manifest(export)),
    ("export", "classifier.onnx", lambda data, model, export: read_manifest(export).verify(export)),
    ("export", "weights.safetensors", lambda data, model, export: read_manifest(export).verify(export)),
]


@one_variant
@pytest.mark.parametrize(("which", "file", "read"), LINKS)
@pytest.mark.parametrize("relative", [False, True])
def test_a_link_out_of_a_directory_is_not_read(
    data_dir: Path,
    model_dir: Path,
    export_dir: Path,
    tmp_path: Path,
    which: str,
    file: str,
    read: Callable[[Path, Path, Path], object],
    relative: bool,
) -> None:
    copies = {"data": data_dir, "model": model_dir, "export": export_dir}
    for name, original in copies.items():
        shutil.copytree(original, tmp_path / name)
    read(*(tmp_path / name for name in copies))
    shutil.move(tmp_path / which / file, tmp_path / "elsewhere")
    (tmp_path / which / file).symlink_to("../elsewhere" if relative else tmp_path / "elsewhere")
    with refused(file, "is a link that leads outside of its directory"):
        read(*(tmp_path / name for name in copies))


def test_a_link_within_its_directory_is_followed(data_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data_dir, copy)
    (copy / "test.npz").rename(copy / "renamed.npz")
    (copy / "test.npz").symlink_to("renamed.npz")
    assert len(DataDirectory(copy).load("test")) == 60


@one_variant
@pytest.mark.parametrize("command", ["visualize", "export"])
def test_nothing_is_written_through_a_link_in_a_model_directory(
    model_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    copy, outside = tmp_path / "model", tmp_path / "outside"
    shutil.copytree(model_dir, copy)
    outside.mkdir()
    (copy / ("visualization" if command == "visualize" else "export")).symlink_to(outside)
    data = ["--data", str(data_dir)] if command == "visualize" else []
    assert run([command, "--model", str(copy), *data]) == 1
    assert "is a link that leads outside of its directory" in capsys.readouterr().err
    assert list(outside.iterdir()) == []


def test_writing_over_a_link_replaces_the_link(tmp_path: Path) -> None:
    from aae_toolkit.files import write_text

    (tmp_path / "other").write_text("theirs")
    (tmp_path / "own").symlink_to("other")
    write_text(tmp_path / "own", "mine")
    assert (tmp_path / "other").read_text() == "theirs"
    assert not (tmp_path / "own").is_symlink()


@one_variant
def test_weights_that_changed_since_training_are_refused(model_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    path = copy / "decoder_semi_supervised.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # a weight's last bit or sign: no parser would see it
    path.write_bytes(content)
    with refused("decoder_semi_supervised.safetensors is damaged: SHA-256"):
        load_model(copy)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
@one_variant
def test_one_bit_that_changed_in_a_checkpoint_is_seen(model_dir: Path, tmp_path: Path, place: float) -> None:
    content = bytearray((model_dir / "checkpoint.pt").read_bytes())
    with zipfile.ZipFile(model_dir / "checkpoint.pt") as archive:
        member = max(archive.infolist(), key=lambda info: info.file_size)
    start = member.header_offset + 30 + len(member.filename) + 512  # within its tensor
    content[start + int(place * (member.file_size - 1024))] ^= 4
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with refused("checkpoint.pt is damaged"):
        load_checkpoint(tmp_path)
