"""Report and workspace: their specifications, the keys they use, and their upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig
from wandb_files import content
from wandb_server import Server, account, no_account

from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.tracking.panels import CURVES, SETTINGS
from fersweep.tracking.report import GROUPED_BY, publish

TABLE = {"section": "config", "name": "backbone.value.name"}, {"section": "config", "name": "attention.value.name"}
OF_THE_SWEEP = {"key": {"section": "run", "name": "group"}, "op": "=", "value": "table_attention", "disabled": False}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a login."""
    with account(tmp_path / "home") as running:
        yield running


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """The file of ``--spec`` for one sweep, without a login."""
    with no_account(tmp_path / "home"):
        assert publish("me/faces", "table_attention", tmp_path / "spec.json") == [str(tmp_path / "spec.json")]
    written: dict[str, Any] = json.loads((tmp_path / "spec.json").read_text())
    return written


def panels_of(panels: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the settings of panels by type."""
    found: dict[str, list[dict[str, Any]]] = {}
    for panel in panels:
        found.setdefault(panel["viewType"], []).append(panel["config"])
    return found


def check_means(panels: list[dict[str, Any]]) -> None:
    found = panels_of(panels)
    assert found.keys() == {"Bar Chart", "Run History Line Plot"}
    bars, classes = found["Bar Chart"]
    assert (bars["metrics"], bars["groupAgg"], bars["groupArea"]) == (["test/accuracy"], "mean", "stddev")
    assert classes["metrics"] == [f"test/recall/{name}" for name in CLASSES]
    assert (bars["limit"], bars["barLimit"]) == (100, 100)  # the table has 32 rows, W&B shows ten unless told
    lines = [(line["xAxis"], line["metrics"], line["groupAgg"]) for line in found["Run History Line Plot"]]
    assert lines == [("epoch", [name], "mean") for name in CURVES]


def check_runs(panels: list[dict[str, Any]]) -> None:
    found = panels_of(panels)
    assert found.keys() == {"Parallel Coordinates Plot", "Scatter Plot", "Parameter Importance", "Run Comparer"}
    (parallel,) = found["Parallel Coordinates Plot"]
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:backbone.value.name",
        "config:attention.value.name",
        "config:activation.value.name",
        "config:seed.value",
        "config:recipe.value.optimizer.lr",
        "summary:val/accuracy",
    ]
    (scatter,) = found["Scatter Plot"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:params_total", "summary:test/accuracy")
    assert scatter["xAxisLogScale"] is True
    assert found["Parameter Importance"][0]["targetKey"] == "val/accuracy"
    assert found["Run Comparer"][0]["diffOnly"] == "split"


def check_layout(panels: list[dict[str, Any]]) -> None:
    places = [panel["layout"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))  # no panel lies on another
    assert max(x for x, _ in cells) < 24


def test_the_report_has_its_panels_over_the_runs_of_the_sweep(spec: dict[str, Any]) -> None:
    report = spec["report"]
    assert report["project"] == {"name": "faces", "entityName": "me"}
    assert report["displayName"] == "fersweep: table_attention"
    means, runs = (block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid")
    check_means(means["panelBankSectionConfig"]["panels"])
    check_runs(runs["panelBankSectionConfig"]["panels"])
    (by_network,), (by_run,) = means["runSets"], runs["runSets"]
    assert by_network["grouping"] == list(TABLE)
    assert by_run["grouping"] == []
    assert by_network["filters"]["filters"] == by_run["filters"]["filters"] == [OF_THE_SWEEP]
    for panels in (means, runs):
        check_layout(panels["panelBankSectionConfig"]["panels"])


def test_the_workspace_has_the_same_and_a_grouped_table(spec: dict[str, Any]) -> None:
    workspace = spec["workspace"]
    assert (workspace["entity"], workspace["project"]) == ("me", "faces")
    section = workspace["spec"]["section"]
    means, runs = section["panelBankConfig"]["sections"]
    check_means(means["panels"])
    check_runs(runs["panels"])
    (runset,) = section["runSets"]
    assert runset["grouping"] == list(TABLE)
    assert runset["filters"]["filters"] == [OF_THE_SWEEP]
    assert "summary:test/accuracy" in runset["runFeed"]["columnPinned"]
    assert (section["settings"]["xAxis"], section["settings"]["maxRuns"]) == ("epoch", 100)


@pytest.mark.usefixtures("tiny_network")
def test_runs_log_the_keys_of_the_report(tmp_path: Path, small: Callable[..., DictConfig]) -> None:
    from fersweep.run import run_one

    asked = ("logger.log_model=best", "logger.log_images=6")
    with no_account(tmp_path / "home"):
        for _ in range(2):  # the second finds it done, and records nothing
            run_one(
                small("logger=wandb", "logger.mode=offline", "recipe.max_epochs=1", "sweep=table_attention", *asked)
            )
    (recording,) = (tmp_path / "outputs").glob("*/*/wandb/offline-run-*/run-*.wandb")
    found = content(recording)
    assert found["group"] == "table_attention"
    assert {"epoch", *CURVES} <= found["history"].keys()
    assert {"test/accuracy", "val/accuracy", "params_total"} <= found["summary"].keys()
    for key in {*SETTINGS, *GROUPED_BY}:
        value = found["config"]
        for name in key.split("."):
            value = value[name]
        assert isinstance(value, str | int | float), key
    check_artifacts(recording, found)


def check_artifacts(recording: Path, found: dict[str, Any]) -> None:
    """Check the model, the table of predictions and the scores of classes against the run's own files."""
    run_dir = recording.parents[2]
    result = json.loads((run_dir / "result.json").read_text())
    model = found["artifacts"][f"model-{result['run']}"]
    assert (model["type"], model["aliases"], model["files"]) == (
        "model",
        ["best", "latest"],
        ["best.ckpt", "config.yaml"],
    )
    assert {key: model["metadata"][key] for key in result["metrics"]} == result["metrics"]
    assert (model["metadata"]["run"], model["metadata"]["sweep"]) == (result["run"], "table_attention")
    (path,) = recording.parent.glob("files/media/table/predictions_*.json")
    table = json.loads(path.read_text())
    shown = pd.DataFrame(table["data"], columns=table["columns"]).set_index("id")
    answers = pd.read_parquet(run_dir / "predictions.parquet").set_index("id").loc[shown.index]
    assert len(shown) == min(6, result["metrics"]["test/n"])
    assert shown["label"].tolist() == answers["label"].tolist()
    assert shown["predicted"].tolist() == answers["predicted"].tolist()
    true = [answers.loc[each, answers.loc[each, "label"]] for each in shown.index]
    assert shown["p_label"].tolist() == pytest.approx(true, abs=1e-6)
    for name, scores in result["per_class"].items():
        for score in ("precision", "recall", "f1"):
            assert found["summary"].get(f"test/{score}/{name}") == scores[score]


def test_without_a_sweep_all_runs_are_shown(tmp_path: Path) -> None:
    with no_account(tmp_path / "home"):
        publish("me/faces", None, tmp_path / "spec.json")
    written = json.loads((tmp_path / "spec.json").read_text())
    grids = [block["metadata"] for block in written["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert [grid["runSets"][0]["filters"]["filters"] for grid in grids] == [[], []]
    assert written["report"]["displayName"] == "fersweep"


def test_both_are_sent(server: Server) -> None:
    addresses = publish("me/faces", "table_attention")
    report, workspace = server.views
    assert (report["type"], workspace["type"]) == ("runs", "project-view")
    assert [(view["entityName"], view["projectName"]) for view in server.views] == [("me", "faces")] * 2
    assert "Bar Chart" in report["spec"]
    assert "Bar Chart" in workspace["spec"]
    assert addresses[0].endswith("/me/faces/reports/fersweep:-table_attention--v1")
    assert "/me/faces?nw=" in addresses[1]


def test_the_next_call_updates_both_and_keeps_comments(server: Server) -> None:
    first = publish("me/faces", "table_attention")
    report, workspace = server.views
    spec = json.loads(report["spec"]) | {
        "discussionThreads": [{"id": "a comment"}],
        "blocks": [{"type": "of the future"}],
    }
    report["spec"] = json.dumps(spec)
    own = {**report, "id": "own", "description": "My own report of the same title."}
    server.views.append(own)
    before = dict(own)

    assert publish("me/faces", "table_attention") == first
    assert [view["id"] for view in server.views] == ["v1", "v2", "own"]
    assert own == before
    updated = json.loads(report["spec"])
    assert updated["discussionThreads"] == [{"id": "a comment"}]
    assert "Bar Chart" in report["spec"]
    assert workspace["name"] in first[1].replace("nw=", "nw-") + "-v"

    other = publish("me/faces", "another")
    assert other[0] != first[0]
    assert len(server.views) == 5


def test_what_cannot_be_sent_is_one_sentence(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.projects.clear()
    with pytest.raises(UserError, match=r"^Weights & Biases has no project me/faces: check the name"):
        publish("me/faces")
    assert server.views == []
    server.projects.append("faces")
    server.refused.add("upsertView")
    with pytest.raises(UserError, match=r"^Weights & Biases did not accept the report for me/faces \(not yours\)\.$"):
        publish("me/faces")
    for name in ("faces", "/faces", "me/", "me/faces/more"):
        with pytest.raises(UserError, match="write ENTITY/PROJECT"):
            publish(name)
    with pytest.raises(UserError, match="cannot filter by a name with ="):
        publish("me/faces", "lr=1", tmp_path / "spec.json")
    with pytest.raises(UserError, match=r"spec\.json cannot be written \(No such file or directory\)"):
        publish("me/faces", None, tmp_path / "missing" / "spec.json")
    import wandb

    wandb.teardown()
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match=r"^Weights & Biases needs a login: run `wandb login`"):
        publish("me/faces")


def test_the_specification_makes_no_request(tmp_path: Path) -> None:
    """With a login, in a new process, to include the imports."""
    with account(tmp_path / "home") as server:
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), server.url)
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                "from pathlib import Path; from fersweep.tracking.report import publish; "
                "publish('me/faces', 'a', Path('spec.json'))",
            ],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **proxies},
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert server.calls == []
    assert (tmp_path / "spec.json").is_file()
