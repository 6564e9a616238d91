"""A report and a saved workspace in Weights & Biases that compare the runs of a project or a sweep.

Both are specifications built with ``wandb-workspaces``. Their keys are settings of the configuration, and metrics that
a run logs: ``train/…`` and ``val/…`` per epoch, ``test/…``, ``params_total`` and ``best_epoch`` in its summary.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fersweep import compat
from fersweep.errors import UserError
from fersweep.files import write_json
from fersweep.text import first_line
from fersweep.tracking import account

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

GROUPED_BY = ("backbone.name", "attention.name")
SETTINGS = ("backbone.name", "attention.name", "activation.name", "seed", "recipe.optimizer.lr")
CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
MOST = 100
"""Limit of runs or groups per panel; W&B's default of ten would omit rows of a table."""

UNQUOTABLE = "'\"\\=<>"
"""Characters that wandb-workspaces 0.4.13 changes within the value of a filter."""


def publish(entity_project: str, sweep: str | None = None, spec: Path | None = None) -> list[str]:
    """Create the report and the workspace in a W&B project, or write their specifications to a file.

    Args:
        entity_project: ``ENTITY/PROJECT``, as in the URL of the project.
        sweep: show only the runs of this sweep (W&B's group).
        spec: JSON file to write instead, without login or network.

    Returns:
        Both URLs, or the file.

    Raises:
        UserError: the name is malformed, there is no login or no such project, or W&B or the file system refuses.
    """
    entity, _, project = entity_project.partition("/")
    if not entity or not project or "/" in project:
        raise UserError(f"{entity_project!r} is not a project of Weights & Biases: write ENTITY/PROJECT.")
    if spec is None:
        account.require_account()
    report, workspace = build_report(entity, project, sweep), build_workspace(entity, project, sweep)
    if spec is not None:
        content = {"report": compat.wandb_specification(report), "workspace": compat.wandb_specification(workspace)}
        try:
            write_json(spec, content)
        except OSError as error:
            raise UserError(f"{spec} cannot be written ({error.strerror}): choose another file.") from error
        return [str(spec)]

    _save(report, workspace)
    return [report.url, workspace.url]


def _save(report: wr.Report, workspace: ws.Workspace) -> None:
    """Create both in W&B; UserError if the project does not exist or W&B refuses."""
    import wandb

    entity, project = report.entity, report.project
    try:
        projects = {each.name for each in wandb.Api().projects(entity)}
        if project in projects:  # otherwise W&B would create an empty one
            report.save()
            workspace.save()
    except Exception as error:  # most refusals of the server are bare or private exceptions
        raise UserError(
            f"Weights & Biases did not accept the report for {entity}/{project} ({first_line(error)})."
        ) from error
    if project not in projects:
        raise UserError(
            f"Weights & Biases has no project {entity}/{project}: check the name, or send runs to it first."
        )


def build_report(entity: str, project: str, sweep: str | None = None) -> wr.Report:
    """Return the unsaved report: means per backbone and attention first, then single runs. Makes no request."""
    of = _library()
    wr = of.wr
    filters = _filters(of, sweep)
    order = [wr.OrderBy(wr.SummaryMetric("test/accuracy"), ascending=False)]
    # a runset without entity and project is that of the report, and needs no request
    grouped = wr.Runset(
        name="by network", filters=filters, groupby=[f"config.{key}" for key in GROUPED_BY], order=order
    )
    single = wr.Runset(name="runs", filters=filters, order=order)
    return wr.Report(
        entity=entity,
        project=project,
        title=_title(sweep),
        description="Accuracy is a fraction of images. Test numbers are those of the epoch with the best validation "
        "accuracy, measured once; choose between runs by validation accuracy.",
        width="fluid",
        blocks=[
            wr.H1("By backbone and attention"),
            wr.P("Means over all runs of a group; lines and bars show one standard deviation."),
            wr.PanelGrid(runsets=[grouped], panels=_means(wr)),
            wr.H1("Run by run"),
            wr.PanelGrid(runsets=[single], panels=_runs(wr)),
        ],
    )


def build_workspace(entity: str, project: str, sweep: str | None = None) -> ws.Workspace:
    """Return the unsaved workspace, with runs grouped by backbone and attention. Makes no request."""
    of = _library()
    ws = of.ws
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_title(sweep),
        sections=[
            ws.Section(name="By backbone and attention", panels=_means(of.wr), is_open=True),
            ws.Section(name="Run by run", panels=_runs(of.wr), is_open=True),
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST),
        runset_settings=ws.RunsetSettings(
            filters=_filters(of, sweep),
            groupby=[of.expr.Config(key) for key in GROUPED_BY],
            order=[of.expr.Ordering(of.expr.Summary("test/accuracy"), ascending=False)],
            pinned_columns=["run:displayName", "summary:test/accuracy", "summary:val/accuracy", "summary:params_total"],
        ),
    )


def _means(wr: Any) -> list[Any]:
    """Return panels over groups: test accuracy as bars, and learning curves."""
    bars = wr.BarPlot(
        title="Test accuracy",
        metrics=["test/accuracy"],
        orientation="h",
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=MOST,
        max_bars_to_show=MOST,
        layout=wr.Layout(x=0, y=0, w=24, h=12),
    )
    curves = [
        wr.LinePlot(
            title=name,
            x="epoch",
            y=[name],
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            max_runs_to_show=MOST,
            layout=wr.Layout(x=12 * (index % 2), y=12 + 8 * (index // 2), w=12, h=8),
        )
        for index, name in enumerate(CURVES)
    ]
    return [bars, *curves]


def _runs(wr: Any) -> list[Any]:
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


def _filters(of: SimpleNamespace, sweep: str | None) -> Any:
    if sweep is None:
        return ""
    if wrong := sorted(set(sweep) & set(UNQUOTABLE)):
        raise UserError(f"--sweep {sweep!r}: wandb-workspaces cannot filter by a name with {wrong[0]}.")
    return of.expr.And(of.expr.Metric("Group") == sweep)


def _title(sweep: str | None) -> str:
    return "fersweep" if sweep is None else f"fersweep: {sweep}"[:128]


def _library() -> SimpleNamespace:
    """Import wandb-workspaces, whose classes raise deprecation warnings of their own; takes a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    return SimpleNamespace(wr=wr, ws=ws, expr=expr)
