"""Order of a sweep's runs: rows with the fewest finished seeds first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sweeps import changed, planned

from fersweep.errors import UserError
from fersweep.sweep.order import ordered
from fersweep.sweep.plan import Planned

__all__ = ["planned"]

Compose = Callable[..., Planned]


def done(run: Planned) -> None:
    run.directory.mkdir(parents=True)
    (run.directory / "result.json").write_text("{}")


def names(runs: list[Planned]) -> list[str]:
    return [f"{run.config['activation']['name']} {run.config['seed']}" for run in ordered(runs, "fewest_seeds_first")]


def test_every_row_gets_a_result_before_any_gets_another(planned: Compose) -> None:
    base, rows = planned(), ("elu", "relu", "silu")
    runs = [changed(base, activation__name=name, seed=seed) for name in rows for seed in (1, 2, 3)]
    assert ordered(runs, "typed") == runs
    assert names(runs) == [f"{name} {seed}" for seed in (1, 2, 3) for name in rows]
    for index in (0, 1, 8):
        done(runs[index])
    assert names(runs) == ["elu 1", "elu 2", "silu 3", "relu 1", "relu 2", "silu 1", "elu 3", "relu 3", "silu 2"]
    more = [changed(base, activation__name=name, seed=seed) for name in rows for seed in (4, 15)]
    assert names(more) == ["relu 4", "relu 15", "silu 4", "elu 4", "silu 15", "elu 15"]
    other = changed(base, recipe__mixup=1, activation__name="elu", seed=4)  # of another row with the same name
    assert ordered([more[0], other], "fewest_seeds_first") == [other, more[0]]
    again = [changed(run, force=True) for run in runs]
    assert names(again) == names([changed(run, sweep="other") for run in runs])


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UserError, match=r"fewest_seed is not known \(did you mean fewest_seeds_first\?\)"):
        ordered([], "fewest_seed")
