"""Pseudo-labels that begin anew, from what the encoder has learned so far.

Its features tell classes apart better than those that the first pseudo-labels came from, and a regression on the labels
alone does not repeat the errors of earlier pseudo-labels. Source: Iscen et al. 2019, "Label Propagation for Deep
Semi-supervised Learning".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.models.networks import Encoder, scale
from aae_toolkit.training.blending import IMAGES, blend, taught
from aae_toolkit.training.consistency import ConsistencyPhase
from aae_toolkit.training.neighbors import Search, evenly
from aae_toolkit.training.run import Run, TrainingState, training_inputs

_COMPONENTS = 128  # principal components of the features
_SAMPLE = 10000  # most images whose components are computed
_AT_ONCE = 1000  # images encoded at once

Floats = NDArray[np.float32]


def is_due(run: Run, epoch: int) -> bool:
    """Tell whether pseudo-labels begin anew after an epoch: evenly over the training, and not after its last one."""
    times, n_epochs = run.config.consistency.relabelings, run.config.training.n_epochs
    return 0 < epoch < n_epochs and epoch in {round(n_epochs * i / (times + 1)) for i in range(1, times + 1)}


def relabel(state: TrainingState, run: Run) -> None:
    """Spread the labels and fit the regression on features of the averaged encoder, and set the memory to the result.

    Raises:
        AaeError: images are unreadable.
    """
    from sklearn.decomposition import PCA

    terms, encoder = run.config.consistency, state.average.encoder
    passed, labeled, _ = training_inputs(run)
    sample = np.concatenate(list(_features(encoder, passed.compared[evenly(len(passed), _SAMPLE)])))
    components = PCA(min(_COMPONENTS, *sample.shape), svd_solver="randomized", random_state=0).fit(sample)
    compared, of_labeled = (
        np.concatenate([_to_length_one(components.transform(part)) for part in _features(encoder, split.compared)])
        for split in (passed, labeled)
    )
    search = Search(compared, run.runtime.device, world=run.runtime.world)
    nodes = np.concatenate([search.nearest(terms.n_neighbors), search.nearest(terms.n_neighbors, of=of_labeled)])
    chosen = of_labeled[taught(len(labeled))]
    y = blend(nodes, [compared], chosen, labeled.labels, run.n_categories, IMAGES)
    [memory] = (phase.memory for runner in state.runners if isinstance(phase := runner.phase, ConsistencyPhase))
    assert memory is not None
    memory.start(torch.from_numpy(y).to(memory.y.device), terms.looks_to_trust)


@torch.inference_mode()
def _features(encoder: Encoder, inputs: NDArray[Any]) -> Iterator[Floats]:
    """Yield features of images [N, C, H, W] or embeddings [N, F], of length 1, float32 [n, D] at a time."""
    device = next(encoder.parameters()).device
    for first in range(0, len(inputs), _AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(inputs[first : first + _AT_ONCE]))
        yield _to_length_one(encoder.features(scale(part.to(device))).cpu().numpy())


def _to_length_one(rows: Floats) -> Floats:
    """Divide rows [N, D] by their length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    divided: Floats = (rows / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return divided
