"""From a picture to what the faces in it express: detect, cut as in training, classify, calibrate."""

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
from fersweep.inference import trained
from fersweep.text import did_you_mean


class Prediction(NamedTuple):
    """What the faces of one picture express, in the order of the detector's confidence.

    Of several pictures each field is a list with one such entry for each of them.
    """

    labels: list[Any]
    """Names of the most probable classes, ``n``."""
    probabilities: Any
    """Calibrated, float32 ``(n, K)``."""
    boxes: Any
    """Left, top, right, bottom of the faces in pixels, float64 ``(n, 4)``."""


class Predictor:
    """Answers what faces express, with the network of a checkpoint or the mean of several.

    Args:
        checkpoint: a ``.ckpt`` file, a run's directory, or a folder of runs: their mean probabilities.
        detector: ``mtcnn``, ``yolo5face``, ``none`` (pictures are taken as they are), or ``auto``: as the network's
            training images were made. That is the detector that cut them, none where they were whole pictures; where
            they came as faces, pictures hardly larger than the network's own are taken as they are, and MTCNN looks
            at the others.
        weights: YOLO5Face's ONNX file.
        choose: of several faces ``all``, the ``largest``, or the most ``confident`` one.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.
        plugins: modules of your own that the checkpoint needs (docs/how-to/extend.md).

    Raises:
        UserError: for a checkpoint or detector that cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | Path,
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
                raise UserError(f"{option}={value} is not known{did_you_mean(value, choices)}: {', '.join(choices)}.")
        self.trained = trained.load_all(Path(checkpoint), device)
        self.class_names = self.trained[0].class_names
        self.choose = choose
        dataset: DictConfig = self.trained[0].cfg.dataset
        _refuse_unlike(self.trained)
        self._small_are_faces = detector == "auto" and dataset.faces == "none" and weights is None
        settings: dict[str, Any] = {"weights": weights}
        if detector == "auto":
            came = "mtcnn" if self.trained[0].framing == FACE else "none"
            detector = "yolo5face" if weights else came if dataset.faces == "none" else dataset.faces
        if detector == dataset.faces and detector != "none":
            own = dataset.face_crop
            settings = {
                "confidence": own.confidence,
                "weights": weights or (Path(own.weights) if own.weights else None),
            }
        self.detector: Detector = detectors.make(detector, device=device, **settings)

    @property
    def title(self) -> str:
        """Network, attention and dataset in words."""
        first, *others = self.trained
        return f"{first.title} and {len(others)} more" if others else first.title

    @property
    def caveats(self) -> tuple[str, ...]:
        """What whoever asks should know first, see `fersweep.inference.trained.Trained.caveats`."""
        return tuple(dict.fromkeys(each for network in self.trained for each in network.caveats))

    @property
    def takes_pictures_whole(self) -> bool:
        """Whether no faces are looked for, however large a picture is."""
        return self.detector.name == "none"

    def __call__(self, images: Pixels | str | Path | Sequence[Pixels | str | Path]) -> Prediction:
        """Find and classify the faces of one picture or several.

        Pictures are paths, or uint8 arrays, ``(H, W)`` grey or ``(H, W, 3)`` RGB. One without a face has no labels and
        arrays of no rows.

        Raises:
            UserError: for a path that cannot be read, or an array that is no picture.
        """
        one = isinstance(images, str | Path | np.ndarray)
        given: Sequence[Any] = [images] if one else images  # type: ignore[assignment]
        read = [_picture(each) for each in given]
        found = self.find(read)
        probabilities = self.classify(read, found)
        labels = [[self.class_names[k] for k in each.argmax(axis=1)] for each in probabilities]
        boxes = [np.array([face.box for face in faces], np.float64).reshape(-1, 4) for faces in found]
        return Prediction(labels[0], probabilities[0], boxes[0]) if one else Prediction(labels, probabilities, boxes)

    def find(self, images: Sequence[Pixels]) -> list[list[Face]]:
        """Return the chosen faces of each picture, the most confident first."""
        limit = AS_FACE * self.trained[0].image_size if self._small_are_faces else 0
        looked_at = [number for number, image in enumerate(images) if max(image.shape[:2]) > limit]
        found = [_whole(image) for image in images]
        seen = [self.trained[0].crop.picture(images[each]) for each in looked_at]
        for number, faces in zip(looked_at, self.detector.detect(seen), strict=True):
            found[number] = crop.choose(faces, self.choose)
        return found

    def classify(self, images: Sequence[Pixels], found: Sequence[Sequence[Face]]) -> list[npt.NDArray[np.float32]]:
        """Return the probabilities ``(n, K)`` of the faces of each picture, all classified together."""
        total: torch.Tensor | None = None
        for network in self.trained:
            faces = [cut for image, faces in zip(images, found, strict=True) for cut in cut_as(network, image, faces)]
            probabilities = network.probabilities(network.prepare(faces))
            total = probabilities if total is None else total + probabilities
        assert total is not None
        mean = (total / len(self.trained)).numpy()
        ends = np.cumsum([len(faces) for faces in found])
        return [mean[end - len(faces) : end] for faces, end in zip(found, ends, strict=True)]

    def cut(self, image: Pixels, faces: Sequence[Face]) -> list[Pixels]:
        """Return the faces as the (first) network sees them, at their own size."""
        return cut_as(self.trained[0], image, faces)


def cut_as(network: trained.Trained, image: Pixels, faces: Sequence[Face]) -> list[Pixels]:
    """Cut faces out of a picture as those were cut that the network was trained on.

    Where they were not cut out, boxes are made square: on FER2013's own images, the median side of MTCNN's squared
    boxes is 49 of 48 pixels, in their middle. A face that is the whole picture stays so.
    """
    whole, square, image = _whole(image)[0].box, network.cfg.dataset.faces == "none", network.crop.picture(image)
    return [
        image if face.box == whole else network.crop.cut(image, squared(face) if square else face) for face in faces
    ]


def _refuse_unlike(networks: Sequence[trained.Trained]) -> None:
    """Refuse an ensemble of networks that saw faces and networks that saw whole pictures."""
    shown = [(each, each.framing if each.cfg.dataset.faces == "none" else FACE) for each in networks]
    for each, framing in shown[1:]:
        if framing != shown[0][1]:
            raise UserError(
                f"{each.path} was trained on {framing}s, {shown[0][0].path} on {shown[0][1]}s: "
                "an ensemble needs networks that are shown pictures in the same way."
            )


def squared(face: Face) -> Face:
    """The face with a square box around the same centre, its side the longer one."""
    left, top, right, bottom = face.box
    half, x, y = max(right - left, bottom - top) / 2, (left + right) / 2, (top + bottom) / 2
    return replace(face, box=(x - half, y - half, x + half, y + half))


def _whole(image: Pixels) -> list[Face]:
    height, width = image.shape[:2]
    return [Face((0.0, 0.0, float(width), float(height)), 1.0)]


def _picture(image: Pixels | str | Path) -> Pixels:
    if isinstance(image, str | Path):
        try:
            with quiet():
                return pictures.read(Path(image))
        except UnreadableImageError as error:
            raise UserError(f"cannot read {image}: {error}") from error
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise UserError("a picture is a path or a uint8 array of (H, W) or (H, W, 3).")
    if image.ndim == 3 and image.shape[2] != 3:
        raise UserError(
            f"a picture of shape {image.shape} has {image.shape[2]} channels: grey is (H, W), RGB (H, W, 3)."
        )
    return image
