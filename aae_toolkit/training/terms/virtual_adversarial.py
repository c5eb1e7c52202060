"""Virtual adversarial training: y stays where a small change would move it most. [VAT]."""

from __future__ import annotations

import torch
from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Encoder
from aae_toolkit.training import losses
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.terms.term import Encodings, Term
from aae_toolkit.training.terms.views import View, ViewMaker, teacher_y

_PROBE = 0.5  # length of the random change from which the most harmful direction is found


class AdversarialView(ViewMaker):
    """View of the unlabelled images, changed where that moves the teacher's y most, with that y as target."""

    def __init__(self, config: VariantConfig, teacher: Encoder | None, noise_unit: Tensor | float = 1.0) -> None:
        """Keep the length of the change."""
        super().__init__(config, teacher, noise_unit)
        self.radius = config.consistency.virtual_adversarial_radius

    def __call__(self, batch: Batch) -> View:
        """Change the images along the direction of one step of the power iteration from a random direction.

        The teacher gives the direction, since its BatchNorm neither mixes the images of a batch nor counts them.
        """
        with torch.no_grad():
            y = teacher_y(self.teacher, batch.images)
        with torch.enable_grad():
            probe = (_PROBE * _unit(torch.randn_like(batch.images))).requires_grad_()
            harm = losses.consistency(y, self.teacher(batch.images + self.augment.noise_unit * probe)[0])  # type: ignore[misc]
            [direction] = torch.autograd.grad(harm, probe)
        return View(batch.images + self.radius * self.augment.noise_unit * _unit(direction), y)


class VirtualAdversarial(Term[Encodings]):
    """Cross-entropy of adversarially changed images under the teacher's y of the unchanged ones."""

    name = "virtual_adversarial"
    views = ("image", "adversarial")  # the first, so that BatchNorm sees unchanged images too

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the changed view's logits with the teacher's y."""
        return losses.consistency(inputs.targets["adversarial"], inputs.y_logits_of("adversarial"))


def _unit(changes: Tensor) -> Tensor:
    """Each image's change [B, ...], scaled to length 1."""
    lengths: Tensor = changes.flatten(1).norm(dim=1)
    return changes / lengths.clamp_min(1e-12).view(-1, *[1] * (changes.ndim - 1))
