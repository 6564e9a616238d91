"""Networks of the config groups, and a training step of them, for the tests of networks."""

from __future__ import annotations

import functools
import json

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from fersweep.build import make, model
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir, option_file, options
from fersweep.config.targets import find
from fersweep.models.gates import Attention
from fersweep.models.pretrained import Pretrained

ATTENTIONS = options("attention")
ACTIVATIONS = [name for name in options("activation") if option_file("activation", name)["module"]]
PRETRAINED = [
    name
    for name in options("backbone")
    if issubclass(find(option_file("backbone", name)["model"]["_target_"]), Pretrained)
]
"""Networks of other libraries, which tests/models/test_pretrained.py tests."""
BACKBONES = [name for name in options("backbone") if name not in PRETRAINED]
FIDELITIES = options("fidelity")
SHALLOW = "backbone.model.depths=[1,1,1,1]"
OWN = [name for name in BACKBONES if option_file("backbone", name).get("attention_position") is None]
"""Networks without attention from the group: they have their own, or none."""

NETWORKS = [(name, attention) for name in BACKBONES for attention in (["none"] if name in OWN else ATTENTIONS)]
VGGS = [name for name in BACKBONES if name.startswith("vgg")]
RESNETS = [name for name in BACKBONES if name.startswith("resnet")]

COUNTED = ("none", "se", "eca", "cbam")


def build(*overrides: str) -> nn.Module:
    """The network of these config overrides, its weights drawn with seed 0."""
    cfg = compose_config(list(overrides))
    torch.manual_seed(0)
    return model(cfg, 7)


def images(batch: int = 2, channels: int = 1, size: int = 48) -> Tensor:
    """Noise of different brightness and contrast, in [0, 1]."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(batch, channels, size, size, generator=generator)
    return (0.6 * noise + 0.4 * torch.rand(batch, channels, 1, 1, generator=generator)).float()


def check_learning(network: nn.Module, context: str, size: int = 48) -> None:
    """One training step's backward pass reaches every parameter with a finite gradient that is not all zero.

    Parameters behind one that starts at zero, so that their attention module begins as the identity, have until the
    second step.
    """
    late = _without_gradient(network, context, size)
    if late:
        begins = [module for module in network.modules() if _begins_as_the_identity(module)]
        behind = {id(each): each for module in begins for each in module.parameters()}
        assert all(id(each) in behind for each in late.values()), f"{context}: the gradient of {[*late]} is zero"
        torch.optim.SGD(behind.values(), lr=0.01).step()
        network.zero_grad()
        late = _without_gradient(network, context, size)
    assert not late, f"{context}: the gradient of {[*late]} is zero"


def _without_gradient(network: nn.Module, context: str, size: int) -> dict[str, nn.Parameter]:
    """The parameters whose gradient is zero, of a backward pass through finite values alone."""
    logits = network.train()(images(size=size))
    assert logits.shape == (2, 7), context
    assert logits.dtype == torch.float32, context
    F.cross_entropy(logits, torch.tensor([1, 4])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{context}: {name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{context}: {name} has a gradient that is not finite"
    return {name: each for name, each in network.named_parameters() if not each.grad.any()}


def _begins_as_the_identity(module: nn.Module) -> bool:
    """Whether it is an attention module with a scale of zero."""
    scales = [each for name, each in module.named_parameters() if name.endswith(("weight", "gamma"))]
    return isinstance(module, Attention) and not all(each.any() for each in scales)


@functools.cache
def composed(*choices: str) -> str:
    """A configuration as JSON: composing takes a third of a second, options are replaced in one that is."""
    return json.dumps(OmegaConf.to_container(compose_config(list(choices))))


def build_activation(name: str) -> nn.Module:
    """The module of an activation's config file."""
    return make(OmegaConf.load(config_dir() / "activation" / f"{name}.yaml").module)
