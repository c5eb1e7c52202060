"""Prediction with exported classifiers, without torch."""

from aae_toolkit.predict.image_files import Candidate, Prediction, predict

__all__ = ["Candidate", "Prediction", "predict"]
