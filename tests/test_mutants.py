"""Every format that the tool reads, damaged: a clean result or one line, whatever the damage.

`AAE_MUTANTS` is how many hundred files of each format are damaged; `make test-mutants` sets it.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import one_variant, rerecord, unverified
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutation import Target, mutations, read_in_child
from pages import measured, report_of
from PIL import AvifImagePlugin, Image, features  # noqa: F401 - the plugin registers itself
from safetensors.torch import save_file

from aae_toolkit.backbones.weights import read_state
from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.backends.registry import open_backend
from aae_toolkit.bench.baseline import read_baseline
from aae_toolkit.config import load_config, shipped_configs
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.embeddings import read_table
from aae_toolkit.data.images import read_noted
from aae_toolkit.data.labels_csv import read_labels
from aae_toolkit.data.left_out import LeftOut
from aae_toolkit.data.sources import load_source
from aae_toolkit.errors import AaeError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.files import sha256
from aae_toolkit.models.directory import load_model
from aae_toolkit.predict import predict
from aae_toolkit.training.checkpoint import load_checkpoint
from aae_toolkit.training.metrics import read_metrics
from aae_toolkit.tuning import journal
from aae_toolkit.tuning.result import Trial

HUNDREDS = float(os.environ.get("AAE_MUTANTS", "0"))
PER_EXAMPLE = 20
EXAMPLES = max(2, int(HUNDREDS * 100 / PER_EXAMPLE))
IMAGE_SUFFIXES = ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm", *(["avif"] if features.check("avif") else []))
NATIVE = ("onnx", "torchscript", "pt2")  # their parsers are not Python's, nor this project's

WITH_OPTUNA = find_spec("optuna") is not None

pytestmark = one_variant
counts: dict[str, Counter[str]] = {}


@pytest.fixture(scope="session", autouse=True)
def _report() -> Iterator[None]:
    """Write the counts where `AAE_MUTANTS_REPORT` says."""
    yield
    if report := os.environ.get("AAE_MUTANTS_REPORT"):
        Path(report).write_text(json.dumps({name: dict(found) for name, found in sorted(counts.items())}, indent=1))


def journal_target(directory: Path) -> dict[str, Target]:
    """The journal of three trials, one of them left early; nothing where optuna is not installed."""
    if not WITH_OPTUNA:
        return {}
    import optuna

    directory.mkdir()
    study = journal.open_study(directory, {"base": "0123"}, seed=0, n_epochs=2)
    for end in ("complete", "complete", "pruned"):
        asked = study.ask({"model.encoder_dropout": optuna.distributions.FloatDistribution(0, 0.5)})
        asked.report(0.5, 1)
        record = {"number": asked.number, "end": end, "score": 0.5, "epochs": 1, "seconds": 1.0, "correct": "0f"}
        journal.keep(study, asked, Trial.model_validate(record | {"values": asked.params}))

    def read() -> None:
        journal.ended_trials(
            journal.open_study(directory, {"base": "0123"}, seed=0, n_epochs=2), directory, ["model.encoder_dropout"]
        )

    return {"journal.jsonl": Target(directory / journal.FILE_NAME, read)}


def backbone_targets(directory: Path) -> dict[str, Target]:
    """Embeddings, and weights of a backbone in both formats."""
    directory.mkdir()
    table, pickled, tensors = (directory / name for name in ("a.npy", "state.pt", "a.safetensors"))
    np.save(table, np.ones((4, 2, 3), np.float16))
    state = {"weight": torch.ones(3, 3), "bias": torch.zeros(3)}
    torch.save(state, pickled)
    save_file(state, tensors)
    return {
        "npy": Target(table, lambda: [read_table(table, (4, 2, 3), mapped=mapped) for mapped in (True, False)]),
        "state.pt": Target(pickled, lambda: read_state(pickled)),
        "state.safetensors": Target(tensors, lambda: read_state(tensors)),
    }


def write_list(directory: Path) -> Path:
    """A list of labels of two images, beside them."""
    for name in ("a.png", "b.png"):
        Image.new("L", (6, 6)).save(directory / name)
    (directory / "labels.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    return directory / "labels.csv"


def read_list(file: Path, raw_dir: Path) -> None:
    read_labels(file, raw_dir, LeftOut(), say=lambda line: None)


@pytest.fixture(scope="session")
def targets(
    data_dir: Path, model_dir: Path, export_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Target]:
    """Of each format a file in a directory of its own, and the tool's own way to read it."""
    root = tmp_path_factory.mktemp("targets")
    found: dict[str, Target] = {}

    def add(name: str, original: Path, file: str, read: Callable[[Path], object]) -> None:
        directory = root / "targets" / name
        if original.is_dir():
            shutil.copytree(original, directory)
        else:
            directory.mkdir(parents=True)
            shutil.copy(original, directory / file)
        found[name] = Target(directory / file, lambda: read(directory))

    def load_split(directory: Path) -> None:
        index = json.loads((directory / "dataset.json").read_text())
        index["splits"]["test"]["sha256"] = sha256(directory / "test.npz")
        (directory / "dataset.json").write_text(json.dumps(index))
        data = DataDirectory(directory)
        data.load("test", mapped=True)
        data.load("test")

    def load_weights(directory: Path) -> None:
        content = json.loads((directory / "model.json").read_text()) | {"sha256": {}}
        (directory / "model.json").write_text(json.dumps(content))
        load_model(directory)

    def open_file(backend: str, file: str) -> Callable[[Path], object]:
        return lambda d: open_backend(unverified(d), Runnable("classifier", backend, file)).close()  # type: ignore[arg-type]

    def verify(directory: Path) -> None:
        ExportDirectory.open(directory)

    add("npz", data_dir, "test.npz", load_split)
    add("dataset.json", data_dir, "dataset.json", lambda d: DataDirectory(d).load("test"))
    add("model.json", model_dir, "model.json", load_model)
    add("safetensors", model_dir, "encoder_semi_supervised.safetensors", load_weights)
    add("checkpoint.pt", model_dir, "checkpoint.pt", load_checkpoint)
    add("metrics.jsonl", model_dir, "metrics.jsonl", lambda d: read_metrics(d / "metrics.jsonl"))
    add("manifest.json", export_dir, "manifest.json", verify)
    add("golden.npz", export_dir, "golden.npz", lambda d: unverified(d).golden)
    add("torchscript", export_dir, "classifier.torchscript.pt", open_file("torchscript", "classifier.torchscript.pt"))
    add("pt2", export_dir, "classifier.pt2", open_file("torch-export", "classifier.pt2"))
    Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6)).save(root / "whole.png")
    add("onnx", export_dir, "classifier.onnx", lambda d: list(predict(d / "classifier.onnx", [root / "whole.png"])))
    add("onnx-reference", export_dir, "classifier.onnx", open_file("onnx-reference", "classifier.onnx"))
    for suffix in IMAGE_SUFFIXES:
        picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / f"a.{suffix}")
        add(suffix, root / f"a.{suffix}", f"a.{suffix}", lambda d: read_noted(next(d.iterdir()), (1, 6, 6)))
    add("labels.csv", write_list(root), "labels.csv", lambda d: read_list(d / "labels.csv", root))
    add("yaml", shipped_configs()["labels-100"], "a.yaml", lambda d: load_config(d / "a.yaml", "semi_supervised"))
    (root / "bench.json").write_text(json.dumps(asdict(report_of(measured("eager", 1.0)))))
    add("bench.json", root / "bench.json", "bench.json", lambda d: read_baseline(d / "bench.json"))
    for name, suffix in (("idx", ""), ("idx.gz", ".gz")):
        raw = root / f"source-{name}" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file, shape in (
            ("train-images-idx3-ubyte", (8, 6, 6)),
            ("train-labels-idx1-ubyte", (8,)),
            ("t10k-images-idx3-ubyte", (4, 6, 6)),
            ("t10k-labels-idx1-ubyte", (4,)),
        ):
            content = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape) + bytes(int(np.prod(shape)))
            (raw / f"{file}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
        add(
            name,
            root / f"source-{name}",
            f"MNIST/raw/train-images-idx3-ubyte{suffix}",
            lambda d: load_source("mnist", d, d / "unused", (1, 6, 6)),
        )
    return found | backbone_targets(root / "backbone") | journal_target(root / "journal")


FORMATS = (
    "npz", "dataset.json", "model.json", "safetensors", "checkpoint.pt", "metrics.jsonl", "manifest.json", "golden.npz",
    "torchscript", "pt2", "onnx", "onnx-reference", *IMAGE_SUFFIXES, "yaml", "bench.json", "idx", "idx.gz",
    "labels.csv", "npy", "state.pt", "state.safetensors", *(["journal.jsonl"] if WITH_OPTUNA else []),
)  # fmt: skip


@pytest.fixture(scope="session")
def wholes(targets: dict[str, Target]) -> dict[str, bytes]:
    """The files as they were."""
    assert set(targets) == set(FORMATS)
    return {name: target.path.read_bytes() for name, target in targets.items()}


@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_file_gives_a_clean_result_or_one_line(
    targets: dict[str, Target],
    wholes: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    format_: str,
) -> None:
    others = [content for name, content in wholes.items() if name != format_]
    scratch = tmp_path_factory.mktemp("scratch")
    targets[format_].read()  # whole it is clean; and what reading imports is there for every child

    @given(st.lists(mutations, min_size=PER_EXAMPLE, max_size=PER_EXAMPLE))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=HUNDREDS == 0,
        database=None,
        phases=(Phase.generate,),  # what the child says is more to the point than the smallest list of changes
        suppress_health_check=list(HealthCheck),
    )
    def damage(changes: list) -> None:
        contents = [change.apply(wholes[format_], others) for change in changes]
        outcomes = read_in_child(targets[format_], contents, scratch)
        counts.setdefault(format_, Counter()).update(outcomes)
        crashed = {name for name in outcomes if name.startswith("crashed")}
        assert not crashed or format_ in NATIVE, crashed

    damage()


