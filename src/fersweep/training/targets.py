"""Soft targets: distributions over the classes, or sets of acceptable ones, that are learnt in place of labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.data.samples import OBJECTIVES, Samples

EPSILON = 0.001
"""Target of ``multi_target`` for the classes that are not acceptable, as in the code of Barsoum et al. 2016."""

_DRAW = int.from_bytes(b"votes")  # keeps the draws of labels apart from those of the order, of mixup and of dropout


class SoftTargets(nn.Module):
    """The targets of all samples, and their loss (Barsoum et al. 2016, and ``cost_func`` in the authors' code).

    - ``cross_entropy``: the cross-entropy of the distributions.
    - ``probability``: that of one label per image, drawn from its distribution anew in every epoch.
    - ``multi_target``: -log maxₖ qₖpₖ with q = 1 for an acceptable class and `EPSILON` for others.

    Args:
        values: float32 ``(N, K)``, `Samples.targets`.
        objective: one of `OBJECTIVES`.
        seed: of the draws, which are a function of it and of the epoch.
    """

    values: Tensor

    def __init__(self, values: Tensor, objective: str, seed: int) -> None:
        super().__init__()
        assert objective in OBJECTIVES, objective
        self.objective, self.seed = objective, seed
        self.register_buffer("values", values, persistent=False)
        self._drawn: tuple[int, Tensor] | None = None

    @classmethod
    def of(cls, samples: Samples, seed: int) -> SoftTargets | None:
        """Return the targets of samples; ``None`` if their labels are learnt."""
        if samples.targets is None:
            return None
        return cls(torch.from_numpy(np.array(samples.targets)), samples.objective, seed)

    def rows(self, indices: Tensor, epoch: int) -> Tensor:
        """Return the targets ``(B, K)`` of the samples ``indices``, int64 ``(B,)``, in an epoch."""
        if self.objective != "probability":
            return self.values[indices]
        return F.one_hot(self.drawn(epoch)[indices], self.values.shape[1]).to(self.values.dtype)

    def drawn(self, epoch: int) -> Tensor:
        """Return the labels of ``probability`` in an epoch, int64 ``(N,)``, one for each sample."""
        if self._drawn is None or self._drawn[0] != epoch:
            total = self.values.double().cpu().cumsum(dim=1).numpy()
            chosen = np.random.default_rng([self.seed, epoch, _DRAW]).random((len(total), 1)) * total[:, -1:]
            labels = (chosen >= total).sum(axis=1)
            self._drawn = epoch, torch.from_numpy(labels).to(self.values.device)
        return self._drawn[1]

    def share(
        self, logits: Tensor, targets: Tensor, batch_labels: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        """Return the contribution of a microbatch to the mean loss of its batch.

        Class weights count by the target (of ``multi_target``, by the class that attains the maximum), and their sum
        over the batch is that of its labels, as in `fersweep.training.losses.cross_entropy_share`.

        Args:
            logits: ``(B, K)``.
            targets: ``(B, K)``, as of `rows`.
            batch_labels: int64 ``(G,)``, the labels of the batch over all processes and microbatches.
            weights: ``(K,)`` or ``None``.
            smoothing: weight of the cross-entropy of the uniform distribution, as of ``label_smoothing``.
        """
        denominator = len(batch_labels) if weights is None else weights[batch_labels].sum()
        if self.objective != "multi_target":
            total = F.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="sum")
            return total / denominator
        logs = F.log_softmax(logits, dim=1)
        best, place = (logs + torch.where(targets > 0, targets, EPSILON).log()).max(dim=1)
        each = torch.ones_like(logs) if weights is None else weights.expand_as(logs)
        losses = -best * each.gather(1, place[:, None])[:, 0]
        if smoothing > 0:
            losses = (1 - smoothing) * losses - smoothing * (each * logs).mean(dim=1)
        return losses.sum() / denominator
