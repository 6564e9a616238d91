"""Learning rates by layer, and weight decay without biases and norms."""

from __future__ import annotations

import pytest
import torch
from conftest import NARROW, quickly_composed
from linear import RECIPE
from torch import nn

from fersweep import build
from fersweep.config.checks import validate
from fersweep.config.schema import to_dict
from fersweep.errors import UserError
from fersweep.models.depth import depths
from fersweep.runs.identity import identity
from fersweep.training.optim import parameter_groups

RESNET = ("backbone=resnet18", "backbone.model.width=4", "attention=se")


def test_without_the_settings_the_optimiser_takes_the_parameters_in_their_order() -> None:
    network = build.model(quickly_composed(*NARROW), 7)
    assert list(parameter_groups(network, RECIPE)) == list(network.parameters())
    assert not {"layer_decay", "decay_biases"} & set(identity(to_dict(quickly_composed(*NARROW)))["recipe"])


def test_a_stem_eight_blocks_and_a_classifier_are_ten_layers() -> None:
    depth = depths(build.model(quickly_composed(*RESNET), 7))
    expected = {"stem.conv.weight": 0, "stem.norm.weight": 0, "stages.0.0.conv1.weight": 1, "classifier.bias": 9}
    assert {name: depth[name] for name in expected} == expected
    assert [depth[f"stages.{stage}.{block}.norm2.bias"] for stage in range(4) for block in range(2)] == [*range(1, 9)]


@pytest.mark.parametrize("decays_all", [True, False])
def test_rates_fall_from_the_classifier_to_the_images(decays_all: bool) -> None:
    cfg = quickly_composed(*RESNET, "recipe=finetune", f"recipe.decay_biases={str(decays_all).lower()}")
    network, recipe = build.model(cfg, 7), to_dict(cfg)["recipe"]
    groups = parameter_groups(network, recipe)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert sorted(id(each) for group in groups for each in group["params"]) == sorted(names)
    assert groups[0]["lr"] == recipe["optimizer"]["lr"]  # which the history shows
    optimizer = build.optimizer_factory(cfg)(groups)
    for group in optimizer.param_groups:
        for each in group["params"]:
            name = names[id(each)]
            assert group["lr"] == pytest.approx(1e-3 * 0.8 ** (9 - depths(network)[name])), name
            assert group["weight_decay"] == (0.05 if decays_all or each.ndim > 1 else 0), name


def test_a_step_moves_each_layer_at_its_rate() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    groups = parameter_groups(network, {**RECIPE, "layer_decay": 0.5, "optimizer": {"lr": 0.1}})
    optimizer = torch.optim.SGD(groups, lr=0.1)
    before = [each.detach().clone() for each in network.parameters()]
    torch.stack(list(network.parameters())).sum().backward()
    optimizer.step()
    moved = [float(start - each.detach()) for start, each in zip(before, network.parameters(), strict=True)]
    assert moved == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("recipe.layer_decay=1.5", "recipe.layer_decay=1.5"),
        ("recipe.optimizer.weight_decay=0", "recipe.decay_biases=false has no effect"),
        ("recipe.layer_decay=0", "recipe.layer_decay=0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        validate(quickly_composed(*NARROW, "recipe=finetune", setting))


def test_two_sources_of_first_weights_are_refused() -> None:
    cfg = quickly_composed("backbone=timm", "backbone.model.pretrained=true")
    cfg.weights = "file.pth"
    with pytest.raises(UserError, match="leave one of them out"):
        validate(cfg)
