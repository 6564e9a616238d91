"""Face detectors by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fersweep.config.schema import DETECTORS
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels
from fersweep.text import did_you_mean

FOLLOWERS = ("mtcnn", "libfacedetection")
"""Detectors that can follow faces through a video (`fersweep.faces.Follower`)."""


class WholeImage:
    """Takes the whole image for a face of confidence 1, without landmarks."""

    name = "none"

    def fingerprint(self) -> str:
        return self.name

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        return [[Face((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), 1.0)] for image in images]


def make(name: str, *, weights: Path | None = None, confidence: float | None = None, device: str = "auto") -> Detector:
    """Build a detector.

    Args:
        name: one of `DETECTORS`.
        weights: the ONNX file of ``yolo5face``; no other detector takes one.
        confidence: threshold of the faces' confidence, in [0, 1); ``None``: the detector's default. Not for ``none``.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU if available; ``libfacedetection`` runs on the CPU.

    Raises:
        UserError: the name is unknown, the device is not available, the weights are missing, not YOLO5Face's or not
            for this detector, or the confidence is out of range.
    """
    if name not in DETECTORS:
        raise UserError(
            f"Unknown face detector {name!r}{did_you_mean(name, DETECTORS)}; choices: {', '.join(DETECTORS)}."
        )
    if confidence is not None and not 0 <= confidence < 1:
        raise UserError(f"A confidence of {confidence} is out of range: choose one from 0 to below 1.")
    if weights is not None and name != "yolo5face":
        raise UserError(f"The weights {weights} have no effect with the detector {name}: they are for yolo5face.")
    if name == "none":
        if confidence is not None:
            raise UserError("A confidence has no effect with the detector none, which detects nothing.")
        return WholeImage()
    if name == "mtcnn":
        from fersweep.faces.mtcnn import Mtcnn

        return Mtcnn(confidence, device)
    if name == "libfacedetection":
        from fersweep.faces.libfacedetection import LibFaceDetection

        return LibFaceDetection(confidence)
    if weights is None:
        raise UserError("The detector yolo5face needs the ONNX file of its weights, which are not shipped: name yours.")
    from fersweep.faces.yolo5face import Yolo5Face

    return Yolo5Face(weights, confidence, device)
