"""Command line ``fersweep``: arguments, error messages, output and imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import TRAIN

from fersweep.cli import main as cli
from fersweep.config.options import options
from fersweep.config.schema import GROUPS
from fersweep.runs.status import mark_pending
from fersweep.tracking import report, sync

FERSWEEP = (sys.executable, "-c", "import sys; from fersweep.cli.main import main; sys.exit(main())")


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep of thirty pending runs."""
    for seed in range(30):
        directory = tmp_path / "outputs" / "runs" / f"none-s{seed}-{seed:010x}"
        directory.mkdir(parents=True)
        mark_pending(directory, dict.fromkeys(GROUPS, "none"), seed)
    return tmp_path / "outputs"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("collect", "the following arguments are required: OUTPUTS"),
        ("collect outputs --json --csv", "not allowed with argument"),
        ("collect outputs seed=1", "unrecognized argument 'seed=1'"),
        ("collect outputs --jsn", "'--jsn'"),
        ("collect outputs runs", "'runs'"),
        ("data synthetic seed", "'seed' is neither an option nor KEY=VALUE"),
        ("wandb", "the following arguments are required: COMMAND"),
        ("wandb report", "the following arguments are required: ENTITY/PROJECT"),
        ("wandb sync outputs seed=1", "unrecognized argument 'seed=1'"),
    ],
)
def test_unknown_arguments_are_refused(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(arguments.split())
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err


def test_collect_imports_no_torch(outputs: Path) -> None:
    for form in ("--json", "--csv", None):
        script = "import json, sys; from fersweep.cli.main import main; code = main(sys.argv[1:])\n"
        script += "print(code, sorted({'torch', 'pytorch_lightning', 'pandas', 'scipy'} & {*sys.modules}))"
        command = [sys.executable, "-c", script, "collect", outputs, *([form] if form else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.splitlines()[-1] == "1 []"
        assert done.stderr == ""


def test_a_closed_pipe_is_not_an_error(outputs: Path) -> None:
    for form in ("--json", "--csv", None):
        command = [*FERSWEEP, "collect", str(outputs), *([form] if form else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) != 0


def test_output_is_not_truncated_without_a_terminal(outputs: Path) -> None:
    directory = outputs / "runs" / f"none-s{0}-{0:010x}"
    message = "a long sentence " * 20
    status = json.loads((directory / "status.json").read_text())
    error = {"type": "ValueError", "message": message}
    (directory / "status.json").write_text(json.dumps(status | {"state": "failed", "error": error}))
    done = subprocess.run([*FERSWEEP, "collect", str(outputs)], capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert lines[0].split() == ["state", "sweep", "run", "seed", "error"]
    assert lines[1] == f"failed   runs   0000000000  0     ValueError: {message.strip()}"
    assert lines[-1] == "30 runs: 1 failed, 29 pending"
    assert len(lines) == 33


def test_unsent_recordings_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["wandb", "sync", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: outputs is not a directory")
    part = tmp_path / "outputs" / "runs" / "a" / "wandb" / "offline-run-20250301_120000-0123456789"
    part.mkdir(parents=True)
    assert cli.main(["wandb", "sync", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "0123456789" in text
    assert "unsent" in text
    assert cli.main(["wandb", "sync", str(tmp_path / "outputs"), "--dry-run"]) == 0
    assert "runs/a" in capsys.readouterr().out
    (part / "run-0123456789.wandb.synced").touch()
    assert cli.main(["wandb", "sync"]) == 0
    assert capsys.readouterr().out == "Nothing in outputs is left to send.\n"


def test_a_failed_upload_shows_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = sync.Part(tmp_path / "runs" / "a" / "wandb" / "offline-run-20250301_120000-7", "7", "20250301_120000")
    asked: list[tuple[Path, bool]] = []

    def refused(outputs: Path, *, dry_run: bool = False) -> list[sync.Outcome]:
        asked.append((outputs, dry_run))
        return [sync.Outcome(part, "failed", "no room")]

    monkeypatch.setattr(sync, "sync", refused)
    assert cli.main(["wandb", "sync", str(tmp_path)]) == 1
    assert asked == [(tmp_path, False)]
    assert "no room" in capsys.readouterr().out


def test_arguments_of_wandb_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, Path | None, object]] = []

    def publish(entity_project: str, sweep: str | None, spec: Path | None, findings: object) -> list[str]:
        asked.append((entity_project, sweep, spec, findings))
        return ["one place", "another"]

    monkeypatch.setattr(report, "publish", publish)
    assert cli.main(["wandb", "report", "me/faces"]) == 0
    assert cli.main(["wandb", "report", "me/faces", "--sweep", "table", "--spec", "page.json"]) == 0
    assert asked == [("me/faces", None, None, None), ("me/faces", "table", Path("page.json"), None)]
    assert capsys.readouterr().out == "one place\nanother\n" * 2
    monkeypatch.undo()
    assert cli.main(["wandb", "report", "faces"]) == 2
    assert capsys.readouterr().err == "error: 'faces' is not a project of Weights & Biases: write ENTITY/PROJECT.\n"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for command in ("train", "data", "collect", "report", "predict", "export"):
        assert f"\n    {command} " in shown
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"fersweep {version('fersweep')}\n"


def test_bench_names_the_command_that_replaced_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "all"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: fersweep bench is now python -m benchmarks, in a checkout of fersweep.\n"


def test_train_is_what_train_py_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "attention=eca", "--cfg", "job"]) == 0
    assert "\n  title: ECA\n" in capsys.readouterr().out
    assert cli.main(["train", "--help"]) == 0
    assert "\n  fersweep train -m backbone=resnet50,vgg19 seed=1,2 " in capsys.readouterr().out
    assert cli.main(["train", "attention=ecca"]) == 2
    assert "(did you mean eca?)" in capsys.readouterr().err
    module = [sys.executable, "-m", "fersweep", "train", "attention=none", "--cfg", "job"]
    done = subprocess.run(module, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\n  name: none\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("install", "typed", "expected"),
    [
        ("python train.py", "python train.py attention=cb", "attention=cbam"),
        ("fersweep train", "fersweep train recipe.max", "recipe.max_epochs="),
        ("fersweep train", "fersweep train dataset=", " ".join(f"dataset={each}" for each in options("dataset"))),
    ],
)
def test_a_shell_can_complete_arguments(install: str, typed: str, expected: str, tmp_path: Path) -> None:
    """As bash does on Tab, with Hydra's completion function."""
    for name, command in (
        ("fersweep", f'exec "{sys.executable}" -m fersweep "$@"'),
        ("python", f'exec "{sys.executable}" "$@"'),
    ):
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{command}\n")
        file.chmod(0o755)
    script = (
        f'eval "$({install} -sc install=bash)"; COMP_LINE="{typed}"; COMP_POINT=${{#COMP_LINE}}; '
        "words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1)); hydra_bash_completion; echo ${COMPREPLY[@]}"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=TRAIN.parent, env=environment, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == expected.split(), done.stderr
