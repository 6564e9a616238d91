"""Set-up of the test suite: missing packages are installed, and Ctrl-C reaches the processes that tests start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import bootstrap
import pytest


def test_nothing_is_installed_where_nothing_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.missing() == []
    bootstrap.complete()
    assert capsys.readouterr().out == ""


def test_what_is_missing_or_outdated_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = '[project.optional-dependencies]\napps = ["no-such-package"]\n'
    group = '[dependency-groups]\ntest = ["pytest>=8", "packaging<1"]\n'
    (tmp_path / "pyproject.toml").write_text(extra + group)
    monkeypatch.setattr(bootstrap, "REPOSITORY", tmp_path)
    assert bootstrap.missing() == ["no-such-package", "packaging"]


@pytest.mark.parametrize(
    ("command", "ending"),
    [
        (("no-such-program",), "uv, which would install it, is not here: pip install uv"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "uv could not install it (exit code 3)."),
        ((sys.executable, "-c", ""), None),
    ],
)
def test_it_installs_or_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], ending: str | None
) -> None:
    monkeypatch.setattr(bootstrap, "missing", lambda: ["timm"])
    monkeypatch.setattr(bootstrap, "SYNC", command)
    monkeypatch.setattr(sys, "base_prefix", "elsewhere")
    if ending is None:
        bootstrap.complete()
    else:
        with pytest.raises(pytest.exit.Exception) as raised:
            bootstrap.complete()
        assert str(raised.value).endswith(ending)
    assert capsys.readouterr().out.startswith("Installing what the tests need (timm): ")


def test_an_interrupt_reaches_what_tests_start() -> None:
    """Also where this was started in the background, with SIGINT ignored."""
    waiting = "import time; print('waits', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == -signal.SIGINT
