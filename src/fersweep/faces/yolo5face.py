"""YOLO5Face (Qi et al., 2021, arXiv:2105.12931) from the user's ONNX file; the weights are GPL-3 and not shipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fersweep.data.images import to_channels
from fersweep.errors import UserError, extra
from fersweep.faces import Face, Pixels
from fersweep.files import given
from fersweep.text import first_line

with extra("YOLO5Face"):
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

Floats = npt.NDArray[np.float32]

CONFIDENCE = 0.5  # default threshold of objectness, and of objectness times class score; the study's
OVERLAP = 0.5  # intersection over union above which the less confident of two boxes is suppressed
SIZE = 640  # pixels per side of the input if the file leaves them open
GREY = 114  # padding value of the letterbox
FIELDS = 16  # fields of a candidate: centre x, y, width, height, objectness, five landmarks' x and y, class score
ANCHORS = {
    8: ((4, 5), (8, 10), (13, 16)),
    16: ((23, 29), (43, 55), (73, 105)),
    32: ((146, 217), (231, 300), (335, 433)),
}
"""Anchor width and height in pixels, by the stride of the map."""

_UNREADABLE = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)


class Yolo5Face:
    """Finds faces and their landmarks in grey and RGB images of any sizes.

    Args:
        weights: an ONNX file of one input ``(1, 3, H, W)``, RGB in [0, 1], whose output is ``(1, N, 16)`` in pixels of
            the input or three raw maps ``(1, 3, H / s, W / s, 16)`` of strides 8, 16 and 32.
        confidence: threshold of the faces' confidence, in [0, 1); ``None``: `CONFIDENCE`.
        device: ``cpu``, ``gpu``, or ``auto``: a GPU if onnxruntime can use one.

    Raises:
        UserError: the file is missing, not ONNX or another network's, or the device is not available.
    """

    name = "yolo5face"

    def __init__(self, weights: Path, confidence: float | None = None, device: str = "auto") -> None:
        self.confidence = CONFIDENCE if confidence is None else confidence
        self.weights = given(weights)
        self._digest, self._session = _open(self.weights, device)
        self._input, self._size = _input_of(self._session, self.weights)
        self._candidates(np.full((*self._size, 3), GREY, np.uint8))  # refuses an output of another shape early

    def fingerprint(self) -> str:
        return sha256(json.dumps([self.name, self._digest, self._size, self.confidence, OVERLAP]).encode()).hexdigest()

    def detect(self, images: Sequence[Pixels]) -> list[list[Face]]:
        return [self._detect(image) for image in images]

    def _detect(self, image: Pixels) -> list[Face]:
        boxed, scale, offset = _letterbox(to_channels(image, 3), self._size)
        found = self._candidates(boxed).astype(np.float64)
        scores = found[:, 4] * found[:, 15]
        kept = (found[:, 4] > self.confidence) & (scores > self.confidence) & np.isfinite(found).all(axis=1)
        found, scores = found[kept], scores[kept]
        corners = found[:, :2] - found[:, 2:4] / 2
        rectangles = np.concatenate((corners, found[:, 2:4]), axis=1)
        faces = []
        for index in cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), 0.0, OVERLAP):
            (left, top), (right, bottom) = (
                ((point - offset) / scale).tolist() for point in (corners[index], corners[index] + found[index, 2:4])
            )
            landmarks = (found[index, 5:15].reshape(5, 2) - offset) / scale
            faces.append(Face((left, top, right, bottom), min(float(scores[index]), 1.0), landmarks))
        return faces

    def _candidates(self, boxed: Pixels) -> Floats:
        """Return the network's candidates for an image of the input's size, ``(N, 16)`` in its pixels."""
        batch = np.ascontiguousarray(boxed.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        try:
            outputs = [np.asarray(each) for each in self._session.run(None, {self._input: batch})]
        except _UNREADABLE as error:
            raise UserError(
                f"{self.weights} cannot be run on an image of {self._size}: {first_line(error)}."
            ) from error
        for output in outputs:
            if output.ndim == 3 and output.shape[0] == 1 and output.shape[2] == FIELDS:
                return output[0]
        shapes = [(1, 3, self._size[0] // stride, self._size[1] // stride, FIELDS) for stride in ANCHORS]
        maps = {output.shape: output for output in outputs}
        if not set(shapes) <= set(maps):
            raise UserError(
                f"{self.weights} is not YOLO5Face: its outputs are {', '.join(map(str, maps))}, not (1, N, {FIELDS}) "
                f"or {', '.join(map(str, shapes))}."
            )
        decoded = [_decoded(maps[shape][0], stride) for shape, stride in zip(shapes, ANCHORS, strict=True)]
        return np.concatenate(decoded)


def _open(weights: Path, device: str) -> tuple[str, onnxruntime.InferenceSession]:
    """Return the digest of an ONNX file, and a session of it."""
    providers = ["CPUExecutionProvider"]
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "gpu" and not available:
        raise UserError("--device gpu is not possible: this onnxruntime has no CUDA support; install onnxruntime-gpu.")
    if available and device != "cpu":
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    try:
        data = weights.read_bytes()
        return sha256(data).hexdigest(), onnxruntime.InferenceSession(data, options, providers=providers)
    except OSError as error:
        raise UserError(f"Cannot read the weights {weights}: {error.strerror or error}.") from error
    except _UNREADABLE as error:
        raise UserError(f"{weights} is not an ONNX file that onnxruntime can run: {first_line(error)}.") from error


def _input_of(session: onnxruntime.InferenceSession, weights: Path) -> tuple[str, tuple[int, int]]:
    """Return name, height and width of the input."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    fits = len(shape) == 4 and inputs[0].type == "tensor(float)"
    batch, channels, height, width = (side if isinstance(side, int) else None for side in shape) if fits else [0] * 4
    height, width = SIZE if height is None else height, SIZE if width is None else width
    if batch not in (None, 1) or channels not in (None, 3) or height % 32 or width % 32 or not height * width:
        have = "; ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
        raise UserError(
            f"{weights} is not YOLO5Face: its inputs are {have}, not one tensor(float) [1, 3, H, W] with H and W "
            "multiples of 32."
        )
    return inputs[0].name, (height, width)


def _letterbox(image: Pixels, size: tuple[int, int]) -> tuple[Pixels, float, npt.NDArray[np.float64]]:
    """Fit an RGB image into ``(height, width)`` with grey padding; return it, the scale, and x and y of its corner."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    boxed = np.full((*size, 3), GREY, np.uint8)
    boxed[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=method)
    return boxed, scale, np.array([left, top], np.float64)


def _decoded(raw: Floats, stride: int) -> Floats:
    """Return the candidates ``(N, 16)`` of one raw map ``(3, rows, columns, 16)``."""
    anchors = np.array(ANCHORS[stride], np.float32).reshape(3, 1, 1, 2)
    rows, columns = raw.shape[1:3]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
    scores = 1 / (1 + np.exp(-np.clip(raw[..., [0, 1, 2, 3, 4, 15]], -60, 60)))
    centre = (2 * scores[..., :2] - 0.5 + grid) * stride
    size = (2 * scores[..., 2:4]) ** 2 * anchors
    landmarks = raw[..., 5:15].reshape(3, rows, columns, 5, 2) * anchors[..., None, :] + (grid * stride)[..., None, :]
    parts = (centre, size, scores[..., 4:5], landmarks.reshape(3, rows, columns, 10), scores[..., 5:])
    return np.concatenate(parts, axis=-1).reshape(-1, FIELDS).astype(np.float32)
