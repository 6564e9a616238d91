"""Prediction for pictures, videos and cameras: probabilities (`Predictor`), tables and annotated copies."""

from fersweep.inference.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
