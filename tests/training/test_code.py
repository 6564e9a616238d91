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
from fersweep.training import code, commit, secrets, typed

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
    written = secrets.redacted(now.diff)
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
    ("argument", "shown"),
    [
        ("seed=1,2", "seed=1,2"),
        ("logger={mode:online,api_key:abc}", "logger={mode:online,api_key:…}"),
        ("hydra.launcher.setup=['export WANDB_API_KEY=abc x']", None),
        ("hydra.launcher.on_end=curl https://hooks.example.org/abc", "hydra.launcher.on_end=…"),
        ("dataset.root=https://me:abc@example.org/x", "dataset.root=https://…@example.org/x"),
    ],
)
def test_the_command_line_is_recorded_without_secrets(
    argument: str, shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    assert "abc" not in code.command()
    assert shown is None or shlex.split(code.command()) == ["train.py", shown]


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ACCESS_KEY=hunter2",
        "AWS_ACCESS_KEY_ID=hunter2",
        "HF_TOKEN_READ=hunter2,hunter2;hunter2",
        "pwd=hunter2",
        "api-key=hunter2",
        "x-api-key: hunter2",
        "private_key=hunter2",
        "+  on_end: curl https://hunter2.example.org",
        "+  on_end:\n+    - curl\n+    - hunter2",
        "hydra.launcher={on_end: curl https://hunter2.example.org}",
        "git clone https://hunter2@github.com/a/b",
        "mysql://u:p/hunter2@h",
        "see https://hooks.slack.com/services/hunter2",
        '+password: "a b hunter2"',
        "+password: a b hunter2",
        "+password: |\n+  hunter2\n+  hunter2",
        "os.environ['WANDB_API_KEY'] = 'a hunter2'",
        'os.environ.setdefault("WANDB_API_KEY", "hunter2")',
        "+    api_key: str = 'hunter2'",
        "+    api_key: str | None = 'hunter2'",
        "f(api_key=b'hunter2')",
        '+TOKEN = (\n+    "hunter2"\n+)',
        "f(token=os.environ.get('HF_TOKEN', 'hunter2'))",
        "wandb login --token hunter2",
        "x --db-password 'a hunter2'",
        "Authorization: Basic hunter2",
        "curl -H 'Authorization: Token hunter2' x",
        "curl -su me:hunter2 https://example.org",
        "curl https://example.org --user='me:a hunter2'",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
        "echo ghp_hunter2hunter2",
        "x = f('sk-hunter2hunter2')",
        "x = 'hf_hunter2hunter2'",
    ],
)
def test_what_can_be_recognised_as_a_secret_is_left_out(text: str) -> None:
    changes = secrets.redacted(f"+before = 1\n{text}\n+after = 2")
    assert "hunter2" not in changes
    assert (changes.splitlines()[0], changes.splitlines()[-1]) == ("+before = 1", "+after = 2")
    assert "hunter2" not in " ".join(secrets.redacted_arguments([text]))


@pytest.mark.parametrize(
    "text",
    [
        "tokens = tokens + self.tokenizer(x)",
        "for name in monkeys: key = name",
        "see https://example.org/a@b and me@example.org",
        "git+https://github.com/a/b@v1",
        "task-specific-weights-of-all",
        "if token == other:",
        "sort -u names | curl -T - x; sort -u",
        "class Secret:\n    x = 1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert secrets.redacted(text) == text


def test_values_after_an_option_and_of_several_words_are_left_out() -> None:
    arguments = ["--token", "hunter2", "logger.password=a hunter2", "seed=1"]
    assert secrets.redacted_arguments(arguments) == ["--token", "…", "logger.password=…", "seed=1"]


def test_the_command_is_the_one_that_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(typed.VARIABLE, "")
    for program, words in (
        ("/bin/fersweep", "fersweep train"),
        ("/x/fersweep/__main__.py", "python -m fersweep train"),
        ("/x/train.py", "train.py"),
    ):
        monkeypatch.setattr(sys, "argv", [program])
        assert code.command() == words
    given = ["-m", f"outputs={tmp_path}", "experiment=x"]
    hydra = ["-m", f"outputs='{tmp_path}'", "experiment=x", "seed=1,2", "hydra.sweep.dir=y"]
    typed.remember(given, hydra)
    monkeypatch.setattr(sys, "argv", ["/x/train.py", *hydra])
    assert code.command() == f"train.py -m outputs={tmp_path} experiment=x seed=1,2"
    monkeypatch.setattr(sys, "argv", ["/x/train.py", "seed=3"])  # a process of something else
    assert code.command() == "train.py seed=3"


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
