"""`fersweep clean`: what it lists, what it removes, and what it never touches."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import fakes
import pytest
from lockers import foreign
from run_states import all_states, asked_for, finished

from fersweep.cli import main as cli
from fersweep.data import cache as decoded
from fersweep.data.sources.folder import Folder
from fersweep.runs import clean
from fersweep.runs.lock import claim
from fersweep.runs.status import mark_running

GONE = {"failed", "killed", "stopped", "robbed", "pending", "unreadable"}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def test_runs_without_a_result_are_listed_and_removed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = all_states(outputs)
    kept = contents(made["done"]) | contents(made["better"])
    assert cli.main(["clean", str(outputs), "--yes"]) == 0
    printed = capsys.readouterr().out
    assert {name for name, directory in made.items() if str(directory) in printed} == GONE
    assert {name for name, directory in made.items() if not directory.exists()} == GONE
    assert printed.endswith("Removed 6 folders.\n")
    assert contents(outputs) == kept
    assert cli.main(["clean", str(outputs)]) == 0
    assert capsys.readouterr().out == "Nothing to remove: every run is done or running.\n"


@pytest.mark.parametrize("answer", ["", "n\n", "no\n", "yep\n"])
def test_nothing_is_removed_without_a_yes(
    outputs: Path, answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_states(outputs)
    before = contents(outputs)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert cli.main(["clean", str(outputs)]) == 1
    assert "Remove 6 folders, 0.0 MiB (interrupted runs could be resumed)? [y/N] " in capsys.readouterr().out
    assert contents(outputs) == before
    monkeypatch.setattr(sys, "stdin", io.StringIO("Y\n"))
    assert cli.main(["clean", str(outputs)]) == 0
    assert len(list(outputs.iterdir())) == 2


def test_a_live_run_is_never_removed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, elsewhere = asked_for(outputs / "none-s1-0000000001"), asked_for(outputs / "none-s2-0000000002")
    mark_running(here)
    foreign(elsewhere, age=5)
    found = clean.unfinished(outputs)
    assert [each.directory for each in found] == [here]
    with claim(here):
        assert clean.unfinished(outputs) == []
        removed, kept = clean.remove(found)  # it has started since it was listed
        assert removed == []
        assert "is being trained by another process" in kept[0]
    assert here.is_dir()
    assert elsewhere.is_dir()
    assert capsys.readouterr().out == ""


def test_a_run_that_was_finished_or_removed_since_it_was_listed_is_left_alone(outputs: Path) -> None:
    place = asked_for(outputs / "none-s1-0000000001")
    found = clean.unfinished(outputs)
    shutil.rmtree(place)
    assert clean.remove(found) == ([], [f"{place} is kept: it was removed meanwhile"])
    assert not place.exists()
    finished(place)
    before = contents(place)
    assert clean.remove(found) == ([], [f"{place} is kept: it is done now"])
    assert contents(place) == before


def test_folders_of_others_are_not_taken_for_runs(outputs: Path, tmp_path: Path) -> None:
    for name in ("thesis", "thesis-0123456789"):
        (outputs / name).mkdir(parents=True)
        (outputs / name / "result.json").write_text("mine")
    real = asked_for(tmp_path / "none-s1-0000000001")
    (outputs / "none-s2-0000000001").symlink_to(real)
    assert clean.unfinished(outputs) == []


def test_decoded_datasets_are_removed_if_asked_for(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(outputs / "none-s1-0000000001")
    place = tmp_path / "cache"
    source = Folder(fakes.folder(tmp_path / "faces"))
    images = decoded.load(source, place).images.tolist()
    (place / "mine-0123456789abcdef").mkdir()
    (place / "notes.txt").write_text("mine")
    assert cli.main(["clean", str(outputs), "--yes"]) == 0
    assert len(list(place.glob("folder-*"))) == 1
    assert cli.main(["clean", str(outputs), "--cache", str(place), "--yes"]) == 0
    assert "Removed 1 folder." in capsys.readouterr().out
    assert sorted(each.name for each in place.iterdir() if each.name[0] != ".") == [
        "mine-0123456789abcdef",
        "notes.txt",
    ]
    assert (outputs / "none-s1-0000000001" / "result.json").exists()
    assert decoded.load(source, place).images.tolist() == images
