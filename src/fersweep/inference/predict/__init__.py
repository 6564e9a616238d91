"""What faces express: from pictures, videos and cameras to probabilities (`Predictor`), tables and drawings."""

from fersweep.inference.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
