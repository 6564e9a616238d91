"""The bare loop: what a training step cannot do without, and nothing else."""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F

from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.training import memory
from fersweep.training.devices import precision
from fersweep.training.optim import clip_gradients


class BareLoop:
    """A network with its recipe's arithmetic and a batch that lies on the device: no data, metrics or callbacks.

    Args:
        network: to train, images ``(B, 1, S, S)`` to logits ``(B, 7)``.
        cfg: the run whose optimiser, gradient clipping, precision, memory format, batch and image size to take.
        device: where to.
        fused: with the project's optimiser and clipping; else with torch's defaults.
        kept: with memory kept from step to step; else as the C library has it. Both are `False` in a program that
            knows nothing of this project.
    """

    def __init__(
        self, network: nn.Module, cfg: DictConfig, device: torch.device, *, fused: bool = True, kept: bool = True
    ) -> None:
        layout = torch.channels_last if cfg.trainer.memory_format == "channels_last" else torch.contiguous_format
        self.network: nn.Module = network.to(device).to(memory_format=layout).train()
        optimizer = build.optimizer_factory(cfg) if fused else build.make(cfg.recipe.optimizer)
        self.optimizer = optimizer(self.network.parameters())
        self.clip, self.device, self.kept = cfg.recipe.gradient_clip, device, kept
        self.clip_gradients = clip_gradients if fused else nn.utils.clip_grad_norm_
        self.bf16 = precision(cfg.trainer.precision, device) == "bf16-mixed"
        shape = (cfg.recipe.batch_size, cfg.dataset.channels, cfg.dataset.image_size, cfg.dataset.image_size)
        self.images = torch.rand(shape, device=device)
        self.labels = torch.randint(len(CLASSES), shape[:1], device=device)

    def step(self, count: int | None = None) -> None:
        """One step of training on the first ``count`` images of the batch, or all."""
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
        """The logits of the first ``count`` images of the batch, without gradients."""
        self.network.train(False)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            self.network(self.images[:count])
        self.network.train()
