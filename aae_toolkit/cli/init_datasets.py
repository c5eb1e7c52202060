"""`aae init-datasets`: write the splits and `dataset.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aae_toolkit.backbones.provider import require_backbone
from aae_toolkit.cli.dataset_options import (
    BackboneDeviceOption,
    BackboneOption,
    BackboneWeightsOption,
    BackgroundOption,
    ChannelsOption,
    ConflictsOption,
    DataDirOption,
    FitOption,
    FollowLinksOption,
    ImageSizeOption,
    InvertOption,
    LabeledOption,
    LabelsCsvOption,
    OverwriteOption,
    RangeOption,
    RawDirOption,
    SeedOption,
    SourceOption,
    TestOption,
    ValidationOption,
    ViewsOption,
)
from aae_toolkit.cli.options import ConsoleProgress, QuietOption, is_seed_command
from aae_toolkit.cli.showing import dataset_line, seed_dataset_line
from aae_toolkit.data.directory import earlier_class_names, write_data_directory
from aae_toolkit.data.embeddings import default_views
from aae_toolkit.data.folder import FolderOptions
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.data.sources import Source, SourceName, load_source
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    from aae_toolkit.backbones.embedder import Embedder

_COLOURS = {"white": "#ffffff", "black": "#000000"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init-datasets")(init_datasets)


def init_datasets(
    context: typer.Context,
    dir_path: DataDirOption,
    source: SourceOption = "mnist",
    raw_dir: RawDirOption = None,
    labeled: LabeledOption = None,
    validation: ValidationOption = None,
    test: TestOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    image_size: ImageSizeOption = 28,
    channels: ChannelsOption = 1,
    invert: InvertOption = "no",
    fit: FitOption = "squash",
    value_range: RangeOption = "auto",
    background: BackgroundOption = "white",
    labels_csv: LabelsCsvOption = None,
    conflicts: ConflictsOption = "refuse",
    follow_links: FollowLinksOption = False,
    backbone: BackboneOption = None,
    backbone_weights: BackboneWeightsOption = None,
    views: ViewsOption = None,
    device: BackboneDeviceOption = "auto",
) -> None:
    """Split images into training, validation and test sets.

    Writes training images with labels, training images without, validation images and test images. No image is in two
    sets; validation and test images have the classes' shares. A folder's own train, val and test folders are kept as
    sets. With --backbone, the features of each image are computed once; after a stop, the same command continues. Exit
    status 1 if an image of a folder cannot be read; the others are written.
    """
    progress = ConsoleProgress(quiet=quiet)
    if channels not in (1, 3):
        raise typer.BadParameter(f"--channels is {channels}; choose 1 (grey) or 3 (RGB)")
    names = () if overwrite else earlier_class_names(dir_path)
    sized = tuple(part for part, n in (("validation", validation), ("test", test)) if n is not None)
    preparation = Preparation(background=_colour(background), range=_limits(value_range), invert=invert, fit=fit)
    options = FolderOptions(
        preparation, value_range == "auto", labels_csv, conflicts, follow_links, names, sized, processes=True
    )
    _require_folder(source, options)
    _require_outside(source, raw_dir, dir_path)
    _check_backbone(backbone, backbone_weights, views)
    shape = channels, image_size, image_size
    loaded = load_source(source, raw_dir, dir_path / "raw", shape, folder=options, progress=progress)
    embedder = _embedder(backbone, backbone_weights, loaded, device, progress) if backbone else None
    index = write_data_directory(
        dir_path,
        loaded,
        *(labeled, validation, test),
        seed,
        overwrite=overwrite,
        embedder=embedder,
        n_views=default_views(len(loaded.images)) if views is None else views,
        progress=progress,
    )
    progress.say((seed_dataset_line if is_seed_command(context) else dataset_line)(index))
    progress.say(f"written to {dir_path}")
    _require_all(loaded, dir_path, quiet)


def _require_all(loaded: Source, dir_path: Path, quiet: bool) -> None:
    """Raise `AaeError` if an image could not be read."""
    if loaded.n_left_out:
        n = loaded.n_left_out + len(loaded.images)
        names = "; leave out --quiet to see which" if quiet else ""
        raise AaeError(f"{loaded.n_left_out} of {n} images could not be read; {dir_path} holds the others{names}")


def _check_backbone(backbone: str | None, weights: Path | None, views: int | None) -> None:
    """Refuse a backbone that is not there, and options of one without it."""
    if backbone is not None:
        require_backbone(backbone)
    elif weights is not None or views is not None:
        raise typer.BadParameter(f"--{'views' if weights is None else 'backbone-weights'} needs --backbone")


def _require_folder(source: SourceName, options: FolderOptions) -> None:
    """Refuse options of a folder with another source."""
    if source == "folder":
        return
    usual = DEFAULT
    if options.preparation.invert != usual.invert:
        raise typer.BadParameter(f"--invert is for --source folder only; the images of {source} need no inversion")
    for flag, given in (
        ("--fit", options.preparation.fit != usual.fit),
        ("--range", not options.auto_range),
        ("--background", options.preparation.background != usual.background),
        ("--labels-csv", options.labels_csv is not None),
        ("--conflicts", options.conflicts != "refuse"),
        ("--follow-links", options.follow_links),
    ):
        if given:
            raise typer.BadParameter(f"{flag} is for --source folder only; leave it out for {source}")


def _require_outside(source: SourceName, raw_dir: Path | None, dir_path: Path) -> None:
    """Refuse a data directory among the images: pictures of its models would be read as images."""
    if source == "folder" and raw_dir is not None and dir_path.resolve().is_relative_to(raw_dir.resolve()):
        raise typer.BadParameter(
            f"--data {dir_path} lies in --raw-dir {raw_dir}, where its pictures would be read as images; give a"
            " directory outside of it"
        )


def _colour(text: str) -> tuple[int, int, int]:
    """Read the value of --background."""
    code = _COLOURS.get(text, text)
    if re.fullmatch("#[0-9a-fA-F]{6}", code) is None:
        raise typer.BadParameter(f"--background is {text!r}; choose white, black or a colour such as #c0c0c0")
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:], 16)


def _limits(text: str) -> tuple[float, float] | None:
    """Read the value of --range; None where it names no numbers."""
    if text in ("auto", "full"):
        return None
    try:
        low, high = (float(number) for number in text.split(","))
        limits = _as_whole(low), _as_whole(high)
        Preparation(range=limits)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"--range is {text!r}; choose auto, full, or two numbers, the higher one last, such as 0,4095"
        ) from error
    return limits


def _as_whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def _embedder(backbone: str, weights: Path | None, source: Source, device: str, progress: ConsoleProgress) -> Embedder:
    """Build the backbone, and report its features, its licence and the changes that it makes to the images."""
    from aae_toolkit.backbones.embedder import Embedder
    from aae_toolkit.backbones.network import changes_of_images
    from aae_toolkit.machine.device import resolve_device

    shape = source.images.shape[1], source.images.shape[2], source.images.shape[3]
    embedder = Embedder(backbone, weights, shape, resolve_device(device))
    described = embedder.description
    progress.say(f"backbone {described.name}: {described.embedding_size} features; licence: {described.licence}")
    if changes := changes_of_images(described, shape):
        progress.say(f"for {described.name}, {' and '.join(changes)}")
    return embedder
