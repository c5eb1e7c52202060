"""Options of `aae init-datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aae_toolkit.cli.options import device_option
from aae_toolkit.data.preparation import Fit, Invert
from aae_toolkit.data.sources import SourceName

_FOLDER, _WITH_BACKBONE = "With --source folder", "With a backbone"  # sections of the help

DataDirOption = Annotated[Path, typer.Option("--data", metavar="DIR", help="Data directory to write.")]
SourceOption = Annotated[
    SourceName, typer.Option(help="Source of the images: a known data set, or a folder of your own.")
]
RawDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Directory of the images: one folder for each class, or the downloaded files of a known data set (such as"
        " MNIST/raw/). By default, known data sets are downloaded.",
    ),
]
LabeledOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Training images that keep their labels, evenly over the classes; default: 3000 (digits: 300, folder:"
        " all).",
    ),
]
ValidationOption = Annotated[
    int | None, typer.Option(min=0, help="Validation images; default: 10000 (digits: 300, folder: a fifth).")
]
TestOption = Annotated[
    int | None,
    typer.Option(min=0, help="Test images, if the source has no test set; default: a fifth (digits: 360)."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed for the split.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace sets that are already there.")]
ImageSizeOption = Annotated[
    int,
    typer.Option(min=1, max=1024, rich_help_panel=_FOLDER, help="Height and width to resize images to, in pixels."),
]
ChannelsOption = Annotated[
    int, typer.Option(metavar="1|3", rich_help_panel=_FOLDER, help="Colour channels: 1 (grey) or 3 (RGB).")
]
InvertOption = Annotated[
    Invert, typer.Option(rich_help_panel=_FOLDER, help="Invert brightness; auto: only where the border is light.")
]
FitOption = Annotated[
    Fit,
    typer.Option(
        rich_help_panel=_FOLDER,
        help="Make images square: squash (stretch or shrink one side), pad (add background) or crop (cut off two"
        " sides).",
    ),
]
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        metavar="auto|full|LO,HI",
        rich_help_panel=_FOLDER,
        help="Values to show as black and white, in images with more than 8 bits per channel: auto (0 and the highest"
        " value of 8, 10, 12, 14 or 16 bits, whichever suffices), full (0 and 65535) or two numbers such as 0,4095.",
    ),
]
BackgroundOption = Annotated[
    str,
    typer.Option(
        metavar="white|black|#RRGGBB",
        rich_help_panel=_FOLDER,
        help="Colour behind transparent pixels, and of the border that --fit pad adds.",
    ),
]
LabelsCsvOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_FOLDER,
        help="CSV file with columns path and label, instead of one folder for each class. Paths are relative to"
        " --raw-dir; an empty label means unlabelled.",
    ),
]
ConflictsOption = Annotated[
    Literal["refuse", "drop"],
    typer.Option(
        rich_help_panel=_FOLDER, help="Treatment of equal images with different labels: stop, or leave them all out."
    ),
]
FollowLinksOption = Annotated[
    bool,
    typer.Option("--follow-links", rich_help_panel=_FOLDER, help="Follow links that lead outside of --raw-dir."),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_WITH_BACKBONE,
        help="Pretrained network that turns images into features, on which training then runs: timm:NAME or"
        " torchvision:NAME, such as torchvision:resnet18.",
    ),
]
BackboneWeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_WITH_BACKBONE,
        help="File with the backbone's weights (safetensors or a state dict); default: download them.",
    ),
]
ViewsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        rich_help_panel=_WITH_BACKBONE,
        help="Augmented copies of each training image to embed; default: from 8 for few images to 2 for many.",
    ),
]
BackboneDeviceOption = Annotated[str, device_option("Device that runs the backbone", section=_WITH_BACKBONE)]
