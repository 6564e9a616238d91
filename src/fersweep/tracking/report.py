"""A report and a saved workspace in Weights & Biases that compare the runs of a project or a sweep.

Both are specifications built with ``wandb-workspaces``. Their panels are in `fersweep.tracking.panels`; the sentences
and the table come from a report of fersweep (`fersweep.tracking.findings`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fersweep import compat
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.files import write_json
from fersweep.text import first_line
from fersweep.tracking import account, panels
from fersweep.tracking.findings import Findings, SearchFound

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

GROUPED_BY = ("backbone.name", "attention.name")

OURS = "Accuracy is a fraction of images."
"""Beginning of a report's description, by which a report of ours is recognised beside its title."""

UNQUOTABLE = "'\"\\=<>"
"""Characters that wandb-workspaces 0.4.13 changes within the value of a filter."""


def publish(
    entity_project: str, sweep: str | None = None, spec: Path | None = None, findings: Findings | None = None
) -> list[str]:
    """Create or update the report and the workspace in a W&B project, or write their specifications to a file.

    Those of the same title that an earlier call created are updated: their addresses and the comments on them stay,
    their contents are replaced.

    Args:
        entity_project: ``ENTITY/PROJECT``, as in the URL of the project.
        sweep: show only the runs of this sweep (W&B's group).
        spec: JSON file to write instead, without login or network.
        findings: what fersweep's own report says; without a ``sweep``, its groups are shown.

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
    report = build_report(entity, project, sweep, findings)
    workspace = build_workspace(entity, project, sweep, findings)
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
    """Create or update both in W&B; UserError if the project does not exist or W&B refuses."""
    import wandb

    entity, project = report.entity, report.project
    try:
        projects = {each.name for each in wandb.Api().projects(entity)}
        if project in projects:  # otherwise W&B would create an empty one
            for page, title, kind, ours in (
                (report, report.title, "runs", OURS),
                (workspace, workspace.name, "project-view", ""),
            ):
                views = compat.wandb_views(entity, project, kind)
                same = [v for v in views if v.display_name == title and (v.description or "").startswith(ours)]
                if same:
                    compat.wandb_in_place(page, max(same, key=lambda view: view.updated_at or view.created_at or ""))
                page.save()
    except Exception as error:  # most refusals of the server are bare or private exceptions
        raise UserError(
            f"Weights & Biases did not accept the report for {entity}/{project} ({first_line(error)})."
        ) from error
    if project not in projects:
        raise UserError(
            f"Weights & Biases has no project {entity}/{project}: check the name, or send runs to it first."
        )


def build_report(entity: str, project: str, sweep: str | None = None, findings: Findings | None = None) -> wr.Report:
    """Return the unsaved report: findings and searches, means per backbone and attention, single runs.

    Makes no request; the arguments are those of `publish`.
    """
    of = _library()
    wr = of.wr
    filters = _filters(of, _groups(sweep, findings))
    order = [wr.OrderBy(wr.SummaryMetric("test/accuracy"), ascending=False)]
    # a runset without entity and project is that of the report, and needs no request
    grouped = wr.Runset(
        name="by network", filters=filters, groupby=[f"config.{key}" for key in GROUPED_BY], order=order
    )
    single = wr.Runset(name="runs", filters=filters, order=order)
    return wr.Report(
        entity=entity,
        project=project,
        title=_title(sweep, findings),
        description=f"{OURS} Test numbers are those of the epoch with the best validation accuracy, measured once; "
        "choose between runs by validation accuracy. `fersweep wandb report` replaces the contents of this report.",
        width="fluid",
        blocks=[
            *_found(wr, findings),
            *(block for search in _searches(findings) for block in _search(of, search)),
            wr.H1("By backbone and attention"),
            wr.P("Means over all runs of a group; lines and bars show one standard deviation."),
            wr.PanelGrid(runsets=[grouped], panels=panels.of_groups(wr, _classes(findings))),
            wr.H1("Run by run"),
            wr.PanelGrid(runsets=[single], panels=panels.of_runs(wr)),
        ],
    )


def build_workspace(
    entity: str, project: str, sweep: str | None = None, findings: Findings | None = None
) -> ws.Workspace:
    """Return the unsaved workspace, with runs grouped by backbone and attention. Makes no request."""
    of = _library()
    wr, ws = of.wr, of.ws
    sections = [
        *((f"Search {search.name}", panels.of_search(wr, search)) for search in _searches(findings)),
        ("By backbone and attention", panels.of_groups(wr, _classes(findings))),
        ("Run by run", panels.of_runs(wr)),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=_title(sweep, findings),
        sections=[ws.Section(name=name, panels=shown, is_open=True) for name, shown in sections],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=panels.MOST),
        runset_settings=ws.RunsetSettings(
            filters=_filters(of, _groups(sweep, findings)),
            groupby=[of.expr.Config(key) for key in GROUPED_BY],
            order=[of.expr.Ordering(of.expr.Summary("test/accuracy"), ascending=False)],
            pinned_columns=["run:displayName", "summary:test/accuracy", "summary:val/accuracy", "summary:params_total"],
        ),
    )


def _found(wr: Any, findings: Findings | None) -> list[Any]:
    """Return the table and the verdicts of fersweep's report."""
    if findings is None:
        return []
    listed = "\n".join(f"- {sentence}" for sentence in findings.verdicts)
    verdicts = [wr.H2("Differences"), wr.MarkdownBlock(listed)] if listed else []
    return [wr.H1("Findings"), wr.MarkdownBlock(findings.table), *verdicts]


def _search(of: SimpleNamespace, search: SearchFound) -> list[Any]:
    """Return the blocks of a search: the best trial, and panels over its runs, the best first."""
    wr = of.wr
    order = [wr.OrderBy(wr.SummaryMetric(search.metric), ascending=search.metric.endswith("loss"))]
    runs = wr.Runset(name="trials", filters=_filters(of, (search.group,)), order=order)
    grid = wr.PanelGrid(runsets=[runs], panels=panels.of_search(wr, search))
    return [wr.H1(f"Search {search.name}"), *map(wr.P, search.sentences), grid]


def _searches(findings: Findings | None) -> tuple[SearchFound, ...]:
    return () if findings is None else findings.searches


def _classes(findings: Findings | None) -> Sequence[str]:
    return CLASSES if findings is None else findings.classes


def _groups(sweep: str | None, findings: Findings | None) -> tuple[str, ...]:
    """Return the groups in W&B whose runs are shown; none for all."""
    if sweep is not None:
        return (sweep,)
    return () if findings is None else findings.groups


def _filters(of: SimpleNamespace, groups: Sequence[str]) -> Any:
    if not groups:
        return ""
    for each in groups:
        if wrong := sorted(set(each) & set(UNQUOTABLE)):
            raise UserError(f"Sweep {each!r}: wandb-workspaces cannot filter by a name with {wrong[0]}.")
    group = of.expr.Metric("Group")
    return of.expr.And(group == groups[0] if len(groups) == 1 else group.isin(list(groups)))


def _title(sweep: str | None, findings: Findings | None) -> str:
    name = sweep if sweep is not None or findings is None else findings.title
    return "fersweep" if name is None else f"fersweep: {name}"[:128]


def _library() -> SimpleNamespace:
    """Import wandb-workspaces, whose classes raise deprecation warnings of their own; takes a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    return SimpleNamespace(wr=wr, ws=ws, expr=expr)
