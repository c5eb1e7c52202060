"""Train, export, prove and measure adversarial autoencoder (AAE) classifiers."""

__version__ = "0.1.0"
