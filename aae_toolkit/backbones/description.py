"""Description of a backbone, as `dataset.json` and `model.json` hold it. This module imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.files.documents import Name

WEIGHTS_FILE = "backbone.safetensors"
_PICTURE_SIDE = 32  # longest side in pixels of the pictures that a decoder rebuilds beside a backbone

Side = Annotated[int, Field(ge=1, le=2**16)]
InputSide = Annotated[int, Field(ge=1, le=1024)]
Shape = tuple[Side, Side, Side]


class BackboneDescription(BaseModel):
    """Network that embeds images, and how it takes them.

    Attributes:
        name: provider and name, such as `timm:resnet18`.
        sha256: checksum of its weights, as `backbone.safetensors` holds them.
        licence: terms of the weights, as far as the provider records them.
        input_size: (H, W) in pixels that images are resized to.
        mean: means of the red, green and blue values in [0, 1] that are subtracted.
        std: standard deviations that they are then divided by.
        interpolation: method of resizing.
        embedding_size: number of features of an embedding, F.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^(timm|torchvision):[A-Za-z0-9_.]{1,100}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: Name
    input_size: tuple[InputSide, InputSide]
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    interpolation: Literal["bilinear", "bicubic"]
    embedding_size: int = Field(ge=1, le=2**16)


def picture_window(image_shape: Shape) -> int:
    """Return the side in pixels of the squares that are averaged to one pixel of a picture of at most 32 x 32."""
    return -(-max(image_shape[1:]) // _PICTURE_SIDE)


def thumbnail_shape(image_shape: Shape) -> Shape:
    """Return the shape (C, H, W) of the pictures that a decoder rebuilds of images embedded by a backbone."""
    window = picture_window(image_shape)
    channels, height, width = image_shape
    return channels, -(-height // window), -(-width // window)
