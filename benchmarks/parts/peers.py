"""The same work in other projects: torchvision's networks, timm's attention, a plain Lightning program; and fp32.

Networks and attention are timed in bare steps, without data or Lightning.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import torch
from torch import nn
from torchvision.models import resnet50, vgg19

from benchmarks import plain
from benchmarks.bare import BareLoop, built
from benchmarks.epochs import Epoch, EpochClock, rates, steps, train
from benchmarks.measure import Case, Figure, Part, alternate, compare, figures
from benchmarks.runs import new_seed
from benchmarks.settings import Settings
from fersweep import build, logs
from fersweep.data.samples import CLASSES
from fersweep.models.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from fersweep.models.common import halved
from fersweep.models.fast import speed_up

OURS = "ours"
STAGES = (256, 512, 1024, 2048)
"""Channels after each stage of a ResNet-50."""

NOTE = (
    "Networks and attention: bare steps. Plain Lightning: a map-style dataset, albumentations image by image, "
    "self.log, a CSV logger, ModelCheckpoint; network, optimiser and precision are ours."
)


def measure(settings: Settings) -> Part:
    """Measure images per second of ours and of each peer; ratios are the peer's to ours, below 1 where ours is faster.

    A note names what cannot be compared here, because timm is not installed or the processor has no bf16.
    """
    part = Part(notes=[NOTE])
    timm, bf16 = find_spec("timm") is not None, settings.precision == "bf16-mixed"
    if not timm:
        part.notes.append("timm is not installed: attention is not compared.")
    if not bf16:
        part.notes.append("This device has no bf16: precisions are not compared.")
    for batch in settings.batches:
        part.figures += beside_torchvision(settings, batch)
        part.figures += beside_timm(settings, batch) if timm else []
    for case, overrides in settings.cases():
        part.figures += precisions(settings, case, overrides) if bf16 else []
        part.figures += beside_plain(settings, case, overrides)
    return part


def beside_plain(settings: Settings, case: Case, overrides: tuple[str, ...]) -> list[Figure]:
    """Measure training images per second of an epoch in this project, and in a plain Lightning program."""
    cfg = settings.compose(*overrides, "recipe.max_epochs=1")
    data = build.datamodule(cfg, build.samples(cfg))
    folder = settings.folder / "plain"

    def ours() -> Epoch:
        own = settings.compose(*overrides, "recipe.max_epochs=1", new_seed())
        return train(own, EpochClock(settings.device))[0]

    def theirs() -> Epoch:
        timer = EpochClock(settings.device)
        folder.mkdir()
        with logs.to_run(folder, echo=False):
            plain.fit(cfg, data.samples, data.split, folder, settings.device, timer)
        shutil.rmtree(folder)
        return timer.epochs[0]

    timed = alternate({OURS: ours, "plain Lightning": theirs}, settings.repeats)
    images = sum(steps(len(data.split.train), int(case["batch"]), least=2))
    values = {
        name: each
        for who, epochs in timed.items()
        for name, each in rates(images, epochs, f"{who}, training batches", f"{who}, epoch").items()
    }
    spans = ("training batches", "epoch")
    return figures("images/s", case, values, {f"plain Lightning, {each}": f"{OURS}, {each}" for each in spans})


def beside_torchvision(settings: Settings, batch: int) -> list[Figure]:
    """Measure training images per second of resnet50 and vgg19, ours and torchvision's, without attention, with ReLU.

    torchvision's have one input channel and seven classes, and train with torch's defaults: the optimiser's default
    kernels, the C library's allocator. Its vgg19 enlarges the last map to 7 × 7 before the dense layers; one with dense
    layers of our size is measured too.
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
    """Return torchvision's, with dense layers on a map of ``rows`` × ``rows`` (its default: 7 × 7)."""
    network = vgg19(num_classes=len(CLASSES))
    network.features[0] = nn.Conv2d(1, 64, 3, padding=1)
    network.avgpool = nn.AdaptiveAvgPool2d(rows)
    network.classifier[0] = nn.Linear(512 * rows**2, 4096)
    return network


def _beside_ours(settings: Settings, backbone: str, batch: int, peers: Mapping[str, nn.Module]) -> list[Figure]:
    case: Case = {"backbone": backbone, "attention": "none", "activation": "relu", "batch": batch}
    names = [f"{group}={name}" for group, name in case.items() if group != "batch"]
    cfg = settings.compose(*names, "fidelity=paper", f"recipe.batch_size={batch}")
    loops = {OURS: built(cfg, settings.device)}
    for name, network in peers.items():
        loops[name] = BareLoop(network, cfg, settings.device, fused=False, kept=False, swaps={})
    return _steps(settings, case, loops, to=OURS)


def _steps(settings: Settings, case: Case, loops: Mapping[str, BareLoop], to: str) -> list[Figure]:
    """Measure training images per second of each loop; ratios are relative to the loop ``to``."""
    candidates = {name: settings.rate(loop.step, int(case["batch"])) for name, loop in loops.items()}
    return compare("images/s", case, candidates, settings.repeats, to)


def precisions(settings: Settings, case: Case, overrides: tuple[str, ...]) -> list[Figure]:
    """Measure training images per second in bf16 mixed precision and in fp32."""
    loops = {
        name: built(settings.compose(*overrides, f"trainer.precision={choice}"), settings.device)
        for name, choice in (("bf16", "bf16"), ("fp32", "32"))
    }
    return _steps(settings, case, loops, to="bf16")


def beside_timm(settings: Settings, batch: int) -> list[Figure]:
    """Measure images per second of SE, ECA and CBAM, ours and timm's, forward and backward, on maps of a ResNet-50."""
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
        for kind, (own, theirs) in kinds.items():
            candidates = {
                name: settings.rate(_pass(module, channels, side, batch, settings), batch)
                for name, module in ((OURS, speed_up(own(channels))), ("timm", theirs(channels)))
            }
            case: Case = {"attention": kind, "map": f"{channels}×{side}×{side}", "batch": batch}
            made += compare("images/s", case, candidates, settings.repeats, to=OURS)
        side = halved(side)
    return made


def _pass(module: nn.Module, channels: int, side: int, batch: int, settings: Settings) -> Callable[[], None]:
    """Return a forward and backward pass, with gradients of the map and of the parameters."""
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
