"""The phase that teaches y from few labels or none: views of one image, or of like images, share a category.

All views of a step go through the encoder in one batch, so that BatchNorm treats them alike. The terms are in `terms`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.phase import Phase
from aae_toolkit.training.terms.memory import Memory, Recalled
from aae_toolkit.training.terms.registry import terms_on_y, view_makers
from aae_toolkit.training.terms.term import Encodings, weighted
from aae_toolkit.training.terms.views import Augmentation, View, teacher_y

_TEACHER_STRENGTH = 0.5  # strength of the changes in the teacher's view; the encoder's views have 1


class ConsistencyPhase(Phase):
    """All views of an image, and of like images, get one category. [IMSAT; SCAN; FixMatch; VAT]."""

    name = "consistency"
    trains: tuple[str, ...] = ("encoder",)
    out_of_reach = ("encoder.z_head",)
    is_autoencoder = False

    memory: Memory | None

    def __init__(
        self,
        networks: Networks,
        learning_rate: float,
        config: VariantConfig,
        teacher: Encoder | None,
        memory: Memory | None,
        frequencies: Frequencies = ALL_ALIKE,
    ) -> None:
        """Build the terms that the configuration asks for, and the views that they need.

        Args:
            networks: networks that are trained: the encoder, and those that a term trains.
            learning_rate: step size.
            config: the variant's section.
            teacher: the encoder of averaged weights, in eval mode; needed for pseudo-labels and adversarial changes.
            memory: memory of the unlabelled images; needed for pseudo-labels.
            frequencies: the classes' weights and shares.
        """
        terms = terms_on_y(config, networks, frequencies)
        self.trains = ("encoder", *(name for term in terms for name in term.trains))
        super().__init__(networks, learning_rate, config.training)
        self.terms = terms
        noise_unit = networks.encoder.noise_unit
        self.views = view_makers(terms, config, teacher, noise_unit)
        self.augment = Augmentation(config, noise_unit)
        self.views_to_trust = config.consistency.looks_to_trust
        self.weighs_classes = frequencies.weights is not None
        self.teacher = teacher
        self.memory = memory

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute every term on one encoding of all views."""
        views = self._draw(batch)
        features = self.encoder.features(torch.cat([view.images for view in views.values()]))
        y_logits = self.encoder.y_head(features).float()
        rows, n = {}, 0
        for name, view in views.items():
            rows[name], n = slice(n, n + len(view.images)), n + len(view.images)
        targets = {name: view.target for name, view in views.items() if view.target is not None}
        return weighted(self.terms, Encodings(features, y_logits, rows, targets, self._recall(batch)))

    def _draw(self, batch: Batch) -> dict[str, View]:
        """Draw every view; apart from `forward`, which a graph break within a loop would keep from being compiled."""
        return {name: make(batch) for name, make in self.views.items()}

    @torch.no_grad()
    def _recall(self, batch: Batch) -> Recalled | None:
        """Add the teacher's y of one more view to the memory, and read the memory of the batch."""
        if self.memory is None:
            return None
        assert batch.indices is not None
        y = teacher_y(self.teacher, self.augment(batch.images, _TEACHER_STRENGTH))
        self.memory.add(batch.indices, y)
        return self.memory.recall(
            batch.indices, batch.partner_indices, self.views_to_trust, with_shares=self.weighs_classes
        )
