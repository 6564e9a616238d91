"""A sweep with an impossible run starts nothing and says why in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_processes import Started, install
from fakes import encoded, picture, write

from fersweep.sweep.local import place as local
from fersweep.training import fit as training

Train = Callable[..., int]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return install(monkeypatch)


def test_a_missing_dataset_is_reported_before_anything_starts(
    started: Started, run_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train("-m", "attention=se,eca", "dataset=jaffe", "split=random", f"dataset.root={tmp_path}/nowhere") == 2
    error = capsys.readouterr().err
    assert "nowhere does not exist" in error
    assert error.endswith("nothing was started)\n")
    assert error.count("\n") == 1
    assert started.runs == []
    assert not list(tmp_path.rglob("status.json"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("hydra.launcher.gpus_per_run=3", "A run needs 3 GPUs and this machine has 2"),
        ("hydra.launcher.gpus_per_run=1.5", "hydra.launcher.gpus_per_run=1.5 is not a number of GPUs"),
        ("trainer=ddp hydra.launcher.gpus_per_run=0.5", "is fewer than trainer.devices=2"),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs=0 is out of range: null, or 1 or more"),
        ("hydra.launcher.threads=-2", "hydra.launcher.threads=-2 is out of range: null, or 1 or more"),
        ("hydra.launcher.timeout=0", "hydra.launcher.timeout=0 is out of range: null, or minutes above 0"),
        ("hydra.launcher.gpus_per_run=-1", "hydra.launcher.gpus_per_run=-1.0 is not a number of GPUs"),
        ("trainer=cpu hydra.launcher.gpus_per_run=1", "hydra.launcher.gpus_per_run=1 has no effect"),
        ("trainer=ddp_cpu trainer.num_nodes=2", "trainer.num_nodes needs a cluster"),
    ],
)
def test_impossible_launcher_settings_are_refused(
    started: Started,
    run_train: Train,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(training.torch.cuda, "device_count", lambda: 2)
    assert run_train("-m", "seed=1,2", *settings.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert started.runs == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed=1,x", "seed=x: 'x' is not an integer."),
        ("attention=se,cbma", "attention=cbma is not known (did you mean cbam?)"),
        ("seed=1,-1", "seed=-1 is out of range"),
        ("backbone=resnet50,vgg16 backbone.attention_position=before_addition", "is not possible in a VGG"),
        ("recipe.batch_size=8,${nowhere}", "Interpolation key 'nowhere' not found"),
        ("backbone=glob(vgg*) attention=none backbone.attention_position=every_conv", "no effect with attention=none"),
    ],
)
def test_an_impossible_run_prevents_the_sweep(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str], tmp_path: Path, overrides: str, message: str
) -> None:
    assert run_train("-m", *overrides.split()) == 2
    assert started.runs == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert [path for path in tmp_path.rglob("*") if path.is_dir() and path.name not in ("outputs", "runs")] == []


def test_a_setting_that_only_some_of_the_swept_choices_have_starts_nothing(
    started: Started, run_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train("-m", "attention=eca,none", "attention.gamma=3") == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: There is no setting attention.gamma; settings of attention: name, title. (in attention=none"
    )
    assert error.count("\n") == 1
    assert started.runs == []


def test_two_runs_with_one_directory_are_refused(
    started: Started, run_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path of the data is not part of a run's identity: one would be reported with the other's result."""
    for folder in ("A", "B"):
        for number, name in enumerate(("happy", "sad")):
            write(tmp_path / folder / name / "face.png", encoded(picture(number)))
    roots = f"dataset.root={tmp_path}/A,{tmp_path}/B"
    assert run_train("-m", "dataset=folder", "split=random", roots, "seed=1,2") == 2
    error = capsys.readouterr().err
    assert re.match(r"error: dataset.root=\S+/A and dataset.root=\S+/B are the same run, resnet50-\S+: ", error)
    assert "dataset.root is not part of a run's identity; start two sweeps with different sweep=NAME" in error
    assert error.count("\n") == 1
    assert started.runs == []
    assert not list(tmp_path.rglob("status.json"))
    assert run_train("-m", "seed=1,1") == 0  # the same run twice is one run
    capsys.readouterr()
