"""Jobs with a frozen copy of the code: what they import, and that changes of the checkout do not reach them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FACES, NARROW, plain, quickly_composed

from fersweep.config import plugins
from fersweep.errors import UserError
from fersweep.sweep.plan import Planned
from fersweep.sweep.slurm import frozen
from fersweep.sweep.slurm.launch import SlurmSweep
from fersweep.sweep.slurm.settings import Settings
from fersweep.training import code, commit

PROBE = """
import json, sys, fersweep.a, mylab_frozen
from fersweep.training import commit
print(json.dumps([fersweep.a.A, mylab_frozen.B, commit.commit()]))
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with the modules that tell a run's commit, an option, and a plugin beside it."""
    top = tmp_path / "checkout"
    package = top / "src" / "fersweep"
    for name in ("__init__.py", "errors.py", "training/__init__.py", "training/commit.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(commit.PACKAGE / name, package / name)
    (package / "a.py").write_text("A = 1\n")
    (package / ".env").write_text("secret")
    (top / "conf" / "local").mkdir(parents=True)
    (top / "conf" / "train.yaml").write_text("seed: 1\n")
    (top / "conf" / "local" / "default.yaml").write_text("secret")
    (top / "mylab_frozen.py").write_text("B = 1\n")
    monkeypatch.setattr(commit, "PACKAGE", package)
    for module in (code, frozen):
        monkeypatch.setattr(module, "config_dir", lambda: top / "conf")
    monkeypatch.setattr(sys, "path", [*sys.path, str(top)])
    code.project.cache_clear()
    plugins.use(["mylab_frozen"])
    yield top
    plugins._used.pop("mylab_frozen")
    sys.modules.pop("mylab_frozen")
    code.project.cache_clear()


def imported(setup: list[str], cwd: Path) -> Any:
    """What a job of this set-up imports when it starts in ``cwd``, as ``python -m`` starts it."""
    (cwd / "probe.py").write_text(PROBE)
    script = "\n".join([*setup, f"cd {cwd}", f"PYTHONPATH=$PYTHONPATH:{cwd} {sys.executable} -m probe"])
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout)


def change(checkout: Path) -> None:
    (checkout / "src/fersweep/a.py").write_text("A = 2\n")
    (checkout / "mylab_frozen.py").write_text("B = 2\n")
    code.project.cache_clear()


def test_jobs_keep_the_code_of_the_first_submission(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submitted by submitit with an ``sbatch`` that keeps the script; then the checkout changes."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"sbatch": f'cp "$1" {tmp_path}/script; echo "Submitted batch job 7"', "srun": "true"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    config = plain(quickly_composed(*NARROW, FACES)) | {"plugins": ["mylab_frozen"]}
    run = Planned((), config, tmp_path / "some" / "run")
    (tmp_path / "some" / ".slurm").mkdir(parents=True)
    settings = Settings(setup=["export PYTHONPATH=/elsewhere"], freeze_code=True)
    before = code.now(["mylab_frozen"]).digest
    for number in (1, 2):
        sweep = SlurmSweep([run], settings, tmp_path / "some" / ".slurm")
        sweep.submit_array([run], [])
        out = capsys.readouterr().out
        assert out.startswith(f"code: {tmp_path / 'some' / '.code'}/{before}")
        assert ("has changed since" in out) == (number == 2)
        script = (tmp_path / "script").read_text().partition("# command")[0]
        setup = [line for line in script.splitlines() if line.startswith("export ")]
        assert len(setup) == 3
        assert imported(setup, checkout) == [1, 1, None]
        change(checkout)
    (copy,) = (tmp_path / "some" / ".code").iterdir()
    copied = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    expected = {"src/fersweep/a.py", "conf/train.yaml", "plugins/mylab_frozen.py", "frozen.json"}
    assert expected <= copied
    assert not [name for name in copied if ".env" in name or "local" in name or name.startswith(".")]
    assert [path.name for path in (tmp_path / "some").iterdir() if path.name == "run"] == []
    shutil.rmtree(copy)
    assert imported(frozen.lines(tmp_path / "some", ["mylab_frozen"], set()), checkout) == [2, 2, None]


def test_a_copy_tells_the_commit_and_the_digest_of_its_origin(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "is_checkout", lambda: True)
    monkeypatch.setattr(commit, "head", lambda *_: commit.Head("1" * 40, ("src/fersweep/a.py",), ()))
    monkeypatch.setattr(commit, "diff", lambda *_: "+A = 1\n")
    now = code.now(["mylab_frozen"])
    copy = frozen.copy_for(tmp_path, ["mylab_frozen"])
    assert copy.name == now.digest
    assert imported(frozen.setup(copy), checkout) == [1, 1, f"{'1' * 40}+changes"]
    monkeypatch.setattr(commit, "PACKAGE", copy / "src" / "fersweep")
    code.project.cache_clear()
    assert code.project() == now.project


@pytest.mark.usefixtures("checkout")
def test_a_copy_that_cannot_be_made_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "MOST", 3)
    with pytest.raises(UserError, match="The plugin mylab_frozen is larger than"):
        frozen.copy_for(tmp_path / "some", ["mylab_frozen"])
    assert list((tmp_path / "some" / ".code").iterdir()) == []
    (tmp_path / "other").write_text("a file")
    with pytest.raises(UserError, match="The code cannot be copied to"):
        frozen.copy_for(tmp_path / "other", [])
