from __future__ import annotations

import dataclasses
import pickle
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import copy_with_only, one_variant, rerecord

from aae_toolkit.backends import registry
from aae_toolkit.cli.app import run
from aae_toolkit.errors import AaeError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.files import sha256
from aae_toolkit.models import directory as models

pytestmark = one_variant

INDEX = ("manifest.json", "model.json")


class Opened:
    """How often Python opened each file of a directory for reading, while `path` was set."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.path is not None and isinstance(arguments[0], str | bytes | Path):
            opened, mode = Path(str(arguments[0])), arguments[1]
            if opened.parent == self.path and (mode is None or "r" in str(mode)):
                self.counts[opened.name] += 1


@pytest.fixture(scope="module")
def hook() -> Opened:
    opened = Opened()
    sys.addaudithook(opened)  # there is no way to remove one; without a path it does nothing
    return opened


@pytest.fixture
def reads(hook: Opened, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Counts what Python opens; and the weights as safetensors loads them, which Python does not see."""
    hook.counts = Counter()
    real = models.load_file

    def load_file(path: Path) -> dict[str, torch.Tensor]:
        if path.parent == hook.path:
            hook.counts[f"{path.name} loaded"] += 1
        return real(path)

    monkeypatch.setattr(models, "load_file", load_file)
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    yield hook
    hook.path = None


@pytest.mark.parametrize(
    ("command", "loads_weights"),
    [
        ("parity --export {export} --data {data} --per-layer", True),
        ("verify {export}", True),
        ("bench --export {export} --backends onnxruntime --batch-sizes 1 --threads 1 --rounds 5", False),
        ("report --model {model} --export {export} --output {tmp}/r.html", True),
        ("web {export} {tmp}/page --web-runtime {tmp}/absent", False),
    ],
)
def test_a_command_reads_the_index_and_the_weights_of_an_export_once(
    export_dir: Path, model_dir: Path, data_dir: Path, tmp_path: Path, reads: Opened, command: str, loads_weights: bool
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx", "decoder.onnx")
    places = {"export": export, "model": model_dir, "data": data_dir, "tmp": tmp_path}
    reads.path = export
    status = run(command.format(**places).split())
    reads.path = None
    assert status == (1 if "absent" in command else 0)
    assert [reads.counts[name] for name in INDEX] == [1, 1], reads.counts
    assert reads.counts["weights.safetensors"] == 1  # its checksum
    assert reads.counts["weights.safetensors loaded"] == int(loads_weights)


def test_an_export_cannot_be_changed_once_it_is_opened(export_dir: Path) -> None:
    export = ExportDirectory.open(export_dir)
    with pytest.raises(dataclasses.FrozenInstanceError):
        export.path = Path()  # type: ignore[misc]
    assert export.reference is export.reference
    assert export.module("classifier") is export.module("classifier")
    assert export.golden is export.golden
    assert export.entry("classifier.onnx") in export.artifacts
    assert export.entry("absent.onnx") is None


def test_recording_returns_the_export_with_its_new_manifest_and_what_was_read(export_dir: Path, tmp_path: Path) -> None:
    export = ExportDirectory.open(copy_with_only(export_dir, tmp_path / "export"))
    reference = export.reference
    recorded = export.recorded(accuracy=0.5, parity={"passed": True, "split": "test", "n": 60})
    assert (export.manifest.accuracy, recorded.manifest.accuracy) == (None, 0.5)
    assert read_manifest(export.path) == recorded.manifest
    assert "50.00%" in (export.path / "MODEL_CARD.md").read_text()
    assert recorded.reference is reference


def test_another_process_is_sent_the_index_and_no_weights(export_dir: Path) -> None:
    export = ExportDirectory.open(export_dir)
    assert export.reference is not None
    sent = pickle.loads(pickle.dumps(export))
    assert sent == export
    assert set(vars(sent)) == {"path", "manifest", "description"}


def test_a_module_for_another_device_is_a_copy(export_dir: Path) -> None:
    export = ExportDirectory.open(export_dir)
    copied = export.module("encoder", "meta")
    assert {p.device.type for p in copied.parameters()} == {"meta"}
    assert {p.device.type for p in export.module("encoder").parameters()} == {"cpu"}


@pytest.mark.parametrize("file", ["weights.safetensors", "model.json", "golden.npz", "classifier.onnx"])
def test_damage_and_absence_are_found_when_it_is_opened(export_dir: Path, tmp_path: Path, file: str) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    content = (export / file).read_bytes()
    (export / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AaeError, match=f"{file} is damaged: SHA-256 is"):
        ExportDirectory.open(export)
    (export / file).unlink()
    with pytest.raises(AaeError, match=f"{file} is missing, though the index of its directory lists it"):
        ExportDirectory.open(export)


def test_weights_that_do_not_fit_are_refused_when_they_are_asked_for(export_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / "weights.safetensors").write_bytes(b"short")
    rerecord(export)
    assert read_manifest(export).sha256["weights.safetensors"] == sha256(export / "weights.safetensors")
    opened = ExportDirectory.open(export)
    with pytest.raises(AaeError, match=r"weights.safetensors does not fit model.json"):
        _ = opened.reference
