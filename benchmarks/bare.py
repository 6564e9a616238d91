"""The bare loop: a training step without data, metrics or callbacks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F

from fersweep import build
from fersweep.config.schema import input_size
from fersweep.data.samples import CLASSES
from fersweep.models.fast import SWAPS, speed_up
from fersweep.training import memory
from fersweep.training.devices import precision
from fersweep.training.optim import clip_gradients


class BareLoop:
    """A network, its optimiser and one batch, which stays on the device.

    Args:
        network: to train, images ``(B, 1, S, S)`` to logits ``(B, 7)``.
        cfg: the run that gives optimiser, gradient clipping, precision, memory format, batch and image size.
        device: to compute on.
        fused: use the project's optimiser and clipping rather than torch's defaults.
        kept: keep freed memory from step to step, as the project does, rather than return it to the system.
        swaps: the project's faster layers to use.
    """

    def __init__(
        self,
        network: nn.Module,
        cfg: DictConfig,
        device: torch.device,
        *,
        fused: bool = True,
        kept: bool = True,
        swaps: Mapping[type[nn.Module], type[nn.Module]] = SWAPS,
    ) -> None:
        layout = torch.channels_last if cfg.trainer.memory_format == "channels_last" else torch.contiguous_format
        self.network: nn.Module = speed_up(network, swaps).to(device).to(memory_format=layout).train()
        optimizer = build.optimizer_factory(cfg) if fused else build.make(cfg.recipe.optimizer)
        self.optimizer = optimizer(self.network.parameters())
        self.clip, self.device, self.kept = cfg.recipe.gradient_clip, device, kept
        self.clip_gradients = clip_gradients if fused else nn.utils.clip_grad_norm_
        self.bf16 = precision(cfg.trainer.precision, device) == "bf16-mixed"
        shape = (cfg.recipe.batch_size, cfg.dataset.channels, input_size(cfg), input_size(cfg))
        self.images = torch.rand(shape, device=device)
        self.labels = torch.randint(len(CLASSES), shape[:1], device=device)

    def step(self, count: int | None = None) -> None:
        """Do a training step on the first ``count`` images of the batch, or on all."""
        if self.device.type == "cpu":
            (memory.keep_freed if self.kept else memory.return_freed)()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = F.cross_entropy(self.network(self.images[:count]).float(), self.labels[:count])
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            self.clip_gradients(self.network.parameters(), self.clip)
        self.optimizer.step()

    def validate(self, count: int | None = None) -> None:
        """Compute the logits of the first ``count`` images of the batch, without gradients."""
        self.network.train(False)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            self.network(self.images[:count])
        self.network.train()


def built(cfg: DictConfig, device: torch.device) -> BareLoop:
    """Return the bare loop of a run's own network."""
    return BareLoop(build.model(cfg, len(CLASSES)), cfg, device)
