"""The network as it is exported: whole, from pixels to calibrated probabilities; and the check of what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fersweep.errors import UserError
from fersweep.inference.trained import Trained, as_batch

INPUT = "images"
OUTPUTS = ("probabilities", "logits")

TOLERANCE = 1e-4
"""How far an exported network may be from PyTorch's: in probabilities, and in logits as a share of the largest."""

BATCHES = (1, 3, 17)
"""Sizes of the batches that an exported network is checked with."""

Answer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""An exported network: uint8 ``(B, C, H, W)`` to probabilities and logits ``(B, K)``."""


class Graph(nn.Module):
    """uint8 images, as the dataset has them, to probabilities and logits.

    Everything between is inside: the preprocessing of the dataset (`fersweep.data.preprocess`), the scaling to [0, 1],
    the network, and the softmax at the checkpoint's temperature.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = trained.network
        self.temperature = trained.temperature
        self.min_max = bool(trained.cfg.dataset.preprocessing.min_max)
        self.equalize = bool(trained.cfg.dataset.preprocessing.equalize)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``images``, uint8 (B, C, H, W), to probabilities and logits (B, K)."""
        x = images.float()
        x = stretched(x) if self.min_max else x
        x = equalized(x) if self.equalize else x
        logits: Tensor = self.network(x / 255)
        return (logits / self.temperature).softmax(dim=1), logits


def stretched(x: Tensor) -> Tensor:
    """Whole numbers (B, C, H, W) in [0, 255], each image stretched to 0 … 255, as `preprocess.changed` does.

    Its float64 is not needed: a quotient that is not half way between two whole numbers is 1 / 510 or more away.
    """
    low, high = (end[:, None, None, None] for end in (x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)))
    return ((x - low) * 255 / (high - low).clamp_min(1)).round()


def equalized(x: Tensor) -> Tensor:
    """Whole numbers (B, 1, H, W) in [0, 255], the histogram of each image equalised as ``cv2.equalizeHist`` does."""
    pixels = x.flatten(1).long()
    ones = torch.ones_like(pixels, dtype=torch.float32)
    counts = ones.new_zeros(x.shape[0], 256).scatter_add(1, pixels, ones)
    lowest = counts.gather(1, pixels.amin(dim=1, keepdim=True))
    rest = pixels.shape[1] - lowest
    scale = torch.full_like(rest, 255) / rest.clamp_min(1)  # 255 / rest would be 255 · (1 / rest), rounded twice
    table = ((counts.cumsum(dim=1) - lowest) * scale).round()
    return torch.where(rest > 0, table.gather(1, pixels), x.flatten(1)).view_as(x)


def traced(trained: Trained) -> torch.export.ExportedProgram:
    """`Graph` as a program of ``torch.export``, for any batch; it names no file of this machine."""
    example = torch.zeros(2, trained.channels, trained.image_size, trained.image_size, dtype=torch.uint8)
    program = torch.export.export(
        Graph(trained).train(False), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


class Difference(NamedTuple):
    """The largest differences between an exported network and PyTorch's.

    Attributes:
        probabilities: absolute.
        logits: as a share of the largest logit, or absolute where that is below 1.
        images: how many were compared.
    """

    probabilities: float
    logits: float
    images: int


def check(answer: Answer, trained: Trained, path: Path) -> Difference:
    """Compare an exported network with the trained one, prepared and asked in its own way, on random images.

    Raises:
        UserError: where they differ by more than `TOLERANCE`, or are not finite; ``path`` is named.
    """
    probabilities, logits = [], []
    for faces in (_faces(trained, count) for count in BATCHES):
        ours = trained.logits(trained.preprocessed(faces))
        theirs = answer(as_batch(faces))
        probabilities.append((theirs[0] - (ours / trained.temperature).softmax(dim=1)).abs().max())
        logits.append((theirs[1] - ours).abs().max() / ours.abs().max().clamp_min(1))
    found = Difference(float(torch.stack(probabilities).max()), float(torch.stack(logits).max()), sum(BATCHES))
    if not (found.probabilities <= TOLERANCE and found.logits <= TOLERANCE):
        raise UserError(
            f"{path} was not written: the exported network differs from PyTorch by {found.probabilities:.1e} in the "
            f"probabilities and {found.logits:.1e} in the logits, where {TOLERANCE:.0e} is allowed; use another form."
        )
    return found


def _faces(trained: Trained, count: int) -> npt.NDArray[np.uint8]:
    """Noise of any brightness and contrast, as `Trained.preprocessed` takes it: ``(count, H, W)`` or with channels."""
    draw = np.random.default_rng(count)
    low, high = np.sort(draw.integers(0, 256, (2, count, 1, 1, 1)), axis=0)
    shape = (count, trained.image_size, trained.image_size, trained.channels)
    faces = draw.integers(low, high + 1, shape).astype(np.uint8)
    return faces[..., 0] if trained.channels == 1 else faces
