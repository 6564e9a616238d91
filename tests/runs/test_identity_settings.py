"""Settings that are part of a run's identity, and those that are not."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
from conftest import plain, quickly_composed

from fersweep.config.schema import NAMED, Config, section
from fersweep.errors import UserError
from fersweep.runs.identity import identity, run_hash, slug


def config(*overrides: str) -> dict[str, Any]:
    return plain(quickly_composed(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        "outputs=/elsewhere",
        "sweep=table",
        "cache=/tmp/cache",
        "force=true",
        "logger=wandb",
        "logger=wandb logger.project=mine logger.tags=[a]",
        "logger=tensorboard",
        "trainer=cpu",
        "trainer=gpu",
        "trainer=ddp",
        "trainer=ddp_cpu trainer.devices=4 trainer.num_nodes=2",
        "trainer.auto_microbatch=true",
        "trainer.accelerator=cpu",
        "trainer.memory_format=contiguous",
        "trainer.compile=true",
        "trainer.workers=2",
        "trainer.progress_bar=false",
        "trainer.profiler=simple",
        "dataset.batch_size=7",
        "backbone.lr=0.1 backbone.epochs=7",
        "backbone.title=mine",
        "dataset.preprocessing.min_max=false dataset.preprocessing.min_variance=0.0",
        "recipe.convolution_l2=0",
    ],
)
def test_where_and_how_fast_makes_no_other_run(overrides: str) -> None:
    assert run_hash(config(*overrides.split())) == run_hash(config())
    assert slug(config(*overrides.split())) == slug(config())


def test_the_place_of_the_data_makes_no_other_run() -> None:
    here, there = (config("dataset=fer2013", f"dataset.root={root}") for root in ("/a/fer2013.zip", "b"))
    loaded = config("dataset=fer2013", "dataset.download=true")
    assert run_hash(here) == run_hash(there) == run_hash(loaded)


def leaves(node: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of all settings."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, *(value[-1:] or [1])]
    return f"{value}_changed" if isinstance(value, str) else 1


COMPOSED = (
    "",
    "backbone=vgg19 attention=eca activation=selu fidelity=code recipe=study split=study",
    "backbone=drf_msam attention=none fidelity=paper recipe=modern split=subjects",
    "backbone=msff_cnn attention=none fidelity=code recipe=notebook split=notebook",
)


FILES = ("weights", "dataset.face_crop.weights", "recipe.teacher")
"""Settings that name files, which count by their content."""


@pytest.mark.parametrize("overrides", COMPOSED)
def test_every_setting_that_changes_what_is_computed_changes_the_hash(overrides: str) -> None:
    """Of every setting of a run, one by one: it counts, or it is aside in the schema, or what it says is not built."""
    settings = config(*overrides.split())
    before = run_hash(settings)
    kept = identity(settings)
    assert settings == config(*overrides.split())  # it is not changed on the way
    idle = set()
    for name, value in leaves(settings):
        if name.endswith(("_target_", "_partial_", ".name")) or name in FILES:
            continue
        other = copy.deepcopy(settings)
        *above, last = name.split(".")
        node = other
        for key in above:
            node = node[key]
        node[last] = changed(value)
        with contextlib.suppress(UserError):  # a place for attention in a network that takes none is refused
            if run_hash(other) == before:
                idle.add(name)
    aside = set(asides(Config, ""))
    not_built = {name for name in idle if name not in aside}
    assert not_built == NOT_BUILT[overrides]
    assert kept["choices"] == {group: settings[group]["name"] for group in NAMED}


def asides(schema: type, above: str) -> Iterator[str]:
    """Dotted names of the settings that the schema says are no part of a run's identity."""
    for each in fields(schema):
        inner = section(each)
        if not each.metadata.get("identity", True):
            yield f"{above}{each.name}"
            yield from (f"{above}{each.name}.{key}" for key in ("name", "project", "entity", "group", "tags", "mode"))
            yield from (f"{above}{each.name}.{key.name}" for key in (fields(inner) if inner else ()))
        elif inner is not None:
            yield from asides(inner, f"{above}{each.name}.")


TITLE = {"attention.title"}

OTHERS = {  # what conf/fidelity/code.yaml says of other networks and attention modules
    "resnet": {"resnet.bias", "resnet.stride_on", "resnet.projection_norm.epsilon"},
    "resnet_basic": {"resnet_basic.bias", "resnet_basic.projection_norm.epsilon"},
    "resnetv2": {"resnetv2.bias", "resnetv2.stride_in", "resnetv2.zero_padded_pool"},
    "vgg": {"vgg.dropout", "vgg.attention_shortcut"},
    "aer_cnn": {"aer_cnn.input_scale"},
    "msff_cnn": {"msff_cnn.input_scale", "msff_cnn.dropout", "msff_cnn.norm.epsilon", "msff_cnn.norm.momentum"},
}


def other_families(own: str) -> set[str]:
    names = set().union(*(names for family, names in OTHERS.items() if family != own))
    return {f"fidelity.backbone.{name}" for name in names}


NOT_BUILT = {
    COMPOSED[0]: TITLE,
    COMPOSED[1]: TITLE | other_families("vgg") | {"backbone.model.dropout"},
    COMPOSED[2]: TITLE,
    COMPOSED[3]: TITLE
    | other_families("msff_cnn")
    | {f"backbone.model.{name}" for name in ("widths", "branch_width", "fusion", "dropout")}
    | {"fidelity.norm.epsilon"},
}
"""Settings without effect: `fersweep.build.check` refuses to have them changed."""
