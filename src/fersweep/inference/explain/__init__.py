"""Explanations: attention gates as computed, Grad-CAM, and scores of its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fersweep.inference.explain.gradcam import gradcam, last_layer
from fersweep.inference.explain.scores import Scores, enlarged, score
from fersweep.inference.trained import Trained, split_batch
from fersweep.models.gates import read_out

Array = npt.NDArray[np.float32]

GRADCAM = "gradcam"
"""Key of Grad-CAM in `Explanation.maps`."""

BATCH = 64
"""Images whose maps are computed together."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of one prediction.

    Attributes:
        probabilities: ``(K,)``, calibrated.
        target: index of the class that Grad-CAM and the scores explain.
        label: name of that class.
        maps: ``(S, S)`` of the size that the network takes: ``gradcam`` (non-negative) and the spatial gates by module
            name, in [0, 1], averaged over channels.
        gates: by module name, as computed, in [0, 1] (GCT's in [0, 2]): ``(C,)`` per channel, ``(1,)`` per image,
            ``(h, w)`` or ``(C, h, w)`` per position, ``(branches, C)`` for mixtures. Empty without attention.
        scores: of ``gradcam``.
    """

    probabilities: Array
    target: int
    label: str
    maps: dict[str, Array]
    gates: dict[str, Array]
    scores: Scores

    @property
    def probability(self) -> float:
        """Probability of the class explained."""
        return float(self.probabilities[self.target])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays for ``.npz``: ``probabilities``, ``map/NAME``, ``gate/NAME``."""
        maps = {f"map/{name}": each for name, each in self.maps.items()}
        return {"probabilities": self.probabilities, **maps, **{f"gate/{k}": each for k, each in self.gates.items()}}


def explain(trained: Trained, batch: Tensor, target: int | None = None) -> list[Explanation]:
    """Explain each prediction of a network.

    Args:
        trained: the network.
        batch: uint8 ``(B, C, S, S)``, from `Trained.prepare`.
        target: index of the class to explain; ``None``: the predicted class of each image.
    """
    if not len(batch):
        return []
    layer = last_layer(trained.network, batch[:1].to(trained.device).float().div(255))
    return [each for images in split_batch(batch, BATCH) for each in _explain(trained, layer, images, target)]


def _explain(trained: Trained, layer: torch.nn.Module, batch: Tensor, target: int | None) -> list[Explanation]:
    images = batch.to(trained.device).float().div(255)
    probabilities = trained.probabilities(batch)
    targets = probabilities.argmax(dim=1) if target is None else torch.full((len(batch),), target)
    cams = gradcam(trained.network, layer, images, targets.to(trained.device)).cpu()
    gates = {name: gate.cpu() for name, gate in read_out(trained.network, images).items()}
    explanations = []
    for index, chosen in enumerate(targets.tolist()):
        own = {name: gate[index] for name, gate in gates.items()}
        coarse = {GRADCAM: cams[index]} | {name: gate.mean(dim=0) for name, gate in own.items() if _is_spatial(gate)}
        explanations.append(
            Explanation(
                probabilities[index].numpy(),
                chosen,
                trained.class_names[chosen],
                {name: enlarged(each[None], trained.input_size)[0].numpy() for name, each in coarse.items()},
                {name: np.atleast_1d(gate.squeeze().numpy()) for name, gate in own.items()},
                score(trained, batch[index], chosen, cams[index]),
            )
        )
    return explanations


def _is_spatial(gate: Tensor) -> bool:
    return gate.ndim == 3 and gate.shape[1] * gate.shape[2] > 1
