"""Mixtures of branches over many images: the mean share of every branch, and its spread between images.

A dynamic receptive field that gives every image the same shares is a fixed one. For each block, this tells the spread
between images from that between channels, which a fixed mixture has too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from fersweep.inference.explain.files import write_table
from fersweep.inference.trained import Trained, split_batch
from fersweep.models.gates import BranchMixture, read_out
from fersweep.report.figures import BLUE, GREEN, GREY, VERMILION, blank, save_png
from fersweep.report.svg import styled
from fersweep.text import counted

TABLE = "mixtures.csv"
FIGURE = "mixtures.png"

BATCH = 256
"""Images whose shares are computed together."""


@dataclass(frozen=True)
class Spread:
    """The shares of one branch in one mixture, over images and channels.

    Attributes:
        block: name of the mixture's module.
        branch: number of the branch, from 1.
        mean: over images and channels.
        between_images: standard deviation over images of a channel's share (root mean square over channels).
        between_channels: standard deviation over channels of the mean share over images.
        images: their number.
    """

    block: str
    branch: int
    mean: float
    between_images: float
    between_channels: float
    images: int


def shares(trained: Trained, batch: Tensor) -> dict[str, Tensor]:
    """Return the shares of the branches for images, ``(B, branches, channels)`` by the name of the mixture's module.

    Args:
        trained: the network; the result is empty if it has no mixture.
        batch: uint8 ``(B, C, H, W)``, from `Trained.prepare`.
    """
    names = [name for name, module in trained.network.named_modules() if isinstance(module, BranchMixture)]
    if not names or not len(batch):
        return {}
    found = [
        read_out(trained.network, images.to(trained.device).float().div(255)) for images in split_batch(batch, BATCH)
    ]
    return {name: torch.cat([each[name].cpu() for each in found]) for name in names}


def spreads(found: Mapping[str, Tensor]) -> list[Spread]:
    """Return mean and spread of `shares`, a row for each mixture and branch."""
    rows = []
    for block, each in found.items():
        of_images = each.double().var(dim=0, correction=0).mean(dim=1).sqrt()
        of_channels = each.double().mean(dim=0).std(dim=1, correction=0)
        for number, mean in enumerate(each.double().mean(dim=(0, 2)).tolist()):
            both = of_images[number].item(), of_channels[number].item()
            rows.append(Spread(block, number + 1, mean, *both, len(each)))
    return rows


def write(out: Path, rows: Sequence[Spread]) -> None:
    """Write `TABLE` and `FIGURE` into the folder ``out``, which exists."""
    table = [
        {key: round(each, 5) if isinstance(each, float) else each for key, each in asdict(row).items()} for row in rows
    ]
    write_table(out / TABLE, [each.name for each in fields(Spread)], table)
    draw(out / FIGURE, rows)


@styled
def draw(path: Path, rows: Sequence[Spread]) -> None:
    """Draw the mean share of every branch as PNG: thick bars for the spread between images, thin between channels."""
    blocks = list(dict.fromkeys(row.block for row in rows))
    branches = max(row.branch for row in rows)
    figure = blank(1.6 + 1.1 * len(blocks), 3.3)
    axes = figure.add_axes((0.13, 0.2, 0.84, 0.58))
    for number, colour in zip(range(branches), (BLUE, VERMILION, GREEN) * branches, strict=False):
        own = [row for row in rows if row.branch == number + 1]
        x = [blocks.index(row.block) + 0.2 * (number - (branches - 1) / 2) for row in own]
        means = [row.mean for row in own]
        axes.errorbar(x, means, [row.between_channels for row in own], fmt="none", color=colour, linewidth=1)
        axes.errorbar(x, means, [row.between_images for row in own], fmt="none", color=colour, linewidth=5)
        axes.plot(x, means, "o", color=colour, markersize=4, markeredgecolor="white", label=f"branch {number + 1}")
    axes.axhline(1 / branches, color=GREY, linewidth=0.6, linestyle=":")
    axes.set(xticks=range(len(blocks)), xticklabels=[f"block {number + 1}" for number in range(len(blocks))])
    axes.set(ylim=(0, None), ylabel="share", xlim=(-0.6, len(blocks) - 0.4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=branches, frameon=False, fontsize=8)
    text = f"Mean over {counted(rows[0].images, 'image')}; thick: ± sd between images; thin: ± sd between channels"
    figure.text(0.13, 0.05, text, fontsize=7.5, color=GREY)
    save_png(figure, path)


def overall(rows: Sequence[Spread]) -> dict[str, float]:
    """Return ``shares_between_images`` and ``shares_between_channels``, root mean squares over blocks and branches."""
    means = {
        f"shares_{name}": torch.tensor([getattr(row, name) for row in rows]).square().mean().sqrt().item()
        for name in ("between_images", "between_channels")
    }
    return {name: round(value, 4) for name, value in means.items()}
