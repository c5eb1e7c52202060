"""Loss functions. All take logits, compute in float32 whatever the autocast precision, and return a scalar.

Shapes: B batch, K categories, Z styles, D = C*H*W pixels. Sources: Makhzani et al., "Adversarial Autoencoders" [AAE];
Chen et al., "InfoGAN", section 5 [InfoGAN]; Hu et al., "Learning Discrete Representations via Information Maximizing
Self-Augmented Training" [IMSAT]; Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels" [SCAN]; Sohn
et al., "FixMatch" [FixMatch]; Miyato et al., "Virtual Adversarial Training" [VAT]; Laine and Aila, "Temporal Ensembling
for Semi-Supervised Learning" [Laine & Aila]; the seed document, section 7.1 [seed].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.distributed.collectives import batch_mean

SEED_BATCH_SIZE = 100  # batch size of the seed's penalty on z


def reconstruction(x_recon_logits: Tensor, images: Tensor) -> Tensor:
    """Mean binary cross-entropy per pixel, nats. Logits [B, D]; images [B, C, H, W] in [0, 1]. [AAE, section 2]."""
    return F.binary_cross_entropy_with_logits(x_recon_logits.float(), images.flatten(1))


def gaussian_reconstruction(x_recon: Tensor, standardized: Tensor) -> Tensor:
    """Mean negative log density per value at a deviation of 1, less a constant, nats. Both [B, D], standardized."""
    return F.mse_loss(x_recon.float(), standardized) / 2


def discrimination(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Discriminator's loss: prior samples are 1, codes are 0. Logits [B, 1] each. [AAE, section 2]."""
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def generation(fake_logits: Tensor) -> Tensor:
    """Generator's non-saturating loss: codes are to pass for prior samples. Logits [B, 1]. [AAE, section 2]."""
    return F.softplus(-fake_logits.float()).mean()


def classification(y_logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy, nats. Logits [B, K], class indices int64 [B]. [AAE, section 5].

    Each image counts by the weight of its class, [K]. The sum is divided by B, not by the sum of the weights, so that
    processes average to the same loss.
    """
    if weights is None:
        return F.cross_entropy(y_logits.float(), labels)
    return (weights[labels] * F.cross_entropy(y_logits.float(), labels, reduction="none")).mean()


def z_l2(z: Tensor) -> Tensor:
    """Root mean square norm of z [B, Z], scaled to equal the seed's whole-batch norm at B = 100. [seed, point 2]."""
    mean_square = batch_mean(z.float().square().sum(dim=1))
    return math.sqrt(SEED_BATCH_SIZE) * (mean_square + 1e-12).sqrt()  # the epsilon keeps the gradient finite at z = 0


def mutual_information(y: Tensor, y_logits_again: Tensor) -> Tensor:
    """Cross-entropy between y [B, K] and its encoding after one more decode-encode cycle, nats.

    A variational bound on the mutual information between the code and the picture. [InfoGAN; seed, point 1].
    """
    return F.cross_entropy(y_logits_again.float(), y.float())


def consistency(y: Tensor, changed_y_logits: Tensor) -> Tensor:
    """Cross-entropy of a changed image's category under the image's y, both [B, K], nats. [IMSAT; VAT]."""
    return F.cross_entropy(changed_y_logits.float(), y.float())


def pairs(first_y_logits: Tensor, second_y_logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy between two views, logits [B, K] each, nats; each view is both target and prediction.

    The result is the mean over pairs, each multiplied by its weight, [B]. Without weights it is the entropy of y, which
    makes y certain, plus the divergence of the views, which makes them agree. Together with `balance` it maximizes the
    mutual information of picture and category. [IMSAT; SCAN, whose pairs are neighbours].
    """
    first, second = first_y_logits.float(), second_y_logits.float()
    there = F.cross_entropy(first, second.softmax(dim=1), reduction="none")
    back = F.cross_entropy(second, first.softmax(dim=1), reduction="none")
    per_pair = (there + back) / 2
    return (per_pair if weights is None else weights * per_pair).mean()


def pseudo_label(y: Tensor, changed_y_logits: Tensor, confidence: float, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of changed images under the images' likeliest categories, both [B, K], nats. [FixMatch].

    Images whose y is nowhere above `confidence` count as 0, others by the weight of their category, [K].
    """
    sure, category = y.float().max(dim=1)
    per_image = F.cross_entropy(changed_y_logits.float(), category, reduction="none")
    counts = sure > confidence
    return (per_image * (counts if weights is None else counts * weights[category])).mean()


def balance(y: Tensor, tolerance: Tensor | float = 0.0, prior: Tensor | None = None) -> Tensor:
    """Entropy that the mean y of a batch [B, K] lacks to even use of all categories: log K - H(mean y), nats. [IMSAT].

    With a prior, shares [K] above 0, it is the divergence of the mean y from the prior: KL(mean y || prior).
    The tolerance, nats, is subtracted down to 0: classes differ a little in number, and a batch is a sample of them.
    """
    mean = batch_mean(y.float()).clamp_min(torch.finfo(torch.float32).tiny)  # at 0 the gradient is infinite
    entropy: Tensor = -torch.special.xlogy(mean, mean).sum()
    even = math.log(y.shape[1]) if prior is None else -(mean * prior.log()).sum()
    return (even - entropy - tolerance).clamp_min(0)


def mode_separation(modes: Tensor) -> Tensor:
    """Minus the mean squared pixel distance over all pairs of modes, [K, D] in [0, 1]. [seed, point 4].

    The sum over pairs |a - b|^2 is K * sum |a - mean|^2, which takes K pictures instead of K (K - 1) / 2 pairs.
    """
    modes = modes.float()
    n_modes, n_pixels = modes.shape
    spread = (modes - modes.mean(dim=0)).square().sum()
    return -2 * spread / ((n_modes - 1) * n_pixels)


def prior_weights(y: Tensor) -> Tensor:
    """Sampling weights [K] of the categorical prior: categories that `y` [B, K] uses less are drawn more often.

    With c a category's mean under y and e = 1 / K, the weight is 2 e / (e + c): 1 at balance, and never
    above 2, so that no empty category can take over the prior. The idea is the seed's
    `use_adversarial_categorial_weights`, whose exp(e - c) had no bound.
    """
    share = batch_mean(y.float())
    expected = 1 / y.shape[1]
    return 2 * expected / (expected + share)


def sample_categories(weights: Tensor, n: int) -> Tensor:
    """Draw one-hot rows, float32 [n, K], with probabilities proportional to `weights` [K]; 1 replaces a NaN."""
    return F.one_hot(torch.multinomial(weights.nan_to_num(1.0), n, replacement=True), len(weights)).to(torch.float32)
