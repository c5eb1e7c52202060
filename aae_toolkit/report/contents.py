"""Contents of a report, read and checked completely before the page is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aae_toolkit.backbones.description import WEIGHTS_FILE as BACKBONE_FILE
from aae_toolkit.config import CONFIG_FILE
from aae_toolkit.data.directory import DataDirectory, DatasetIndex
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import SplitName
from aae_toolkit.errors import UsageError
from aae_toolkit.evaluation import Evaluation, evaluate, load_for, unknown_classes
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.files import sha256
from aae_toolkit.models.classes import match_classes, unknown_line
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.directory import TrainedModel, load_model, weights_path
from aae_toolkit.progress import Progress
from aae_toolkit.report.evidence import Benchmark, Export, export_of, read_benchmark
from aae_toolkit.report.examples import Wall, wall_of
from aae_toolkit.report.gallery import Gallery, collect, picture_names
from aae_toolkit.report.training import Training, read_training
from aae_toolkit.training.metrics import FILE_NAME as METRICS_FILE
from aae_toolkit.visualization.curves import curves_of
from aae_toolkit.visualization.pictures import DIRECTORY


@dataclass(frozen=True)
class Sources:
    """Inputs of a report.

    Attributes:
        model_dir: directory of the trained model.
        export: opened export of the model.
        bench: report that `aae bench --output` wrote for that export.
        data_dir: data directory, to score the model and to draw pictures if there are none yet.
        split: split to score in addition to validation.
    """

    model_dir: Path
    export: ExportDirectory | None = None
    bench: Path | None = None
    data_dir: Path | None = None
    split: SplitName = "validation"


class File(NamedTuple):
    """Name, size and checksum of a file."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """Contents of the page; None or empty where absent. `parameters` is the number of weights by network."""

    sources: Sources
    description: ModelDescription
    parameters: dict[str, int]
    training: Training
    curves: Gallery
    pictures: Gallery
    data: DatasetIndex | None
    evaluations: list[Evaluation]
    wall: Wall | None
    export: Export | None
    benchmark: Benchmark | None
    files: list[File]


def gather(sources: Sources, progress: Progress) -> Contents:
    """Read all inputs, and with data score the model and draw pictures if there are none.

    Raises:
        AaeError: an input is absent, damaged, or of another model.
        UsageError: an option requires another option.
    """
    if sources.data_dir is None and sources.split != "validation":
        raise UsageError(f"--split {sources.split} needs --data, the data directory that holds it")
    model = load_model(sources.model_dir)
    export = None if sources.export is None else export_of(model, sources.model_dir, sources.export)
    if sources.bench is not None and export is None:
        raise UsageError("--bench needs --export, the export that it measured")
    benchmark = read_benchmark(sources.bench, export) if sources.bench and export else None
    description = model.description
    data = None if sources.data_dir is None else DataDirectory(sources.data_dir)
    if data is not None:
        match_classes(description.class_names, data.class_names)
        description.require_image_shape(data.image_shape)
        if note := description.preparation_note(data):
            progress.say(note)
    training = read_training(sources.model_dir, description.variant)
    curves = collect(sources.model_dir, list(curves_of(description.variant)), "*_learning_curve.png")
    networks = {
        "backbone": model.backbone,
        "encoder": model.encoder,
        "decoder": model.decoder,
        "mode decoder": model.mode_decoder,
    }
    return Contents(
        sources=sources,
        description=description,
        parameters={k: sum(p.numel() for p in network.parameters()) for k, network in networks.items() if network},
        training=training,
        curves=curves,
        pictures=_pictures(sources.model_dir, model, data, progress),
        data=None if data is None else data.index,
        evaluations=[] if data is None else _score(model, data, sources.split, progress),
        wall=None if data is None else wall_of(model, load_for(model, data, sources.split), sources.split),
        export=export,
        benchmark=benchmark,
        files=_files(sources.model_dir, description),
    )


def _pictures(model_dir: Path, model: TrainedModel, data: DataDirectory | None, progress: Progress) -> Gallery:
    directory = model_dir / DIRECTORY
    if data is not None and not any(directory.glob("*.png")):
        from aae_toolkit.visualization.pictures import draw_all

        draw_all(model, load_for(model, data, "validation"), directory, progress)
    decoder, mode_decoder = model.description.decoder_is_trained, model.mode_decoder is not None
    return collect(directory, picture_names(decoder=decoder, mode_decoder=mode_decoder))


def _score(model: TrainedModel, data: DataDirectory, split: SplitName, progress: Progress) -> list[Evaluation]:
    """Score the validation split and the requested one, where they have labels of the model's classes."""
    scored = []
    for name in dict.fromkeys(("validation", split)):
        images, unknown = load_for(model, data, name), unknown_classes(model, data, name)
        if unknown:
            progress.say(f"{name}: {unknown_line(unknown)}")
        if (images.labels != UNLABELED).any():
            scored.append(evaluate(model, images, name, unknown=unknown, data=data))
    return scored


def _files(model_dir: Path, description: ModelDescription) -> list[File]:
    weights = [weights_path(model_dir, n, description.variant) for n in ("encoder", "decoder", "mode_decoder")]
    paths = [
        *weights,
        model_dir / BACKBONE_FILE,
        model_dir / DESCRIPTION_FILE,
        model_dir / CONFIG_FILE,
        model_dir / METRICS_FILE,
    ]
    return [File(path.name, path.stat().st_size, sha256(path)) for path in paths if path.is_file()]
