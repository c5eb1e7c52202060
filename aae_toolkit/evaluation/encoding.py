"""Codes of images: category probabilities and styles, and the reading of a split for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import Split, SplitName
from aae_toolkit.evaluation.tables import Floats
from aae_toolkit.models.classes import match_classes

if TYPE_CHECKING:
    from aae_toolkit.models.directory import TrainedModel
    from aae_toolkit.models.networks import Encoder, ImageEncoder

_BATCH_SIZE = 1000  # images a forward pass
_BACKBONE_BATCH_SIZE = 8  # images a forward pass through a backbone


def encode(encoder: Encoder | ImageEncoder, inputs: NDArray[Any]) -> tuple[Floats, Floats]:
    """Encode in eval mode: `y` float32 [N, K] (probabilities) and `z` float32 [N, Z].

    Args:
        encoder: the encoder.
        inputs: images uint8 [N, C, H, W], or embeddings [N, 1 + V, F], whose views do not count.
    """
    import torch  # here, since exported files are compared and measured without it

    from aae_toolkit.models.networks import ImageEncoder, scale

    training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    taken = torch.from_numpy(inputs if inputs.ndim == 4 else np.ascontiguousarray(inputs[:, 0]))
    size = _BACKBONE_BATCH_SIZE if isinstance(encoder, ImageEncoder) else _BATCH_SIZE
    with torch.inference_mode():
        codes = [encoder(scale(chunk.to(device))) for chunk in torch.split(taken, size)]
        y = torch.cat([y_logits.softmax(dim=1) for y_logits, _ in codes])
    encoder.train(training)
    return y.cpu().numpy(), torch.cat([z for _, z in codes]).cpu().numpy()


def load_for(model: TrainedModel, data: DataDirectory, name: SplitName, *, mapped: bool = False) -> Split:
    """Read a split: stored embeddings where they are of the model's own backbone, else the images.

    Its labels are the model's class indices; images of classes that the model does not know have none. `mapped` leaves
    its images in the file until they are used.

    Raises:
        AaeError: a file is absent or damaged, or no class of the data is the model's.
    """
    match = match_classes(model.description.class_names, data.class_names)
    own = model.architecture.backbone
    load = data.load_inputs if own is not None and own == data.backbone else data.load
    return match.relabel(load(name, mapped=mapped))


def unknown_classes(model: TrainedModel, data: DataDirectory, name: SplitName) -> dict[str, int]:
    """Count the images of a split by classes that the model does not know."""
    counts = data.index.splits[name].class_counts
    return {c: n for c, n in counts.items() if n and c not in model.description.class_names}


def encode_split(model: TrainedModel, split: Split) -> tuple[Floats, Floats]:
    """Encode a split by its embeddings, or else its images: `y` float32 [N, K] and `z` float32 [N, Z].

    Raises:
        AaeError: the split has another image shape than the model.
    """
    if split.embeddings is None:
        model.description.require_image_shape(split.images.shape[1:])
        return encode(model.image_encoder, split.images)
    return encode(model.encoder, split.embeddings)
