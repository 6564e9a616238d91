"""Parameter counts of the study's 32 networks: as built here, in its code, and printed in its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fersweep.report.study import notes, rows, study, title, titled

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Count:
    """Counts of one network at 48×48×1 with seven classes.

    Attributes:
        total: parameters and batch norm's moving statistics, as Keras counts; ``trainable`` without the latter.
        code_total: that of the study's code; ``code_trainable`` likewise.
        printed_m: that of its table, in millions.
        note: the known fault of the printed count, or empty.
        equal: whether total and trainable match the code's.
        forward_gflop: 10⁹ floating-point operations of the forward pass of one image; ``None`` if not counted.
    """

    backbone: str
    attention: str
    total: int
    trainable: int
    code_total: int
    code_trainable: int
    printed_m: float
    note: str
    equal: bool
    forward_gflop: float | None = None


def count(fidelity: str, operations: bool = False) -> list[Count]:
    """Build all 32 networks on the meta device, without memory for weights, and count their parameters.

    With ``operations``, those of the forward pass too, which takes a second per network.
    """
    import torch

    from fersweep.build import build_model
    from fersweep.models import flops
    from fersweep.models.common import parameter_counts

    counts = []
    for backbone, attention in rows():
        with torch.device("meta"):
            network = build_model(backbone, attention, activation="elu", fidelity=fidelity)
            own = parameter_counts(network)
            gflop = round(flops.forward(network, 1, 48) / 1e9, 4) if operations else None
        figures = study()["rows"][backbone][attention]
        total, trainable = own["params_total"], own["params_trainable"]
        code = figures["total"], figures["trainable"]
        equal = (total, trainable) == code
        note = notes(backbone, attention)
        counts.append(Count(backbone, attention, total, trainable, *code, figures["params_m"], note, equal, gflop))
    return counts


def show(counts: Sequence[Count], fidelity: str, console: Console) -> None:
    """Print one line per network; wrong printed figures are marked and explained."""
    from rich.table import Table

    table = Table(title=f"Parameters, fidelity={fidelity}", box=None, header_style="dim", title_justify="left")
    for name in ("backbone", "attention"):
        table.add_column(name)
    counted = any(each.forward_gflop is not None for each in counts)
    for name in ("trainable", "total", "the code's total", "printed", *(["GFLOP"] if counted else [])):
        table.add_column(name, justify="right")
    explained = [each for each in counts if each.note]
    for each in counts:
        mark = "*" * (1 + explained.index(each)) if each in explained else ""
        same = "" if each.equal or fidelity != "code" else " differs"
        numbers = (
            f"{each.trainable:,}",
            f"{each.total:,}",
            f"{each.code_total:,}{same}",
            f"{each.printed_m:.2f}M{mark}",
            *([] if each.forward_gflop is None else [f"{each.forward_gflop:.3f}"]),
        )
        table.add_row(titled("backbone", each.backbone), titled("attention", each.attention), *numbers)
    console.print(table)
    if fidelity != "code":
        console.print(f"fidelity={fidelity} builds other networks than the study's code: other counts are expected.")
    for number, each in enumerate(explained, 1):
        console.print(f"{'*' * number} {title(each.backbone, each.attention)}: {each.note}", highlight=False)
