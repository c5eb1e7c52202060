"""Section `consistency`: the losses on y, and the views that they compare."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aae_toolkit.config.augmentation_sets import AUGMENTATION_SETS
from aae_toolkit.config.section import Section

Likeness = Literal["gradients", "gradients-and-colours", "pixels", "features", "directions"]


class ConsistencyConfig(Section):
    """Additional losses on y, trained with the label loss in a separate phase; a weight of 0 turns a loss off.

    Pseudo-labels come from a memory: for each image, a running average of the predictions of the EMA weights. Once it
    covers `looks_to_trust` views, it labels the image and weights pairs by how likely they share a category.
    """

    augmentation: float = Field(default=1.0, ge=0, le=4)
    """Strength of the rotation, shift, shear and scaling of a view; 0 turns them off. A name is a
    set of these strengths: `drawings`, `photos`, `top-down`, `tiny`, `none`; keys beside the name win over it."""
    elastic: float = Field(default=0.0, ge=0, le=1)
    """Elastic deformation of a view: standard deviation of shifts, in units of half the image size. [Simard et al.]."""
    horizontal_flip: bool = False
    """Mirror a view left and right, with probability 1/2."""
    vertical_flip: bool = False
    """Mirror a view top and bottom, with probability 1/2."""
    quarter_turns: bool = False
    """Turn a view by 0, 90, 180 or 270 degrees; images must be squares."""
    crop: float = Field(default=0.0, ge=0, lt=1)
    """Random resized crop: largest share of the area that a view leaves out. [Szegedy et al.]."""
    reflect: bool = False
    """Fill pixels that a warp takes from outside the image by reflection; otherwise they are 0."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Largest change of a view's brightness, as a fraction."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    """Largest change of a view's contrast, as a fraction."""
    saturation: float = Field(default=0.0, ge=0, le=1)
    """Largest change of a view's saturation, as a fraction; colour images only."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Random erasing: longest side of the rectangle that a view loses, as a fraction of the image's. [Zhong et al.]."""
    lambda_pairs: float = Field(default=0.0, ge=0)
    """Weight of the neighbour consistency loss: two views share a category. [IMSAT; SCAN]."""
    n_neighbors: int = Field(default=10, ge=0, le=1000)
    """Number of nearest neighbours that the second view is taken from; 0 takes it from the image itself. [SCAN]."""
    likeness: Likeness = "gradients"
    """Description that neighbours are searched by; `directions` are `features` of length 1. [Dalal & Triggs; Swain &
    Ballard]."""
    spread_labels: bool = False
    """Initialize the pseudo-labels by spreading the labels from neighbour to neighbour. [Zhou et al.]."""
    blend_regression: bool = False
    """Average the spread labels with a smoothed logistic regression, which has an RBF kernel for images; needs
    `spread_labels`. [Huang et al.]."""
    cluster_first: bool = False
    """Initialize the pseudo-labels by a spectral clustering; without supervision only. [von Luxburg]."""
    lambda_balance: float = Field(default=0.0, ge=0)
    """Weight of the category balance loss: all categories are equally frequent; needs `lambda_pairs`. [IMSAT]."""
    balance_tolerance: float = Field(default=0.0, ge=0)
    """Initial tolerance of the balance loss: entropy deficit that is not penalized, in nats."""
    trusted_balance_tolerance: float = Field(default=0.05, ge=0)
    """Tolerance of the balance loss once the memory of all images is trusted, in nats; interpolated until then."""
    lambda_virtual_adversarial: float = Field(default=0.0, ge=0)
    """Weight of virtual adversarial training: y resists the most harmful small change; needs `ema_decay`. [VAT]."""
    virtual_adversarial_radius: float = Field(default=1.5, gt=0)
    """L2 norm of the virtual adversarial change, for images in [0, 1]. [VAT]."""
    lambda_pseudo_labels: float = Field(default=0.0, ge=0)
    """Weight of the pseudo-label loss: learn the likeliest category over many views; needs `ema_decay`. [FixMatch]."""
    confidence: float = Field(default=0.9, ge=0, lt=1)
    """Minimum probability of a pseudo-label; less certain images are left out. [FixMatch]."""
    pseudo_label_head: bool = False
    """Learn pseudo-labels by a head of their own, so that their errors reach y through the features alone; needs
    labels. [Chen et al.]."""
    memory: float = Field(default=0.8, ge=0, lt=1)
    """Decay of the memory, the running average of the predictions, per view. [Laine & Aila]."""
    looks_to_trust: int = Field(default=1, ge=1)
    """Number of views before the memory of an image is trusted; one view per epoch."""
    lambda_over_clustering: float = Field(default=0.0, ge=0)
    """Weight of the over-clustering loss: pairs share a category of a second head; needs `lambda_pairs`. [IIC]."""
    n_over_clusters: int = Field(default=50, ge=2, le=4096)
    """Number of categories of the over-clustering head; more than K. [IIC]."""

    @property
    def needs_teacher(self) -> bool:
        """Whether any term needs the EMA weights."""
        return self.lambda_pseudo_labels > 0 or self.lambda_virtual_adversarial > 0

    @property
    def is_on(self) -> bool:
        """Whether any term is on."""
        return any(weight > 0 for key, weight in self if key.startswith("lambda_"))

    @model_validator(mode="before")
    @classmethod
    def _expand_named_set(cls, values: Any) -> Any:
        """Replace the name of an augmentation set by its strengths; keys given beside it win."""
        if not isinstance(values, dict) or not isinstance(name := values.get("augmentation"), str):
            return values
        if name not in AUGMENTATION_SETS:
            raise ValueError(f"augmentation {name[:40]!r} is no set; give a number or {', '.join(AUGMENTATION_SETS)}")
        return AUGMENTATION_SETS[name] | {key: value for key, value in values.items() if key != "augmentation"}

    @model_validator(mode="after")
    def _terms_fit(self) -> ConsistencyConfig:
        if self.lambda_pairs == 0:
            for name in ("lambda_balance", "lambda_over_clustering"):
                if getattr(self, name):
                    raise ValueError(f"{name} needs pairs; set lambda_pairs above 0 too")
        if self.spread_labels and not (self.lambda_pseudo_labels and self.n_neighbors):
            raise ValueError(
                "spread_labels needs neighbours and pseudo-labels; set n_neighbors and lambda_pseudo_labels above 0 too"
            )
        for name in ("cluster_first", "pseudo_label_head"):
            if getattr(self, name) and not self.lambda_pseudo_labels:
                raise ValueError(f"{name} needs pseudo-labels; set lambda_pseudo_labels above 0 too")
        if self.blend_regression and not self.spread_labels:
            raise ValueError("blend_regression needs spread labels; set spread_labels to true too")
        return self
