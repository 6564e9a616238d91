"""Deletion and insertion (Petsiuk et al. 2018, "RISE", section 4.2): scores of a saliency map.

Deletion removes pixels, the most salient first; insertion restores them in a blurred image. Both scores are the area
under the probability of the class, in [0, 1]: a good map has a small deletion and a large insertion score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from fersweep.inference.trained import Trained

STEPS = 10
"""Steps from the first to the last image of a series."""

BLUR = 1 / 8
"""Standard deviation of the blur from which insertion starts, as a fraction of the image's side."""

RANDOM = 2
"""Random maps for comparison."""


@dataclass(frozen=True)
class Scores:
    """Areas under the probability of a class, in [0, 1].

    Attributes:
        deletion: smaller is better.
        insertion: larger is better.
        deletion_random, insertion_random: means over `RANDOM` random maps of the same resolution.
    """

    deletion: float
    insertion: float
    deletion_random: float
    insertion_random: float

    @property
    def worth(self) -> str:
        """Comparison with random maps by both scores, in words."""
        by = {"deletion": self.deletion < self.deletion_random, "insertion": self.insertion > self.insertion_random}
        better = [name for name, is_better in by.items() if is_better]
        if len(better) == 1:
            return f"better than random maps by {better[0]} alone"
        return "better than random maps" if better else "no better than random maps"


def score(trained: Trained, picture: Tensor, target: int, coarse: Tensor, seed: int = 0) -> Scores:
    """Score one map, and random ones.

    Deleted pixels get the image's mean, per channel; insertion starts from a Gaussian blur of `BLUR`.

    Args:
        trained: the network; its calibrated probabilities are used.
        picture: uint8 ``(C, H, W)``.
        target: the class.
        coarse: the map before upsampling, float32 ``(h, w)``; random maps have the same size.
        seed: of the random maps, and of the order of equally salient pixels.
    """
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.random((RANDOM, *coarse.shape), np.float32))
    maps = enlarged(torch.cat([coarse[None], noise]), picture.shape[-1])
    ranks = torch.from_numpy(np.stack([_ranks(each, rng) for each in maps.numpy()]))
    mean = picture.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8).expand_as(picture)
    series = torch.cat([_series(picture, mean, ranks), _series(_blurred(picture), picture, ranks)])
    curves = trained.probabilities(series)[:, target].view(2, 1 + RANDOM, STEPS + 1).numpy()
    (deletion, *deletions), (insertion, *insertions) = np.trapezoid(curves, dx=1 / STEPS, axis=-1)
    return Scores(*(float(each) for each in (deletion, insertion, np.mean(deletions), np.mean(insertions))))


def enlarged(maps: Tensor, size: int) -> Tensor:
    """Upsample maps ``(B, h, w)`` to ``(B, size, size)``, bilinearly."""
    return torch.nn.functional.interpolate(maps[:, None], size=(size, size), mode="bilinear")[:, 0]


def _ranks(saliency: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rank pixels ``(H, W)`` from 0 for the most salient; ties in random order."""
    order = np.lexsort((rng.random(saliency.size), -saliency.ravel()))
    ranks = np.empty(saliency.size, np.int64)
    ranks[order] = np.arange(saliency.size)
    return ranks.reshape(saliency.shape)


def _series(before: Tensor, after: Tensor, ranks: Tensor) -> Tensor:
    """Replace pixels in `STEPS` steps in the order of each of ``ranks`` ``(M, H, W)``: ``(M (STEPS + 1), C, H, W)``."""
    limits = torch.linspace(0, ranks[0].numel(), STEPS + 1).round()
    changed = ranks[:, None] < limits[:, None, None]
    return torch.where(changed.flatten(0, 1)[:, None], after, before)


def _blurred(picture: Tensor) -> Tensor:
    sigma = BLUR * picture.shape[-1]
    reach = min(round(3 * sigma), picture.shape[-1] - 1)
    return gaussian_blur(picture, [2 * reach + 1] * 2, [sigma, sigma])
