"""`aae init-datasets`: write the splits and `dataset.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aae_toolkit.backbones.provider import require_backbone
from aae_toolkit.cli.options import ConsoleProgress, DataDirOption, DeviceOption, QuietOption
from aae_toolkit.cli.showing import dataset_line
from aae_toolkit.data.directory import earlier_class_names, write_data_directory
from aae_toolkit.data.embeddings import default_views
from aae_toolkit.data.folder import FolderOptions
from aae_toolkit.data.preparation import DEFAULT, Fit, Invert, Preparation
from aae_toolkit.data.sources import Source, SourceName, load_source
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    from aae_toolkit.backbones.embedder import Embedder

_Backbone = Annotated[
    str | None,
    typer.Option(help="Frozen network that embeds the images for training: timm:NAME or torchvision:NAME."),
]
_BackboneWeights = Annotated[
    Path | None,
    typer.Option(help="File with the backbone's weights: safetensors or a state dict; default: download them."),
]
_Views = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        help="Augmented views to embed of each training image; default: 8 to 2, fewer for many images.",
    ),
]
_RawDir = Annotated[
    Path | None,
    typer.Option(help="Directory with the files: <raw-dir>/MNIST/raw/..., or <raw-dir>/<class>/*.png for folder."),
]
_Invert = Annotated[Invert, typer.Option(help="Invert brightness; auto: only images with a light border; folder only.")]
_Fit = Annotated[
    Fit,
    typer.Option(
        help="Fitting of images of another aspect ratio: squash (stretch or shrink one side), pad (add background) or"
        " crop (cut off two sides); folder only."
    ),
]
_Range = Annotated[
    str,
    typer.Option(
        "--range",
        metavar="auto|full|LO,HI",
        help="Values that become black and white in images with more than 8 bits per channel: auto (0 to the most that"
        " 8, 10, 12, 14 or 16 bits hold, whichever suffices), full (0 to 65535) or two numbers; folder only.",
    ),
]
_Background = Annotated[
    str,
    typer.Option(
        metavar="white|black|#RRGGBB",
        help="Colour that transparent pixels are drawn on, and that --fit pad adds; folder only.",
    ),
]
_COLOURS = {"white": "#ffffff", "black": "#000000"}
_LabelsCsv = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with the columns path and label, instead of class folders; paths are relative to --raw-dir, and"
        " an empty label means unlabelled; folder only."
    ),
]
_Conflicts = Annotated[
    Literal["refuse", "drop"],
    typer.Option(help="Handling of equal images with different labels: refuse them, or drop each; folder only."),
]
_FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow links that lead outside of --raw-dir; folder only.")
]
_Labeled = Annotated[
    int | None,
    typer.Option(min=0, help="Labelled training images; default: 3000 (digits: 300, folder: all remaining)."),
]
_Validation = Annotated[
    int | None, typer.Option(min=0, help="Validation images; default: 10000 (digits: 300, folder: a fifth).")
]
_Test = Annotated[
    int | None,
    typer.Option(
        min=0, help="Test images of a source without a test set; default: 360 for digits, a fifth for folder."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init-datasets")(init_datasets)


def init_datasets(
    dir_path: DataDirOption,
    source: Annotated[SourceName, typer.Option(help="Source of the images.")] = "mnist",
    raw_dir: _RawDir = None,
    labeled: _Labeled = None,
    validation: _Validation = None,
    test: _Test = None,
    image_size: Annotated[int, typer.Option(min=1, max=1024, help="Height and width in pixels; folder only.")] = 28,
    channels: Annotated[int, typer.Option(min=1, max=3, help="Colour channels: 1 (grey) or 3 (RGB); folder only.")] = 1,
    invert: _Invert = "no",
    fit: _Fit = "squash",
    value_range: _Range = "auto",
    background: _Background = "white",
    labels_csv: _LabelsCsv = None,
    conflicts: _Conflicts = "refuse",
    follow_links: _FollowLinks = False,
    backbone: _Backbone = None,
    backbone_weights: _BackboneWeights = None,
    views: _Views = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the split.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace splits that are already there.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Split images into data sets.

    Writes labelled and unlabelled training images, validation and test images: stratified, seeded and disjoint. With
    --backbone it also embeds them, once, for training on embeddings; the same command continues after a stop. Folders
    named train, val and test are kept as the splits. Exit 1 if an image of a folder cannot be read; all others are
    written.
    """
    progress = ConsoleProgress(quiet=quiet)
    if channels == 2:
        raise typer.BadParameter("--channels is 2; choose 1 (grey) or 3 (RGB)")
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
    progress.say(dataset_line(index))
    progress.say(f"written to {dir_path}")
    _require_all(loaded, dir_path)


def _require_all(loaded: Source, dir_path: Path) -> None:
    """Raise `AaeError` if an image could not be read."""
    if loaded.n_left_out:
        n = loaded.n_left_out + len(loaded.images)
        raise AaeError(f"{loaded.n_left_out} of {n} images could not be read; {dir_path} holds the others")


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
