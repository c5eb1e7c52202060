"""Train, export, prove and measure adversarial autoencoder (AAE) classifiers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aae_toolkit.estimators.classifier import SemiSupervisedAAEClassifier as SemiSupervisedAAEClassifier
    from aae_toolkit.estimators.clusterer import AAEClusterer as AAEClusterer
    from aae_toolkit.predict.array_classifier import load_classifier as load_classifier

__version__ = "0.2.0"

# The Python API; each is imported when it is asked for, and torch with the first two alone.
_MODULES = {
    "SemiSupervisedAAEClassifier": "aae_toolkit.estimators.classifier",
    "AAEClusterer": "aae_toolkit.estimators.clusterer",
    "load_classifier": "aae_toolkit.predict.array_classifier",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
