"""Parameters and operations of any networks, and the wider network without attention that has as many parameters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from fersweep.config.checks import check_images
from fersweep.config.combinations import EXCLUDE, ZIP, Combination
from fersweep.config.command_line import runs_of_sweep, swept_by_experiment
from fersweep.config.compose import compose_config
from fersweep.config.options import option_file, parse
from fersweep.config.schema import input_size
from fersweep.config.typed import gathered, readable
from fersweep.errors import UserError
from fersweep.report.compare import EQUAL

if TYPE_CHECKING:
    from rich.console import Console

STEPS = 8
"""Widths are multiples of 1 / 8: with these, each stage takes every number of channels."""

WIDEST = 4
"""The widest control, in widths of the network itself."""

CLASSES = 7


@dataclass(frozen=True)
class Control:
    """A network without attention.

    Attributes:
        width: its ``backbone.model.width``.
        parameters: their number.
    """

    width: float
    parameters: int


@dataclass(frozen=True)
class Size:
    """The size of one network with seven classes.

    Attributes:
        settings: those that were named, by name.
        parameters: trainable.
        forward_gflop: 10⁹ floating-point operations of the forward pass of one image; ``None`` if not counted.
        control: ``None`` if not asked for, and for a network without attention.
    """

    settings: dict[str, str]
    parameters: int
    forward_gflop: float | None
    control: Control | None


def sizes(overrides: Sequence[str], operations: bool = False, match: bool = False) -> list[Size]:
    """Return the sizes of the networks that ``overrides`` name, as on the command line of a sweep.

    Args:
        overrides: such as ``backbone=resnet18 attention=se,cbam``; each combination is a network, of those that
            ``hydra.sweeper.zip`` and ``exclude`` leave. An experiment adds its sweep, whose seeds are one network.
        operations: count those of the forward pass too.
        match: find the control of each network with attention.

    Raises:
        UserError: for an unknown option or setting, and for images that no run has; with ``match`` for a network
            whose width cannot be set, and if none has attention.
    """
    found = []
    for settings in _networks(overrides):
        cfg = compose_config([f"{key}={value}" for key, value in settings.items()])
        check_images(cfg)
        found.append(
            Size(
                settings={"backbone": str(cfg.backbone.name), "attention": str(cfg.attention.name)} | settings,
                parameters=_parameters(cfg),
                forward_gflop=_gflop(cfg) if operations else None,
                control=control(cfg) if match and cfg.attention.name != "none" else None,
            )
        )
    if match and all(each.control is None for each in found):
        raise UserError("--match needs a network with attention, such as attention=se,cbam: none has no control.")
    return found


def _networks(overrides: Sequence[str]) -> list[Combination]:
    """Return the settings of a sweep's networks, those that differ in nothing but the seed once."""
    typed = gathered([readable(each, multirun=True) for each in overrides])
    for text, override in zip(typed, parse(typed), strict=True):
        if override.key_or_group.startswith("hydra") and override.key_or_group not in (ZIP, EXCLUDE):
            raise UserError(f"{text} has no effect on the size of a network: omit it.")
    runs = runs_of_sweep([*typed, *swept_by_experiment(typed, multirun=True)])
    without_seed = ({key: value for key, value in each.items() if key != "seed"} for each in runs)
    return [dict(items) for items in dict.fromkeys(tuple(each.items()) for each in without_seed)]


def unequal(found: Sequence[Size]) -> str:
    """Return one sentence on the controls whose parameters differ by more than `EQUAL`; empty if there are none."""
    more = {
        ", ".join(f"{key}={value}" for key, value in each.settings.items() if key in ("backbone", "attention")): (
            each.control.parameters / each.parameters - 1
        )
        for each in found
        if each.control is not None
    }
    far = [f"{name} ({by:+.1%})" for name, by in more.items() if abs(by) > EQUAL]
    if not far:
        return ""
    return (
        f"The nearest control differs by more than {EQUAL:.0%} in parameters, which is no fair comparison: "
        f"{'; '.join(far)}. Widths go in steps of 1/{STEPS}: choose a larger backbone.model.width."
    )


def control(cfg: DictConfig) -> Control:
    """Return the network without attention whose number of parameters is the nearest, by its width.

    Raises:
        UserError: the backbone has no width, or no wider one has as many parameters.
    """
    if not isinstance(cfg.backbone.model.get("width"), int | float):
        raise UserError(
            f"backbone={cfg.backbone.name} has no backbone.model.width, so it cannot be widened to match "
            f"attention={cfg.attention.name}: choose another backbone."
        )
    wanted, plain = _parameters(cfg), without_attention(cfg)
    own = round(STEPS * float(cfg.backbone.model.width))
    steps = range(STEPS, WIDEST * own + 1)
    upper = steps[min(bisect_left(steps, wanted, key=lambda step: _parameters(plain, step)), len(steps) - 1)]
    near = [Control(_width(step), _parameters(plain, step)) for step in (max(upper - 1, STEPS), upper)]
    if near[-1].parameters < wanted:
        raise UserError(
            f"attention={cfg.attention.name} has more parameters than backbone={cfg.backbone.name} {WIDEST} times as "
            "wide: it has no control of equal parameters."
        )
    return min(near, key=lambda each: abs(each.parameters - wanted))


def without_attention(cfg: DictConfig) -> DictConfig:
    """Return a configuration with ``attention=none``, at the position of the backbone's file."""
    plain: Any = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    plain.attention = option_file("attention", "none")
    plain.backbone.attention_position = option_file("backbone", plain.backbone.name)["attention_position"]
    return cast(DictConfig, plain)


def _width(step: int) -> float:
    return step // STEPS if step % STEPS == 0 else step / STEPS


def _parameters(cfg: DictConfig, step: int | None = None) -> int:
    """Return the trainable parameters of a network; of another width, in eighths, if given."""
    import torch

    from fersweep import build
    from fersweep.models.common import parameter_counts

    if step is not None:
        cfg.backbone.model.width = _width(step)
    with torch.device("meta"):
        return parameter_counts(build.model(cfg, CLASSES))["params_trainable"]


def _gflop(cfg: DictConfig) -> float:
    import torch

    from fersweep import build
    from fersweep.models import flops

    with torch.device("meta"):
        return round(flops.forward(build.model(cfg, CLASSES), cfg.dataset.channels, input_size(cfg)) / 1e9, 4)


def show(found: Sequence[Size], console: Console) -> None:
    """Print one line per network: what distinguishes it, its parameters, and what else was asked for."""
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    names = dict.fromkeys(name for each in found for name in each.settings)
    named = [
        name
        for name in names
        if name in ("backbone", "attention") or len({each.settings.get(name) for each in found}) > 1
    ]
    operations, matched = (
        any(getattr(each, name) is not None for each in found) for name in ("forward_gflop", "control")
    )
    for name in named:
        table.add_column(name)
    for name in (
        "parameters",
        *(["GFLOP"] if operations else []),
        *(["width of the control", "its parameters", "difference"] if matched else []),
    ):
        table.add_column(name, justify="right")
    for each in found:
        cells = [f"{each.parameters:,}"]
        cells += [f"{each.forward_gflop:.4f}"] if operations else []
        if each.control is not None:
            more = each.control.parameters / each.parameters - 1
            cells += [f"{each.control.width:g}", f"{each.control.parameters:,}", f"{more:+.2%}"]
        table.add_row(*(each.settings.get(name, "") for name in named), *cells)
    console.print(table)
