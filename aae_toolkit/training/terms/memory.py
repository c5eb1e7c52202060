"""Memory of the teacher's y of each unlabelled image, averaged over views. [Laine & Aila]."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aae_toolkit.distributed.collectives import gather_batch


class Recalled(NamedTuple):
    """The memory of a batch.

    Attributes:
        y: category probabilities [B, K].
        trusted: whether the memory holds enough views of the image, bool [B].
        shared: probability that an image and its partner share a category, [B]; 1 where one of them is not trusted
            yet. None where images have no partners.
        shares: mean y of all images that the memory knows, [K]; None where it was not asked for.
    """

    y: Tensor
    trusted: Tensor
    shared: Tensor | None
    shares: Tensor | None = None


class Memory(nn.Module):
    """Category probabilities of each unlabelled image, averaged over the views that were added."""

    y: Tensor
    n_looks: Tensor  # number of views of each image; checkpoints hold this name

    def __init__(self, n_images: int, n_categories: int, decay: float) -> None:
        """Start empty.

        Args:
            n_images: number of unlabelled images, N.
            n_categories: K.
            decay: share of the memory that each new view keeps.
        """
        super().__init__()
        self.decay = decay
        self.register_buffer("y", torch.zeros(n_images, n_categories))
        self.register_buffer("n_looks", torch.zeros(n_images))

    def start(self, y: Tensor, n_views: int) -> None:
        """Set the memory of images as if at least `n_views` views had shown their y.

        Args:
            y: category probabilities [N, K]; zeros where nothing is known.
            n_views: least number of views.
        """
        known = y.any(dim=1)
        self.y[known] = y[known]
        self.n_looks[known] = max(n_views, round(self.decay / (1 - self.decay)))  # the next view fades them by decay

    @torch.no_grad()
    def add(self, indices: Tensor, y: Tensor) -> None:
        """Add y [B, K] of one view of the images at `indices`, int64 [B]."""
        all_indices = gather_batch(indices)
        n = self.n_looks[all_indices]
        kept = (n / (n + 1)).clamp_max(self.decay).unsqueeze(1)  # the first views count alike
        self.y[all_indices] = gather_batch(y).lerp(self.y[all_indices], kept)
        self.n_looks[all_indices] = n + 1

    @torch.no_grad()
    def recall(
        self, indices: Tensor, partner_indices: Tensor | None, views_to_trust: int, *, with_shares: bool = False
    ) -> Recalled:
        """Read the memory of a batch's images.

        Args:
            indices: int64 [B].
            partner_indices: int64 [B], images paired with them.
            views_to_trust: number of views from which an image's memory is trusted.
            with_shares: True adds the shares of the categories.
        """
        y, trusted = self.y[indices], self.n_looks[indices] >= views_to_trust
        shared = None
        if partner_indices is not None:
            both_trusted = trusted & (self.n_looks[partner_indices] >= views_to_trust)
            shared = torch.where(both_trusted, (y * self.y[partner_indices]).sum(dim=1), 1.0)
        shares = self.y.sum(dim=0) / self.y.sum() if with_shares else None  # rows of y add up to 1, or to 0 at first
        return Recalled(y, trusted, shared, shares)
