"""The exported graph, from pixels to calibrated probabilities; as a ``torch.export`` program; the check of files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fersweep.data import crops
from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.inference.export import about
from fersweep.inference.trained import Trained, as_batch

INPUT = "images"
OUTPUTS = ("probabilities", "logits")
SHAPES = ({0: torch.export.Dim("batch")},)
"""Dynamic dimension of the input."""

METADATA = "metadata.json"
"""Extra file inside the program with `about.metadata`."""

TOLERANCE = 1e-4
"""Largest difference from PyTorch: absolute in probabilities, relative to the largest in logits."""

BATCHES = (1, 3, 17)
"""Batch sizes of the check."""

Answer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""An exported network: uint8 ``(B, C, H, W)`` to probabilities and logits ``(B, K)``."""


class Graph(nn.Module):
    """Map uint8 images to probabilities and logits.

    It includes the preprocessing of the dataset (`fersweep.data.preprocess`), the centre crop of ``recipe.crop``, the
    scaling to [0, 1], the network, and the softmax at the checkpoint's temperature.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = trained.network
        self.temperature = trained.temperature
        self.min_max = bool(trained.cfg.dataset.preprocessing.min_max)
        self.equalize = bool(trained.cfg.dataset.preprocessing.equalize)
        self.side = trained.input_size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``images``, uint8 (B, C, H, W), to probabilities and logits (B, K)."""
        x = images.float()
        x = stretched(x) if self.min_max else x
        x = equalized(x) if self.equalize else x
        logits: Tensor = self.network(crops.centre(x, self.side) / 255)
        return (logits / self.temperature).softmax(dim=1), logits


def stretched(x: Tensor) -> Tensor:
    """Stretch each image of integers (B, C, H, W) to 0 … 255, as `preprocess.changed` does.

    float32 suffices: a quotient that is not half way between two integers is at least 1 / 510 away from there.
    """
    low, high = (end[:, None, None, None] for end in (x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)))
    return ((x - low) * 255 / (high - low).clamp_min(1)).round()


def equalized(x: Tensor) -> Tensor:
    """Equalise the histogram of each image of integers (B, 1, H, W) in [0, 255], as ``cv2.equalizeHist`` does."""
    pixels = x.flatten(1).long()
    ones = torch.ones_like(pixels, dtype=torch.float32)
    counts = ones.new_zeros(x.shape[0], 256).scatter_add(1, pixels, ones)
    lowest = counts.gather(1, pixels.amin(dim=1, keepdim=True))
    rest = pixels.shape[1] - lowest
    scale = torch.full_like(rest, 255) / rest.clamp_min(1)  # 255 / rest would be 255 · (1 / rest), rounded twice
    table = ((counts.cumsum(dim=1) - lowest) * scale).round()
    return torch.where(rest > 0, table.gather(1, pixels), x.flatten(1)).view_as(x)


def example(trained: Trained) -> Tensor:
    """Return a batch to trace the graph with."""
    return torch.zeros(2, trained.channels, trained.image_size, trained.image_size, dtype=torch.uint8)


def write(trained: Trained, path: Path) -> Difference:
    """Write the graph as a program that ``torch.export.load`` runs without this package; see `files.write`."""
    program = torch.export.export(Graph(trained).train(False), (example(trained),), dynamic_shapes=SHAPES, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names source files of this machine
    packed = io.BytesIO()  # torch hides the reason why a file cannot be written
    metadata = json.dumps(about.metadata(trained), ensure_ascii=False)
    torch.export.save(program, packed, extra_files={METADATA: metadata})
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())
        with torch.inference_mode():
            return check(torch.export.load(temporary).module(), trained, path)


class Difference(NamedTuple):
    """Largest differences between an exported network and PyTorch's.

    Attributes:
        probabilities: absolute.
        logits: relative to the largest logit, absolute if that is below 1.
        images: number of images compared.
    """

    probabilities: float
    logits: float
    images: int


def check(answer: Answer, trained: Trained, path: Path, tolerance: float = TOLERANCE) -> Difference:
    """Compare an exported network with the trained one on random images.

    Raises:
        UserError: they differ by more than ``tolerance`` or are not finite; ``path`` is named.
    """
    probabilities, logits = [], []
    for images in (_noise(trained, count) for count in BATCHES):
        ours = trained.logits(trained.preprocess(images))
        theirs = answer(as_batch(images))
        probabilities.append((theirs[0] - (ours / trained.temperature).softmax(dim=1)).abs().max())
        logits.append((theirs[1] - ours).abs().max() / ours.abs().max().clamp_min(1))
    found = Difference(float(torch.stack(probabilities).max()), float(torch.stack(logits).max()), sum(BATCHES))
    if not (found.probabilities <= tolerance and found.logits <= tolerance):
        raise UserError(
            f"{path} was not written: the exported network differs from PyTorch by {found.probabilities:.1e} in the "
            f"probabilities and {found.logits:.1e} in the logits; {tolerance:.0e} is allowed. Use another form."
        )
    return found


def _noise(trained: Trained, count: int) -> npt.NDArray[np.uint8]:
    """Return noise of varied brightness and contrast, ``(count, H, W)`` or ``(count, H, W, 3)``."""
    draw = np.random.default_rng(count)
    low, high = np.sort(draw.integers(0, 256, (2, count, 1, 1, 1)), axis=0)
    shape = (count, trained.image_size, trained.image_size, trained.channels)
    images = draw.integers(low, high + 1, shape).astype(np.uint8)
    return images[..., 0] if trained.channels == 1 else images
