"""The phase that teaches y from few labels or none: what looks at one thing, or at like things, share is its category.

Every look goes through the encoder in one batch, so that BatchNorm treats them alike. Sources: see `losses`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.config import VariantConfig
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.distributed.collectives import batch_mean, gather_batch
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.training import losses
from aae_toolkit.training.augmentation import add_noise, random_warp
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.phase import Phase

_TEACHER_STRENGTH = 0.5  # of the changes in the teacher's looks, beside those in the encoder's
_PROBE = 0.5  # length of the change by which the most harmful direction is found


class Memory(nn.Module):
    """What the teacher said of each unlabelled image, averaged over looks. [Laine & Aila]."""

    y: Tensor
    n_looks: Tensor

    def __init__(self, n_images: int, n_categories: int, decay: float) -> None:
        """Remember nothing yet, of `n_images`; each look keeps `decay` of what was there."""
        super().__init__()
        self.decay = decay
        self.register_buffer("y", torch.zeros(n_images, n_categories))
        self.register_buffer("n_looks", torch.zeros(n_images))

    def start(self, categories: Tensor, n_looks: int) -> None:
        """Begin as if at least `n_looks` looks at each image had said its category, int64 [N]; UNLABELED: not known."""
        known = categories != UNLABELED
        self.y[known] = F.one_hot(categories[known], self.y.shape[1]).float()
        self.n_looks[known] = max(n_looks, round(self.decay / (1 - self.decay)))  # the next look fades them

    @torch.no_grad()
    def add(self, indices: Tensor, y: Tensor) -> None:
        """Add a look y [B, K] at the images of `indices` int64 [B]."""
        everyones = gather_batch(indices)
        n = self.n_looks[everyones]
        kept = (n / (n + 1)).clamp_max(self.decay).unsqueeze(1)  # the first looks count alike
        self.y[everyones] = gather_batch(y).lerp(self.y[everyones], kept)
        self.n_looks[everyones] = n + 1


class ConsistencyPhase(Phase):
    """All looks at one thing, and at like things, get one category. [IMSAT; SCAN; FixMatch; VAT]."""

    name = "consistency"
    trains: tuple[str, ...] = ("encoder",)
    out_of_reach = ("encoder.z_head",)
    of_autoencoder = False

    memory: Memory | None

    def __init__(
        self,
        networks: Networks,
        learning_rate: float,
        config: VariantConfig,
        teacher: Encoder | None,
        memory: Memory | None,
    ) -> None:
        """Keep the weights of the terms.

        Args:
            networks: of which the encoder is trained, and the over-clustering head where there is one.
            learning_rate: of the optimizer.
            config: the variant's section.
            teacher: the encoder of averaged weights, in eval mode; needed for pseudo-labels and adversarial changes.
            memory: of the unlabelled images; needed for pseudo-labels.
        """
        if networks.over_clustering is not None:
            self.trains = ("encoder", "over_clustering")
        super().__init__(networks, learning_rate, config.training)
        self.over_clustering = networks.over_clustering
        self.terms = config.consistency
        self.input_noise = config.training.input_noise
        self.teacher = teacher
        self.memory = memory

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms `classification`, `pairs`, `balance`, `over_clustering`, `virtual_adversarial`, `pseudo_labels`."""
        looks = {"image": self._look(batch.images)}
        if batch.partners is not None:
            looks["partner"] = self._look(batch.partners)
        if batch.labeled_images is not None:
            looks["labeled"] = self._look(batch.labeled_images)
        if self.terms.lambda_virtual_adversarial:
            teacher_y, looks["adversarial"] = self._most_harmful(batch.images)
        features = self.encoder.features(torch.cat(list(looks.values())))
        sizes = [len(look) for look in looks.values()]
        logits = self.encoder.y_head(features).float().split(sizes)
        y_logits = dict(zip(looks, logits, strict=True))

        found = {}
        if batch.labels is not None:
            found["classification"] = losses.classification(y_logits["labeled"], batch.labels)
        weights: Tensor | None = None
        tolerance: Tensor | float = self.terms.balance_tolerance
        if self.memory is not None:
            assert batch.indices is not None
            with torch.no_grad():
                self.memory.add(batch.indices, self._teacher_y(self._look(batch.images, _TEACHER_STRENGTH)))
                y, trusted = self.memory.y[batch.indices], self._trusted(batch.indices)
                if batch.partner_indices is not None:
                    shared = (y * self.memory.y[batch.partner_indices]).sum(dim=1)  # probability of one category
                    weights = torch.where(trusted & self._trusted(batch.partner_indices), shared, 1.0)
            later = self.terms.trusted_balance_tolerance  # evenness finds categories, pseudo-labels then keep them
            tolerance = tolerance + (later - tolerance) * batch_mean(trusted.float())
            loss = losses.pseudo_label(y * trusted.unsqueeze(1), y_logits["image"], self.terms.confidence)
            found["pseudo_labels"] = self.terms.lambda_pseudo_labels * loss
        if batch.partners is not None:
            n, terms = len(batch.images), self.terms
            both = torch.cat([y_logits["image"], y_logits["partner"]])
            found["pairs"] = terms.lambda_pairs * losses.pairs(both[:n], both[n:], weights)
            found["balance"] = terms.lambda_balance * losses.balance(both.softmax(dim=1), tolerance)
            if self.over_clustering is not None:
                fine = self.over_clustering(features[: 2 * n]).float()
                loss = losses.pairs(fine[:n], fine[n:], weights) + losses.balance(fine.softmax(dim=1))
                found["over_clustering"] = terms.lambda_over_clustering * loss
        if "adversarial" in y_logits:
            loss = losses.consistency(teacher_y, y_logits["adversarial"])
            found["virtual_adversarial"] = self.terms.lambda_virtual_adversarial * loss
        return found

    def _trusted(self, indices: Tensor) -> Tensor:
        """Of which images, bool [B], the memory holds enough looks."""
        assert self.memory is not None
        return self.memory.n_looks[indices] >= self.terms.looks_to_trust

    def _look(self, images: Tensor, strength: float = 1.0) -> Tensor:
        """Images as they are looked at this time."""
        moved = random_warp(images, strength * self.terms.augmentation, strength * self.terms.elastic)
        return add_noise(moved, strength * self.input_noise)

    def _teacher_y(self, images: Tensor) -> Tensor:
        """What the teacher says of images, [B, K], without gradient to its weights."""
        assert self.teacher is not None
        y_logits, _ = self.teacher(images)
        y: Tensor = y_logits.float().softmax(dim=1)
        return y

    def _most_harmful(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's y of images, and the images, changed by the length at which that y suffers most. [VAT].

        The direction is one step of the power iteration from a random one. The teacher gives it, since its BatchNorm
        neither mixes the images of a batch nor counts them.
        """
        with torch.no_grad():
            y = self._teacher_y(images)
        with torch.enable_grad():
            probe = (_PROBE * _unit(torch.randn_like(images))).requires_grad_()
            harm = losses.consistency(y, self.teacher(images + probe)[0])  # type: ignore[misc]
            [direction] = torch.autograd.grad(harm, probe)
        return y, images + self.terms.virtual_adversarial_radius * _unit(direction)


def _unit(changes: Tensor) -> Tensor:
    """Each image's change [B, C, H, W], scaled to length 1."""
    lengths: Tensor = changes.flatten(1).norm(dim=1)
    return changes / lengths.clamp_min(1e-12).view(-1, 1, 1, 1)
