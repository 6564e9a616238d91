"""Order of a sweep's runs: as its settings are typed, or the rows with the fewest finished seeds first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.errors import UserError
from fersweep.runs.identity import run_dir, run_hash, slug
from fersweep.text import did_you_mean

if TYPE_CHECKING:
    from fersweep.sweep.plan import Planned

TYPED, FEWEST_SEEDS_FIRST = "typed", "fewest_seeds_first"
ORDERS = (TYPED, FEWEST_SEEDS_FIRST)


def ordered(runs: Sequence[Planned], order: str) -> list[Planned]:
    """Return the runs in an order of `ORDERS`.

    Rows are runs that differ in nothing but their seed. With ``fewest_seeds_first`` every row gets its first result
    before any gets its second; results of other seeds in the folder count. Equals stay in the order typed, and runs
    that are done come first.

    Raises:
        UserError: there is no such order.
    """
    if order not in ORDERS:
        hint = did_you_mean(str(order), ORDERS)
        raise UserError(f"hydra.sweeper.order={order} is not known{hint}; choices: {', '.join(ORDERS)}.")
    if order == TYPED:
        return list(runs)
    rows: dict[str, int] = {}
    left: dict[str, int] = defaultdict(int)
    ranks = []
    for run in runs:
        if _is_done(run.directory) and not run.config["force"]:
            ranks.append(-1)
            continue
        row = run_hash({**run.config, "seed": 0})
        if row not in rows:
            rows[row] = 0 if run.config["force"] else _finished_seeds(run)
        ranks.append(rows[row] + left[row])
        left[row] += 1
    return [run for _, run in sorted(zip(ranks, runs, strict=True), key=lambda pair: pair[0])]


def _finished_seeds(run: Planned) -> int:
    """Return how many seeds of a run's row are done in its folder.

    Names of runs begin with their choices and seed, so few of the folder's runs can be of the row, and a run's
    directory follows from its settings.
    """
    prefix = slug(run.config).removesuffix(str(run.config["seed"]))
    found = (each.name.removeprefix(prefix).partition("-")[0] for each in run.directory.parent.glob(f"{prefix}*-*"))
    seeds = {int(each) for each in found if each.isdecimal()}
    return sum(_is_done(run.directory.parent / run_dir(_with_seed(run, seed)).name) for seed in seeds)


def _with_seed(run: Planned, seed: int) -> dict[str, Any]:
    return {**run.config, "seed": seed}


def _is_done(directory: Path) -> bool:
    return (directory / "result.json").is_file()
