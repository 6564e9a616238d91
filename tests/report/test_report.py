"""`fersweep report`: its files, and runs that are missing, damaged or archived."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import report_runs
from omegaconf import OmegaConf
from report_runs import CBAM, NONE, SHORT, STUDY, configured, finished, right, spoilt

from fersweep.cli import main as cli
from fersweep.errors import UserError
from fersweep.report import gather
from fersweep.report.compare import compare
from fersweep.report.contents import Report
from fersweep.report.write import contents
from fersweep.runs.collect import collect

sweep = report_runs.sweep


def test_the_command_writes_everything_and_says_what_is_missing(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("out") / "new"
    assert cli.main(["report", str(sweep), "-o", str(folder)]) == 1  # one run failed
    out = capsys.readouterr().out
    assert out.startswith("9 finished runs in 3 rows, 1 not done\n")
    assert "CBAM beats the network without attention by 6.0 points" in out
    assert "not done: 1 failed; the page lists them" in out
    assert out.endswith(f"{folder / 'index.html'}\n")
    for name in ("index.html", "table.md", "table.csv", "table.tex"):
        assert (folder / name).read_text(encoding="utf-8")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "no memory &lt;b&gt;left&lt;/b&gt;" in page
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    assert not list((folder / "figures").glob("*time*"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    cli.main(["report", str(sweep), "-o", str(folder)])
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_goes_beside_the_runs_and_does_not_count_as_one(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    assert cli.main(["report", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report" / "index.html").is_file()
    assert len(collect(tmp_path)) == 1


def replaced(file: Path, old: str, new: str) -> None:
    assert file.read_text().count(old) == 1
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "has no readable config.yaml"),
        (lambda run: (run / "config.yaml").write_text("backbone: {name: vgg16}"), "has no readable config.yaml"),
        (lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"), "cannot be reported"),
        (lambda run: (run / "history.csv").unlink(), "cannot be reported"),
        (lambda run: (run / "history.csv").write_text(""), "cannot be reported"),
        (lambda run: (run / "history.csv").write_text("epoch,val/loss\n"), "history.csv has no epochs"),
        (lambda run: (run / "history.csv").write_text("epoch,val/loss\n1,2\n"), "history.csv has no epochs"),
        (lambda run: replaced(run / "history.csv", ",0.23,", ",x,"), "val/accuracy is not a column of numbers"),
        (lambda run: replaced(run / "history.csv", "\n2,", "\n1e999,"), "epoch is not a column of numbers"),
        (spoilt("result.json", seconds=None), "result.json: seconds is None, not a number"),
        (lambda run: replaced(run / "result.json", '"seconds": 101.0', '"seconds": 1e999'), "seconds is inf, not a"),
        (spoilt("result.json", seconds=10**400), "result.json: seconds is 1000000"),
        (spoilt("result.json", metrics={"val/accuracy": 10**400}), "not a number for each name"),
        (lambda run: (run / "result.json").write_text("[" * 10**5), "is not a readable result"),
        (
            lambda run: replaced(run / "config.yaml", "\nattention:\n", "\nattention: 3\nx:\n"),
            "config.yaml is not that of",
        ),
        (
            lambda run: replaced(run / "config.yaml", "\nseed: 1\n", "\nseed: quick\n"),
            r"config.yaml is not that of a run (seed is 'quick', not a number)",
        ),
        (spoilt("result.json", best_epoch=..., params_total=...), "result.json: params_total is None, not a number"),
        (
            spoilt("result.json", choices={"backbone": "vgg16"}),
            "choices is {'backbone': 'vgg16'}, not an option for each group",
        ),
        (spoilt("result.json", confusion_matrix=[[1, 0], [0, 1]]), "confusion_matrix is not 7 × 7"),
        (spoilt("result.json", confusion_matrix=[[0] * 7] * 7), "not rows of counts"),
        (spoilt("result.json", confusion_matrix=None), "confusion_matrix is None, not rows of counts"),
    ],
)
def test_damaged_runs_cost_themselves_alone(
    tmp_path: Path, spoil: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1)))
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    finished(tmp_path, (*STUDY, *NONE), 2, right(0.5, 1))
    report = contents(tmp_path)
    assert report.rows[0].seeds == (2,)
    ((run,), told) = report.unfinished, report.done
    assert (run.state, told) == ("unreadable", 1)
    assert run.error is not None
    assert message in run.error["message"]


def test_nothing_to_report_gets_one_sentence(tmp_path: Path) -> None:
    configured(tmp_path, (*STUDY, *NONE), 1)
    with pytest.raises(UserError, match=r"^No run in .* is done \(pending\): there is nothing to report yet"):
        contents(tmp_path)
    with pytest.raises(UserError, match="There is no folder"):
        contents(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_gets_one_sentence(
    sweep: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path_factory.mktemp("out") / "file"
    blocked.write_text("")
    assert cli.main(["report", str(sweep), "-o", str(blocked)]) == 2
    assert re.fullmatch(
        r"error: .*file cannot be written \(.*\): choose another place with -o DIR\.\n", capsys.readouterr().err
    )


def test_the_same_run_in_two_sweeps_counts_once_and_is_done_where_it_is_done_in_one(sweep: Path) -> None:
    runs = collect(sweep)
    done, others = gather.read([*runs, *runs])
    assert (len(done), len(others)) == (9, 2)
    (broken,) = (run.directory for run in runs if run.state == "failed")
    elsewhere = finished(sweep / "elsewhere", (*SHORT, "attention=eca"), 1, right(0.6, 1))
    assert elsewhere.name == broken.name
    report = contents(sweep)
    assert (report.done, report.unfinished) == (10, ())
    shutil.rmtree(elsewhere)
    assert compare([], "attention") == ()
    assert isinstance(contents(sweep), Report)


def test_a_title_is_the_sweep_or_where_there_are_several_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    run = finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    shutil.move(run.parent, folder)
    assert contents(folder).title == "s"
    other = finished(tmp_path, (*STUDY, *CBAM), 1, right(0.5, 1))
    config = OmegaConf.load(other / "config.yaml")
    config.sweep = "t"
    OmegaConf.save(config, other / "config.yaml")
    shutil.move(other, folder)
    assert contents(folder).title == "folder"


def test_runs_that_were_kept_without_their_status_are_reported(tmp_path: Path) -> None:
    for options in (NONE, CBAM):
        run = finished(tmp_path, (*STUDY, *options), 1, right(0.5, 1))
        (run / "status.json").unlink()
    (run / "result.json").unlink()
    report = contents(tmp_path)
    assert [row.labels["attention"] for row in report.rows] == ["none"]
    assert [run.state for run in report.unfinished] == ["interrupted"]


def test_times_are_plotted_where_they_are_asked_for(tmp_path: Path) -> None:
    finished(tmp_path, (*STUDY, *NONE), 1, right(0.5, 1))
    assert cli.main(["report", str(tmp_path / "s"), "-o", str(tmp_path), "--time"]) == 0
    assert {path.name for path in (tmp_path / "figures").glob("*time*")} == {"accuracy_time.png", "accuracy_time.svg"}
    assert "plot-accuracy_time" in (tmp_path / "index.html").read_text(encoding="utf-8")
