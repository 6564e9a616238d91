"""Prediction of expressions in pictures: detect faces, crop them as in training, classify, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig

from fersweep.config.plugins import use
from fersweep.config.schema import DETECTORS
from fersweep.data.images import UnreadableImageError, quiet
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels, crop, detectors, pictures
from fersweep.faces.crop import AS_FACE, FACE
from fersweep.faces.tracking import Tracker
from fersweep.inference import shipped, trained
from fersweep.text import did_you_mean

WHOLE = detectors.WholeImage()


class Prediction(NamedTuple):
    """The faces of one picture, in descending order of the detector's confidence.

    For several pictures each field is a list with one entry per picture.
    """

    labels: list[Any]
    """Names of the most probable classes, ``n``."""
    probabilities: Any
    """Calibrated, float32 ``(n, K)``."""
    boxes: Any
    """Left, top, right, bottom in pixels, float64 ``(n, 4)``."""


class Predictor:
    """Predicts the expressions of faces with one network or the mean of several.

    Args:
        checkpoint: a ``.ckpt`` or ``.safetensors`` file, the directory of a run, or a folder of runs, whose
            probabilities are averaged; ``None``: the network that comes with fersweep, named in one line on standard
            error.
        detector: ``mtcnn``, ``libfacedetection``, ``yolo5face``, ``none`` (pictures are faces), or ``auto``, which
            follows the training images: the detector that cropped them; none for whole pictures; for datasets of faces,
            none for pictures hardly larger than the network's input and MTCNN for others.
        weights: YOLO5Face's ONNX file.
        choose: ``all`` faces, the ``largest``, or the most ``confident`` one.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU if available.
        plugins: your own modules that the checkpoint needs (docs/how-to/extend.md).

    Raises:
        UserError: the checkpoint, the detector or another argument cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        *,
        detector: str = "auto",
        weights: Path | None = None,
        choose: str = "all",
        device: str = "auto",
        plugins: Sequence[str] = (),
    ) -> None:
        use(plugins)
        for option, value, choices in (
            ("detector", detector, ("auto", *DETECTORS)),
            ("choose", choose, crop.CHOICES),
        ):
            if value not in choices:
                raise UserError(f"Unknown {option}={value}{did_you_mean(value, choices)}: {', '.join(choices)}.")
        named = None if checkpoint is None else Path(checkpoint)
        self.trained = [shipped.load(device)] if named is None else trained.load_all(named, device)
        self.class_names = self.trained[0].class_names
        self.choose = choose
        _check_framings(self.trained)
        dataset: DictConfig = self.trained[0].cfg.dataset
        self._small_are_faces = detector == "auto" and dataset.faces == "none" and weights is None
        if detector == "auto" and weights:
            detector = "yolo5face"
        elif detector == "auto" and dataset.faces == "none":
            detector = "mtcnn" if self.trained[0].framing == FACE else "none"
        elif detector == "auto":
            detector = dataset.faces
        confidence = None
        if detector == dataset.faces != "none":
            confidence = dataset.face_crop.confidence
            weights = weights or (Path(dataset.face_crop.weights) if dataset.face_crop.weights else None)
        self.detector: Detector = detectors.make(detector, weights=weights, confidence=confidence, device=device)

    @property
    def title(self) -> str:
        """Network, attention and dataset in words."""
        first, *others = self.trained
        return f"{first.title} and {len(others)} more" if others else first.title

    @property
    def caveats(self) -> tuple[str, ...]:
        """Warnings to users, see `fersweep.inference.trained.Trained.caveats`."""
        return tuple(dict.fromkeys(each for network in self.trained for each in network.caveats))

    @property
    def detects_faces(self) -> bool:
        """False if all pictures are classified without face detection."""
        return self.detector.name != "none"

    @property
    def whole_up_to(self) -> int:
        """Longest side in pixels of a picture that is taken for a face without detection; 0 if none is."""
        return AS_FACE * self.trained[0].image_size if self._small_are_faces else 0

    def __call__(self, images: Pixels | str | Path | Sequence[Pixels | str | Path]) -> Prediction:
        """Find and classify the faces of one picture or several.

        Args:
            images: paths or uint8 arrays, ``(H, W)`` grey or ``(H, W, 3)`` RGB; one, or a sequence.

        Raises:
            UserError: a file cannot be read, or an array is not a picture.
        """
        single = isinstance(images, str | Path | np.ndarray)
        given: Sequence[Any] = [images] if single else images  # type: ignore[assignment]
        read = [_picture(each) for each in given]
        found = self.find(read)
        probabilities = self.classify(read, found)
        labels = [[self.class_names[k] for k in each.argmax(axis=1)] for each in probabilities]
        boxes = [boxes_of(faces) for faces in found]
        return Prediction(labels[0], probabilities[0], boxes[0]) if single else Prediction(labels, probabilities, boxes)

    def find(self, images: Sequence[Pixels], tracker: Tracker | None = None) -> list[list[Face]]:
        """Return the chosen faces of each picture, the most confident first.

        A ``tracker`` of the detector makes the pictures the next frames of its video.
        """
        detector = tracker or self.detector
        searched = [number for number, image in enumerate(images) if max(image.shape[:2]) > self.whole_up_to]
        found = WHOLE.detect(images)
        seen = [self.trained[0].crop.picture(images[each]) for each in searched]
        for number, faces in zip(searched, detector.detect(seen), strict=True):
            found[number] = crop.choose(faces, self.choose)
        return found

    def classify(self, images: Sequence[Pixels], found: Sequence[Sequence[Face]]) -> list[npt.NDArray[np.float32]]:
        """Return the probabilities ``(n, K)`` of the faces of each picture; all faces form one batch."""
        total = torch.zeros(())
        for network in self.trained:
            faces = [face for image, its in zip(images, found, strict=True) for face in _cut(network, image, its)]
            total = total + network.probabilities(network.prepare(faces))
        mean = (total / len(self.trained)).numpy()
        return np.split(mean, np.cumsum([len(faces) for faces in found])[:-1]) if found else []

    def cut(self, image: Pixels, faces: Sequence[Face]) -> list[Pixels]:
        """Crop faces as the (first) network sees them, at their original size."""
        return _cut(self.trained[0], image, faces)


