"""The command line of the benchmarks: settings, rounds and ratios, tables and JSON."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarking import smoke_settings
from rich.console import Console

from benchmarks import CHECKS, PARTS, measure, report, run, settings
from benchmarks import smoke as smoke_module
from benchmarks.__main__ import main
from benchmarks.measure import Part
from benchmarks.settings import Settings


@pytest.fixture
def smoke(tmp_path: Path) -> Settings:
    """A smoke benchmark of two rounds."""
    return smoke_settings(tmp_path)


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_candidates_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    numbers = count()

    def candidate(name: str) -> Any:
        return lambda: order.append(name) or next(numbers)

    found = measure.alternate({"a": candidate("a"), "b": candidate("b")}, 3)
    assert order == ["a", "b"] * 4
    assert found == {"a": (2, 4, 6), "b": (3, 5, 7)}
    assert measure.alternate({"a": candidate("a")}, 2, warm_up=False) == {"a": (8, 9)}


def test_ratios_are_taken_within_a_round() -> None:
    ours, theirs = measure.figures(
        "s", {"batch": 4}, {"ours": (1.0, 8.0, 3.0), "theirs": (2.0, 4.0, 3.0)}, {"ours": "theirs"}
    )
    assert ours.ratios == (0.5, 2.0, 1.0)
    assert ours.as_dict() == {
        "what": "ours",
        "case": {"batch": 4},
        "unit": "s",
        "median": 3.0,
        "min": 1.0,
        "max": 8.0,
        "values": [1.0, 8.0, 3.0],
        "ratio": {"to": "theirs", "median": 1.0, "min": 0.5, "max": 2.0, "values": [0.5, 2.0, 1.0]},
    }
    assert theirs.to is None
    assert theirs.as_dict()["ratio"] is None


def test_a_rate_takes_as_many_calls_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 0.03

    monkeypatch.setattr(measure, "clock", lambda _: now)
    rated = measure.rate(work, 6, torch.device("cpu"), least=0.1)
    assert rated() == pytest.approx(200)
    assert now == pytest.approx(6 * 0.03)  # a warm-up, one call to find out how long it takes, four to measure
    assert rated() == pytest.approx(200)
    assert now == pytest.approx(10 * 0.03)


def test_defaults_of_settings(tmp_path: Path, smoke: Settings) -> None:
    asked: dict[str, Any] = {"image_size": None, "repeats": None, "device": "cpu"}
    full = settings.check(tmp_path, ["peers", "input", "peers"], batches=[8, 8, 400], threads=3, **asked)
    assert (full.parts, full.backbones, full.batches) == (
        ("input", "peers"),
        ("resnet50", "vgg19", "aer_cnn"),
        (8, 400),
    )
    assert (full.image_size, full.repeats, full.threads, full.images) == (48, 5, 3, 4000)
    assert (smoke.parts, smoke.backbones, smoke.batches) == (tuple(PARTS), ("aer_cnn",), (8,))
    assert (smoke.image_size, smoke.repeats, smoke.images) == (32, 2, 140)
    assert settings.check(tmp_path, smoke=True, threads=None, **asked).threads == 1
    cfg = smoke.compose("backbone=vgg19")
    assert (cfg.backbone.name, cfg.dataset.image_size, cfg.dataset.source.size) == ("vgg19", 32, 140)
    assert (cfg.trainer.name, cfg.outputs, cfg.cache) == ("cpu", f"{tmp_path}/outputs", f"{tmp_path}/cache")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("inptu", f"Unknown part 'inptu' (did you mean input?); choices: {', '.join(PARTS)}."),
        ("--backbone vgg91", "Unknown backbone 'vgg91' (did you mean vgg19?); choices: aer_cnn, "),
        ("--batch 64 1", "--batch 1 is out of range: 2 or more."),
        ("--image-size 24", "--image-size 24 is out of range: 32 to 256."),
        ("--repeats 0", "--repeats 0 is out of range: 1 or more."),
        ("--threads 0", "--threads 0 is out of range: 1 or more."),
        ("--fer2013 nowhere", "--fer2013 nowhere does not exist: name the archive or folder of FER2013."),
        ("input --fer2013 .", "--fer2013 has no effect without the part data: leave it out, or name that part too."),
        (
            "--json missing/file.json",
            "--json missing/file.json cannot be written: name a file in a folder that exists.",
        ),
        pytest.param(
            "--device gpu",
            "--device gpu is not possible: torch finds no CUDA device.",
            marks=pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU"),
        ),
    ],
)
def test_invalid_settings_are_refused(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {sentence}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_table_shows_the_figures_of_the_json() -> None:
    part = Part(
        measure.figures("s", {"backbone": "vgg19", "batch": 64}, {"a": (1234.5,), "b": (0.25,)}, {"b": "a"}), ["Note."]
    )
    text = io.StringIO()
    Console(width=160, file=text).print(report.table("Title", report.as_dict(part, 2.4)))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert " ".join(lines[0]) == "Title (2 s)"
    assert lines[1] == ["of", "what", "unit", "n", "median", "min", "max", "ratio", "min", "max", "to"]
    assert lines[2] == ["vgg19", "batch", "64", "a", "s", "1", *["1,234"] * 3]
    assert lines[3] == ["b", "s", "1", *["0.25"] * 3, *["0.000"] * 3, "a"]
    assert lines[4] == ["Note."]


def test_json_and_tables_of_the_same_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def fake(name: str, chosen: Settings) -> Part:
        folders.append(chosen.folder)
        assert chosen.folder.is_dir()
        return Part(measure.figures("s", {"batch": 8}, {name: (1.0, 2.0, 4.0)}), [f"{name}."])

    monkeypatch.setattr(run, "measure", fake)
    arguments = ["memory", "input", "--smoke", "--threads", "1", "--device", "cpu"]
    assert main([*arguments, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"].keys() == {"cpu", "cores", "gpu", "torch", "python", "platform", "precision", "threads"}
    assert (found["machine"]["threads"], found["machine"]["gpu"]) == (1, None)
    assert found["settings"] == {
        "parts": ["input", "memory"],
        "backbones": ["aer_cnn"],
        "batches": [8],
        "image_size": 32,
        "repeats": 1,
        "smoke": True,
    }
    assert list(found["parts"]) == ["input", "memory"]
    part = found["parts"]["memory"]
    assert part["notes"] == ["memory."]
    figure = {"what": "memory", "case": {"batch": 8}, "unit": "s", "median": 2.0, "min": 1.0, "max": 4.0}
    assert part["figures"] == [{**figure, "values": [1.0, 2.0, 4.0], "ratio": None}]
    assert main([*arguments, "--json", str(tmp_path / "found.json")]) == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert {**written, "parts": None} == {**found, "parts": None}
    assert written["parts"]["input"]["figures"] == found["parts"]["input"]["figures"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == report.headline(found["machine"])
    assert lines[0].endswith(", 1 thread")
    assert lines[1].startswith("input: ")
    assert not any(folder.exists() for folder in folders)


def test_each_check_has_its_own_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name in CHECKS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: python -m benchmarks {name} [-h] [--smoke]")


def test_smoke_runs_the_parts_and_every_check_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class OneProcess:
        """A pool that runs everything here and at once."""

        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> OneProcess:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, function: Any, name: str) -> Future[Any]:
            assert function is smoke_module.captured
            started.append(name)
            ended: Future[Any] = Future()
            ended.set_result((3 if name == "copies" else 0, ""))
            return ended

        def shutdown(self, **_: bool) -> None: ...

    monkeypatch.setattr(smoke_module, "ProcessPoolExecutor", OneProcess)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert smoke_module.smoke() == 3
    assert sorted(started) == sorted(["", *CHECKS])
    assert started[: len(smoke_module.LONGEST)] == list(smoke_module.LONGEST)
    assert smoke_module.smoke(["video", "chaos"]) == 0


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (lambda: 0, 0, "printed\nwritten\n"),
        (lambda: 2, 2, "printed\nwritten\n"),
        (lambda: sys.exit(1), 1, "printed\n"),
        (lambda: 1 / 0, 1, "ZeroDivisionError"),
    ],
)
def test_what_a_smoke_check_prints_is_kept_until_it_ends(
    end: Any, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def check(arguments: list[str]) -> Any:
        assert arguments == ["video", "--smoke"]
        print("printed")
        sys.stdout.flush()
        code = end()
        subprocess.run(["echo", "written"], check=True)
        return code

    monkeypatch.setattr("benchmarks.__main__.main", check)
    with capfd.disabled():  # `print` then writes to the file of standard output, as in a process of its own
        found, output = smoke_module.captured("video")
    assert found == code
    assert said in output
    assert output.endswith(" s")
    assert capfd.readouterr() == ("", "")
