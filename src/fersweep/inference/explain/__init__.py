"""Where a network looks: attention as it computed it, Grad-CAM, and what these pictures are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fersweep.inference.explain.gradcam import gradcam, last_layer
from fersweep.inference.explain.scores import Scores, enlarged, score
from fersweep.inference.trained import Trained, in_parts
from fersweep.models.gates import read_out

Array = npt.NDArray[np.float32]

GRADCAM = "gradcam"
"""The name of this map among those of the gates."""

AT_ONCE = 64
"""Images whose maps are computed together."""


@dataclass(frozen=True)
class Explanation:
    """What there is to see of one answer.

    Attributes:
        probabilities: ``(K,)``, calibrated.
        target: the class that Grad-CAM and scores are about, an index; ``label`` is its name.
        label: see above.
        maps: ``(H, W)`` of the image's size: ``gradcam`` (zero and more) and, by the names of their modules, the gates
            of positions (in [0, 1]; the mean over channels where each has its own).
        gates: by the names of their modules, as they were computed, in [0, 1]: ``(C,)`` of channels, ``(1,)`` of the
            image, ``(h, w)`` of positions, ``(C, h, w)`` of both, ``(branches, C)`` of mixtures. Empty for a network
            without attention.
        scores: of the map ``gradcam``.
    """

    probabilities: Array
    target: int
    label: str
    maps: dict[str, Array]
    gates: dict[str, Array]
    scores: Scores

    @property
    def probability(self) -> float:
        """Of the class explained."""
        return float(self.probabilities[self.target])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything under flat names, for ``.npz``: ``probabilities``, ``map/NAME``, ``gate/NAME``."""
        maps = {f"map/{name}": each for name, each in self.maps.items()}
        return {"probabilities": self.probabilities, **maps, **{f"gate/{k}": each for k, each in self.gates.items()}}


def explain(trained: Trained, batch: Tensor, target: int | None = None) -> list[Explanation]:
    """Explain the answers of a network, each on its own.

    Args:
        trained: the network.
        batch: uint8 ``(B, C, H, W)``, as `Trained.prepare` gives it.
        target: the class to explain; ``None``: of each image the one that is predicted.
    """
    if not len(batch):
        return []
    layer = last_layer(trained.network, batch[:1].to(trained.device).float().div(255))
    explained = []
    for part in in_parts(batch, AT_ONCE):
        images = part.to(trained.device).float().div(255)
        probabilities = trained.probabilities(part)
        targets = probabilities.argmax(dim=1) if target is None else torch.full((len(part),), target)
        cams = gradcam(trained.network, layer, images, targets.to(trained.device)).cpu()
        gates = {name: gate.cpu() for name, gate in read_out(trained.network, images).items()}
        for index, picture in enumerate(part):
            own = {name: gate[index] for name, gate in gates.items()}
            chosen = int(targets[index])
            explained.append(
                Explanation(
                    probabilities[index].numpy(),
                    chosen,
                    trained.class_names[chosen],
                    _maps(cams[index], own, trained.image_size),
                    {name: _plain(gate) for name, gate in own.items()},
                    score(trained, picture, chosen, cams[index]),
                )
            )
    return explained


def _maps(cam: Tensor, gates: dict[str, Tensor], size: int) -> dict[str, Array]:
    """Grad-CAM and the gates of positions of one image, enlarged."""
    coarse = {GRADCAM: cam} | {name: gate.mean(dim=0) for name, gate in gates.items() if _has_positions(gate)}
    return {name: enlarged(each[None], size)[0].numpy() for name, each in coarse.items()}


def _has_positions(gate: Tensor) -> bool:
    return gate.ndim == 3 and gate.shape[1] * gate.shape[2] > 1


def _plain(gate: Tensor) -> Array:
    """A gate of one image without dimensions that say nothing."""
    if gate.ndim == 2:
        return gate.numpy()
    if _has_positions(gate):
        return (gate[0] if len(gate) == 1 else gate).numpy()
    return gate.flatten().numpy()