@pytest.mark.parametrize("file", ["classifier.onnx", "encoder.torchscript.pt", "decoder.pt2", "golden.npz"])
def test_what_does_not_have_its_checksum_never_reaches_a_parser(
    export_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    from aae_toolkit.bench import bench
    from aae_toolkit.parity.check import check_parity, replay_golden
    from aae_toolkit.parity.reduction import add_reduced
    from aae_toolkit.progress import Silent

    copy = tmp_path / "export"
    shutil.copytree(export_dir, copy)
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)

    def parser(*args: object, **kwargs: object) -> None:
        pytest.fail("a parser was reached")

    for module in ("parity.check", "parity.cases", "bench.session", "bench.run", "parity.reduction"):
        for name in ("open_backend", "golden_case", "golden_by_precision", "reference_cases"):
            monkeypatch.setattr(f"aae_toolkit.{module}.{name}", parser, raising=False)
    data = DataDirectory(data_dir)
    for check in (
        lambda: check_parity(ExportDirectory.open(copy), data.load("test"), "test", progress=Silent()),
        lambda: replay_golden(ExportDirectory.open(copy), progress=Silent()),
        lambda: bench(ExportDirectory.open(copy), (1,), (1,), ("eager",), progress=Silent()),
        lambda: add_reduced(ExportDirectory.open(copy), "int8", data, progress=Silent()),
    ):
        with pytest.raises(AaeError, match="is damaged: SHA-256 is") as caught:
            check()
        assert caught.value.exit_status == 1
    rerecord(copy)  # with its checksum made right, it is let through
    with pytest.raises(pytest.fail.Exception):
        replay_golden(ExportDirectory.open(copy), progress=Silent())
