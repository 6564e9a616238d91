"""The detectors by name: `make` builds one, or says in one sentence why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fersweep.config.schema import DETECTORS
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels
from fersweep.text import did_you_mean


class WholeImage:
    """The image is the face: one of confidence 1, without landmarks."""

    name = "none"

    def fingerprint(self) -> str:
        """Return a digest of everything that `detect` depends on beside the image."""
        return self.name

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """Return a face as large as the image for each."""
        return [[Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 1.0)] for image in images]


def make(name: str, *, weights: Path | None = None, confidence: float | None = None, device: str = "auto") -> Detector:
    """Build a detector.

    Args:
        name: one of `DETECTORS`.
        weights: the ONNX file of ``yolo5face``, which needs one; no other detector takes it.
        confidence: the faces above it are found, in [0, 1); ``None``: the detector's own choice. Not for ``none``.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.

    Raises:
        UserError: the name or the device is not known or not there, the weights are missing, not YOLO5Face's or not
            for this detector, or the confidence is out of range.
    """
    if name not in DETECTORS:
        raise UserError(
            f"There is no face detector {name!r}{did_you_mean(name, DETECTORS)}; choices: {', '.join(DETECTORS)}."
        )
    if confidence is not None and not 0 <= confidence < 1:
        raise UserError(f"A confidence of {confidence} is out of range: choose one from 0 to below 1.")
    if weights is not None and name != "yolo5face":
        raise UserError(f"The weights {weights} have no effect with the detector {name}: they are for yolo5face.")
    if name == "none":
        if confidence is not None:
            raise UserError("A confidence has no effect with the detector none, which looks for nothing.")
        return WholeImage()
    if name == "mtcnn":
        from fersweep.faces.mtcnn import Mtcnn

        return Mtcnn(confidence, device)
    if weights is None:
        raise UserError("The detector yolo5face needs the ONNX file of its weights, which are not shipped: name yours.")
    from fersweep.faces.yolo5face import Yolo5Face

    return Yolo5Face(weights, confidence, device)
