"""The record of the code that trained a run: digests, commit, changes, command line; nothing of it fails a run."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from outcomes import read_json
from test_commit import git

from fersweep.config import plugins
from fersweep.runs.status import Status, mark_pending, mark_running
from fersweep.training import code, commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with a module and an option, all committed, in place of that of fersweep."""
    top = tmp_path.resolve() / "checkout"
    for name, text in {
        "src/fersweep/a.py": "A = 1\n",
        "conf/train.yaml": "seed: 1\n",
        "train.py": "",
        ".gitignore": "conf/local/\n",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "first")
    monkeypatch.setattr(commit, "PACKAGE", top / "src" / "fersweep")
    monkeypatch.setattr(code, "config_dir", lambda: top / "conf")
    code.project.cache_clear()
    yield top
    code.project.cache_clear()


def read_again() -> code.Source:
    code.project.cache_clear()
    return code.project()


def test_a_checkout_and_the_package_built_from_it_have_one_digest(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code.project()
    assert before.commit == git(checkout, "rev-parse", "HEAD")
    assert (before.diff, before.remarks) == ("", ())
    installed = tmp_path / "site-packages" / "fersweep"
    shutil.copytree(checkout / "src" / "fersweep", installed)
    shutil.copytree(checkout / "conf", installed / "conf")
    (installed / "__pycache__").mkdir()
    (installed / "__pycache__" / "a.pyc").touch()
    monkeypatch.setattr(commit, "PACKAGE", installed)
    monkeypatch.setattr(code, "config_dir", lambda: installed / "conf")
    assert read_again() == code.Source(before.digest)


def test_changes_are_a_diff_and_untracked_files_a_digest_without_what_is_hidden(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code.project()
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    (checkout / "src/fersweep/a.py").write_text('A = 2\nTOKEN = "hunter2"\nB = "0123456789abcdef"\n')
    (checkout / "src/fersweep/b.py").write_text("B = 1\n")
    for name in (".env", "src/.env", "src/fersweep/.secret.py", "conf/local/default.yaml"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("password")
    now = read_again()
    assert now.digest != before.digest
    assert now.commit == f"{before.commit}+changes"
    assert now.diff.count("diff --git") == 1
    *_, last = now.diff.splitlines()
    content = hashlib.sha256(b"B = 1\n").hexdigest()
    assert last == f"# untracked: src/fersweep/b.py sha256 {content}"
    written = code.redacted(now.diff)
    assert "+A = 2" in written
    assert not [secret for secret in ("hunter2", "0123456789abcdef", "password") if secret in written]
    monkeypatch.setattr(code, "LIMIT", 100)
    (record,) = code.record(checkout, [])
    assert (checkout / "code.diff").read_text().startswith(written[:100])
    assert record["diff"] == "code.diff"
    assert record["remarks"][0].startswith("code.diff has the first 100 bytes of ")


@pytest.mark.parametrize(
    ("spoil", "remark"),
    [
        (lambda top: shutil.rmtree(top / ".git" / "objects"), "git did not tell the commit: "),
        (lambda top: (top / "src/fersweep/gone.py").symlink_to("nowhere"), "The code could not be read ("),
    ],
)
def test_what_cannot_be_found_out_is_a_remark(checkout: Path, spoil: Callable[[Path], None], remark: str) -> None:
    spoil(checkout)
    code.project.cache_clear()
    (record,) = code.record(checkout, [])
    assert record["remarks"][0].startswith(remark)
    assert record["version"]


def test_without_git_a_checkout_has_its_digest(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.project()
    monkeypatch.setenv("PATH", str(checkout))
    now = read_again()
    assert (now.digest, now.commit) == (before.digest, None)
    assert now.remarks == ("git did not tell the commit: it is not installed.",)


@pytest.mark.usefixtures("checkout")
def test_a_plugin_counts_with_the_commit_of_its_own_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = tmp_path / "lab"
    (lab / "mylab_code").mkdir(parents=True)
    (lab / "mylab_code/__init__.py").write_text("A = 1\n")
    git(lab, "init", "-q")
    git(lab, "add", ".")
    git(lab, "commit", "-q", "-m", "first")
    monkeypatch.syspath_prepend(str(lab))
    plugins.use(["mylab_code"])
    try:
        (first,) = code.record(tmp_path, ["mylab_code"])
        assert first["plugins"]["mylab_code"]["commit"] == git(lab, "rev-parse", "HEAD")
        assert first["package"] == code.project().digest != first["digest"]
        (lab / "mylab_code/__init__.py").write_text("A = 2\n")
        (second,) = code.record(tmp_path, ["mylab_code"])
    finally:
        plugins._used.pop("mylab_code")
        sys.modules.pop("mylab_code")
    assert second["digest"] != first["digest"]
    assert second["package"] == first["package"]
    assert second["plugins"]["mylab_code"]["commit"].endswith("+changes")
    assert "+A = 2" in (tmp_path / "code.diff").read_text()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("seed=1,2", "seed=1,2"),
        ("logger={mode:online,api_key:abc}", "logger={mode:online,api_key:…}"),
        ("hydra.launcher.setup=['export WANDB_API_KEY=abc x']", None),
        ("hydra.launcher.on_end=curl https://hooks.example.org/abc", "hydra.launcher.on_end=…"),
        ("dataset.root=https://me:abc@example.org/x", "dataset.root=https://…@example.org/x"),
    ],
)
def test_the_command_line_is_recorded_without_secrets(
    typed: str, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", typed])
    assert "abc" not in code.command()
    assert shown is None or shlex.split(code.command()) == ["train.py", shown]


def test_a_run_resumed_with_other_code_records_both(checkout: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)

    def attempt(text: str) -> list[dict[str, Any]]:
        (checkout / "src/fersweep/a.py").write_text(text)
        code.project.cache_clear()
        mark_running(run, code.record(run, []))
        return read_json(run / "status.json")["code"]

    attempt("A = 2\n")
    (first,) = attempt("A = 3\n")  # nothing is left of the attempt before
    (run / "checkpoints" / "last.ckpt").touch()
    assert attempt("A = 3\n") == [first]
    both = attempt("A = 4\n")
    assert both[0] == first
    assert both[1]["digest"] == code.project().digest != first["digest"]
    assert [each["diff"] for each in both] == ["code.diff", "code-2.diff"]
    assert "+A = 3" in (run / "code.diff").read_text()
    assert "+A = 4" in (run / "code-2.diff").read_text()
    mark_pending(run)
    assert read_json(run / "status.json")["code"] == both
    Status(attempts=1).write(run)
    unknown, _ = attempt("A = 4\n")
    assert unknown == {"digest": None, "remarks": [code.UNKNOWN]}
