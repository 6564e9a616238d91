"""Panels of W&B's reports and workspaces; their keys are settings and metrics that every run logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fersweep.tracking import trial
from fersweep.tracking.findings import SearchFound

SETTINGS = ("backbone.name", "attention.name", "activation.name", "seed", "recipe.optimizer.lr")
CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
MOST = 100
"""Limit of runs or groups per panel; W&B's default of ten would omit rows of a table."""


def of_groups(wr: Any, classes: Sequence[str]) -> list[Any]:
    """Return panels over groups of runs: test accuracy and recall of each class as bars, and learning curves.

    Args:
        wr: ``wandb_workspaces.reports.v2``.
        classes: names.
    """
    common = {
        "orientation": "h",
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "stddev",
        "max_runs_to_show": MOST,
        "max_bars_to_show": MOST,
    }
    recalls = [f"test/recall/{name}" for name in classes]
    return [
        wr.BarPlot(title="Test accuracy", metrics=["test/accuracy"], layout=wr.Layout(x=0, y=0, w=24, h=12), **common),
        *(_curve(wr, name, index, 12, grouped=True) for index, name in enumerate(CURVES)),
        wr.BarPlot(title="Recall by class (test)", metrics=recalls, layout=wr.Layout(x=0, y=28, w=24, h=12), **common),
    ]


def of_runs(wr: Any) -> list[Any]:
    """Return panels over runs: settings and size against accuracy, parameter importance, and the run comparer."""
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key) for key in SETTINGS]
    return [
        wr.ParallelCoordinatesPlot(
            title="Settings and validation accuracy",
            columns=[*columns, wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("val/accuracy"))],
            layout=wr.Layout(x=0, y=0, w=24, h=10),
        ),
        wr.ScatterPlot(
            title="Size and test accuracy",
            x=wr.SummaryMetric("params_total"),
            y=wr.SummaryMetric("test/accuracy"),
            log_x=True,
            layout=wr.Layout(x=0, y=10, w=12, h=10),
        ),
        wr.ParameterImportancePlot(with_respect_to="val/accuracy", layout=wr.Layout(x=12, y=10, w=12, h=10)),
        wr.RunComparer(diff_only="split", layout=wr.Layout(x=0, y=20, w=24, h=12)),
    ]


def of_search(wr: Any, search: SearchFound) -> list[Any]:
    """Return panels of a search: its parameters against the metric, their importance, its history, learning curves."""
    metric = wr.SummaryMetric(search.metric)
    columns = [
        wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key, log=key in search.logarithmic)
        for key in search.parameters
    ]
    return [
        wr.ParallelCoordinatesPlot(
            title=f"Parameters and {search.metric}",
            columns=[*columns, wr.ParallelCoordinatesPlotColumn(metric)],
            layout=wr.Layout(x=0, y=0, w=24, h=10),
        ),
        wr.ScatterPlot(
            title="History",
            x=wr.SummaryMetric(trial.NUMBER),
            y=metric,
            layout=wr.Layout(x=0, y=10, w=12, h=10),
        ),
        wr.ParameterImportancePlot(with_respect_to=search.metric, layout=wr.Layout(x=12, y=10, w=12, h=10)),
        _curve(wr, search.metric, 0, 20, grouped=False),
        wr.RunComparer(diff_only="split", layout=wr.Layout(x=12, y=20, w=12, h=8)),
    ]


def _curve(wr: Any, name: str, index: int, top: int, grouped: bool) -> Any:
    """Return a line plot over epochs, the ``index``-th of two columns that begin at ``top``."""
    of_a_group = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"} if grouped else {}
    return wr.LinePlot(
        title=name,
        x="epoch",
        y=[name],
        max_runs_to_show=MOST,
        layout=wr.Layout(x=12 * (index % 2), y=top + 8 * (index // 2), w=12, h=8),
        **of_a_group,
    )