def boxes_of(faces: Sequence[Face]) -> npt.NDArray[np.float64]:
    """Return the boxes ``(n, 4)`` of faces."""
    return np.array([face.box for face in faces], np.float64).reshape(-1, 4)


def _cut(network: trained.Trained, image: Pixels, faces: Sequence[Face]) -> list[Pixels]:
    """Crop faces as the network's training images were cropped.

    If these came as faces, boxes are made square: on FER2013's images of 48 pixels, the median side of MTCNN's squared
    boxes is 49 pixels, and they lie in the middle. A face that covers the whole picture is not cropped.
    """
    [[whole]] = WHOLE.detect([image])
    square, image = network.cfg.dataset.faces == "none", network.crop.picture(image)
    return [
        image if face.box == whole.box else network.crop.cut(image, _squared(face) if square else face)
        for face in faces
    ]


def _squared(face: Face) -> Face:
    """Extend the shorter side of the box to the longer one, around the same centre."""
    left, top, right, bottom = face.box
    half, x, y = max(right - left, bottom - top) / 2, (left + right) / 2, (top + bottom) / 2
    return replace(face, box=(x - half, y - half, x + half, y + half))


def _check_framings(networks: Sequence[trained.Trained]) -> None:
    """Refuse an ensemble of networks trained on faces and networks trained on whole pictures."""
    framings = [each.framing if each.cfg.dataset.faces == "none" else FACE for each in networks]
    for network, framing in zip(networks, framings, strict=True):
        if framing != framings[0]:
            raise UserError(
                f"{network.path} was trained on {framing}s, {networks[0].path} on {framings[0]}s: "
                "an ensemble needs networks with the same framing."
            )


def _picture(image: Pixels | str | Path) -> Pixels:
    if isinstance(image, str | Path):
        try:
            with quiet():
                return pictures.read(Path(image))
        except UnreadableImageError as error:
            raise UserError(f"Cannot read {image}: {error}") from error
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise UserError("A picture is a path or a uint8 array (H, W) or (H, W, 3).")
    if image.ndim == 3 and image.shape[2] != 3:
        raise UserError(
            f"A picture of shape {image.shape} has {image.shape[2]} channels: grey is (H, W), RGB (H, W, 3)."
        )
    return image
