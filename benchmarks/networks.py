"""Networks beside torchvision's, attention beside timm's, bf16 beside fp32: bare steps, without data or Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torchvision.models import resnet50, vgg19

from benchmarks.bare import BareLoop
from benchmarks.measure import Case, Figure, alternate, figures, rate
from benchmarks.settings import Settings
from fersweep import build
from fersweep.data.samples import CLASSES
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.common import halved

OURS = "ours"
STAGES = (256, 512, 1024, 2048)
"""Channels after each stage of a ResNet-50."""


def beside_torchvision(settings: Settings, batch: int) -> list[Figure]:
    """Training images a second of our resnet50 and vgg19 and of torchvision's; all without attention, with ReLU.

    Torchvision's are trained as torch comes: the optimiser's default kernels, the C library's allocator as it is.
    torchvision's have one input channel and seven classes. Its vgg19 enlarges the last map to 7 × 7 before the dense
    layers; one whose dense layers have the size of ours is measured too.
    """
    made = _beside_ours(settings, "resnet50", batch, {"torchvision": _resnet50()})
    if settings.smoke:  # a vgg19 takes gigabytes
        return made
    rows = settings.image_size
    for _ in range(5):
        rows = halved(rows)
    peers = {"torchvision": _vgg19(7), "torchvision, our dense layers": _vgg19(rows)}
    return made + _beside_ours(settings, "vgg19", batch, peers)


def _resnet50() -> nn.Module:
    network = resnet50(num_classes=len(CLASSES))
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network


def _vgg19(rows: int) -> nn.Module:
    """torchvision's, its dense layers on a map of so many rows and columns (its own: 7)."""
    network = vgg19(num_classes=len(CLASSES))
    network.features[0] = nn.Conv2d(1, 64, 3, padding=1)
    network.avgpool = nn.AdaptiveAvgPool2d(rows)
    network.classifier[0] = nn.Linear(512 * rows**2, 4096)
    return network


def _beside_ours(settings: Settings, backbone: str, batch: int, peers: Mapping[str, nn.Module]) -> list[Figure]:
    case: Case = {"backbone": backbone, "attention": "none", "activation": "relu", "batch": batch}
    names = [f"{group}={name}" for group, name in case.items() if group != "batch"]
    cfg = settings.compose(*names, "fidelity=paper", f"recipe.batch_size={batch}")
    loops = {OURS: BareLoop(build.model(cfg, len(CLASSES)), cfg, settings.device)}
    loops |= {name: BareLoop(network, cfg, settings.device, fused=False, kept=False) for name, network in peers.items()}
    return _steps(settings, case, loops, to=OURS)


def _steps(settings: Settings, case: Case, loops: Mapping[str, BareLoop], to: str) -> list[Figure]:
    """Training images a second of each loop, in turn, and ratios to that of one of them."""
    least, batch = settings.least, int(case["batch"])
    contestants = {name: rate(loop.step, batch, settings.device, least) for name, loop in loops.items()}
    values = alternate(contestants, settings.repeats)
    return figures("images/s", case, values, {name: to for name in loops if name != to})


def precisions(settings: Settings, case: Case, overrides: tuple[str, ...]) -> list[Figure]:
    """Training images a second in bf16 mixed precision and in fp32."""
    loops = {}
    for name, choice in (("bf16", "bf16"), ("fp32", "32")):
        cfg = settings.compose(*overrides, f"trainer.precision={choice}")
        loops[name] = BareLoop(build.model(cfg, len(CLASSES)), cfg, settings.device)
    return _steps(settings, case, loops, to="bf16")


def beside_timm(settings: Settings, batch: int) -> list[Figure]:
    """Images a second, forward and backward, of SE, ECA and CBAM, ours and timm's, on the maps of a ResNet-50."""
    from timm.layers import EcaModule, SEModule
    from timm.layers.cbam import CbamModule

    kinds: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
        "se": (SqueezeExcitation, SEModule),
        "eca": (EfficientChannelAttention, EcaModule),
        "cbam": (CBAM, CbamModule),
    }
    made = []
    side = halved(halved(settings.image_size))
    for channels in STAGES:
        for kind, factories in kinds.items():
            works = (_pass(factory(channels), channels, side, batch, settings) for factory in factories)
            contestants = {
                name: rate(work, batch, settings.device, settings.least / 3)
                for name, work in zip((OURS, "timm"), works, strict=True)
            }
            case: Case = {"attention": kind, "map": f"{channels}×{side}×{side}", "batch": batch}
            made += figures("images/s", case, alternate(contestants, settings.repeats), {"timm": OURS})
        side = halved(side)
    return made


def _pass(module: nn.Module, channels: int, side: int, batch: int, settings: Settings) -> Callable[[], None]:
    """One pass forward and backward, to the map and to the parameters."""
    device, bf16 = settings.device, settings.precision == "bf16-mixed"
    module = module.to(device).to(memory_format=torch.channels_last).train()
    kind = torch.bfloat16 if bf16 else torch.float32
    x = torch.randn(batch, channels, side, side, device=device, dtype=kind).to(memory_format=torch.channels_last)
    x.requires_grad_()
    gradient = torch.ones_like(x)

    def work() -> None:
        x.grad = None
        module.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            y = module(x)
        y.backward(gradient.to(y.dtype))

    return work
