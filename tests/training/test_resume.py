"""Interrupted and failed runs: they resume and end as if uninterrupted, or say why they cannot."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fakes
import pytest
import torch
from conftest import TinyNetwork, plain
from omegaconf import DictConfig
from outcomes import assert_same_outcome, end_of, history, interrupt, read_json, run_here

from fersweep import build
from fersweep.errors import UserError
from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.training.module import FERModule

Small = Callable[..., DictConfig]


RICH = (
    "recipe=modern",
    "recipe.batch_size=16",
    "recipe.max_epochs=3",
    "recipe.mixup=0.2",
    "recipe.cutmix=1.0",
    "recipe.ema_decay=0.8",
    "recipe.schedule=step",
    "recipe.step_epochs=1.5",
    "recipe.gradient_clip_mode=value",
)


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("recipe", [(), RICH], ids=["quick", "modern"])
def test_an_interrupted_run_resumes_and_equals_an_uninterrupted_one(
    small: Small, monkeypatch: pytest.MonkeyPatch, recipe: tuple[str, ...]
) -> None:
    overrides = (*recipe, "recipe.max_epochs=3")
    whole = run_here(small(*overrides, "sweep=whole"))
    cfg = small(*overrides)
    directory = run_dir(plain(cfg))
    original = FERModule.on_train_epoch_start

    def second_epoch(self: FERModule) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    end = end_of(cfg, SystemExit, monkeypatch, on_train_epoch_start=second_epoch)
    assert isinstance(end, SystemExit)
    assert end.code != 0
    status = read_json(directory / "status.json")
    assert (status["state"], status["attempts"], status["error"]) == ("pending", 1, None)
    assert (directory / "checkpoints" / "last.ckpt").is_file()
    assert not (directory / "result.json").exists()
    assert "Interrupted. Run the same command" in (directory / "train.log").read_text()

    trained: list[int] = []

    def note(self: FERModule) -> None:
        trained.append(self.current_epoch)
        original(self)

    monkeypatch.setattr(FERModule, "on_train_epoch_start", note)
    run_one(cfg)
    assert trained == [1, 2]
    status = read_json(directory / "status.json")
    assert (status["state"], status["attempts"]) == ("done", 2)
    assert_same_outcome(whole, directory)


@pytest.mark.usefixtures("tiny_network")
def test_a_run_interrupted_during_its_test_trains_no_further(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ("recipe.max_epochs=30", "recipe.early_stopping_patience=1", "recipe.optimizer.lr=0.3")
    whole = run_here(small(*overrides, "sweep=whole"))
    epochs = read_json(whole / "result.json")["epochs"]
    assert 2 <= epochs < 30  # it stopped early
    cfg = small(*overrides)
    directory = run_dir(plain(cfg))

    end_of(cfg, SystemExit, monkeypatch, test_step=interrupt)
    assert read_json(directory / "status.json")["state"] == "pending"
    last = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    elapsed = last["callbacks"]["History"]["elapsed"]
    monkeypatch.setattr(FERModule, "training_step", interrupt)
    run_one(cfg)
    assert_same_outcome(whole, directory)
    result = read_json(directory / "result.json")
    assert result["seconds"] > elapsed > 0  # both attempts together
    assert result["images_per_second"] > 0


@pytest.mark.usefixtures("tiny_network")
def test_a_failed_run_resumes_from_its_last_epoch(
    small: Small, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    cfg = small()
    directory = run_dir(plain(cfg))

    def fail(self: FERModule) -> None:
        if self.current_epoch == 1:
            raise ArithmeticError("the sky fell")

    end_of(cfg, ArithmeticError, monkeypatch, on_train_epoch_start=fail)
    status = read_json(directory / "status.json")
    assert (status["state"], status["attempts"]) == ("failed", 1)
    assert status["error"] == {"type": "ArithmeticError", "message": "the sky fell"}
    log = (directory / "train.log").read_text()
    assert "Traceback" in log
    assert "ArithmeticError: the sky fell" in log
    trained: list[int] = []
    monkeypatch.setattr(FERModule, "on_train_epoch_start", lambda self: trained.append(self.current_epoch))
    run_one(cfg)
    assert trained == [1]
    assert read_json(directory / "status.json")["attempts"] == 2
    assert_same_outcome(finished, directory)


@pytest.mark.usefixtures("tiny_network")
def test_a_directory_locked_by_another_process_is_left_alone(small: Small) -> None:
    cfg = small()
    directory = run_dir(plain(cfg))
    directory.mkdir(parents=True)
    script = (
        "import sys, pathlib\nfrom fersweep.runs.lock import claim\n"
        "with claim(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n input()"
    )
    command = [sys.executable, "-c", script, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=re.escape(f"{directory} is being trained by another process")):
            run_one(cfg)
        assert {path.name for path in directory.iterdir()} == {".lock"}
        holder.kill()
    run_one(cfg)  # a dead process holds nothing
    assert read_json(directory / "status.json")["state"] == "done"


@pytest.mark.usefixtures("tiny_network")
def test_a_directory_is_refused_to_other_data(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    one, other = fakes.folder(tmp_path / "one", per_class=20), fakes.folder(tmp_path / "other", per_class=21)
    moved = shutil.copytree(one, tmp_path / "moved")

    def cfg(root: Path) -> DictConfig:
        return small("dataset=folder", "split=random", "recipe.max_epochs=1", f"dataset.root={root}")

    directory = run_dir(plain(cfg(one)))
    assert run_dir(plain(cfg(other))) == directory

    end_of(cfg(one), SystemExit, monkeypatch, test_step=interrupt)
    sentence = re.escape(f"{directory} was trained on different data from what dataset.root=")
    with pytest.raises(UserError, match=sentence):
        run_one(cfg(other))  # an interrupted run does not resume with other data
    assert read_json(directory / "status.json")["state"] == "pending"
    score = run_one(cfg(one))
    with pytest.raises(UserError, match=sentence):
        run_one(cfg(other))  # and a finished one is not taken for another
    assert read_json(directory / "status.json")["state"] == "done"
    assert run_one(cfg(moved)) == score
    picture = sorted(one.rglob("*.png"))[0]
    picture.write_bytes(sorted(one.rglob("*.png"))[1].read_bytes())
    with pytest.raises(UserError, match=sentence):
        run_one(cfg(one))  # the same names and labels, but another picture


@pytest.mark.usefixtures("tiny_network")
def test_a_run_that_was_moved_keeps_its_best_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch is made the best; without its score a later one would replace it."""
    validate = FERModule.on_validation_epoch_end

    def best_first(self: FERModule) -> None:
        validate(self)
        self.log("val/accuracy", 1.0 / (1 + self.current_epoch), sync_dist=True, reduce_fx="max")

    monkeypatch.setattr(FERModule, "on_validation_epoch_end", best_first)
    cfg = small("recipe.max_epochs=3")
    with monkeypatch.context() as patch:
        patch.setattr(FERModule, "on_train_epoch_start", lambda self: interrupt() if self.current_epoch == 2 else None)
        with pytest.raises(SystemExit):
            run_one(cfg)
    (tmp_path / "outputs").rename(tmp_path / "elsewhere")
    run_one(small("recipe.max_epochs=3", f"outputs={tmp_path / 'elsewhere'}"))
    (directory,) = (tmp_path / "elsewhere" / "runs").iterdir()
    assert read_json(directory / "result.json")["best_epoch"] == 1


@pytest.mark.usefixtures("tiny_network")
def test_a_resumed_run_keeps_its_precision(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another machine, whose ``auto`` is another precision."""
    cfg = small("trainer.precision=auto", "recipe.max_epochs=2")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    end_of(cfg, SystemExit, monkeypatch, test_step=interrupt)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    directory = run_here(cfg)
    assert read_json(directory / "result.json")["environment"]["precision"] == "bf16-mixed"
    fresh = run_here(small("trainer.precision=auto", "seed=2"))
    assert read_json(fresh / "result.json")["environment"]["precision"] == "32-true"


class Hungry(TinyNetwork):
    """A network that fits in memory with eight images; without batch norm and dropout, which see microbatches."""

    room = 8
    seen: list[int]

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.features[1] = torch.nn.Identity()
        self.features[5] = torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


def test_out_of_memory_halves_the_microbatch(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_settings = ("augmentation=none", "recipe.optimizer._target_=torch.optim.SGD")
    monkeypatch.setattr(Hungry, "seen", [], raising=False)
    monkeypatch.setattr(build, "model", lambda _, classes: Hungry(1, classes))
    with pytest.raises(torch.OutOfMemoryError):
        run_one(small(*plain_settings))
    assert read_json(run_dir(plain(small(*plain_settings))) / "status.json")["error"]["type"] == "OutOfMemoryError"
    Hungry.seen.clear()
    directory = run_here(small(*plain_settings, "trainer.auto_microbatch=true"))
    assert Hungry.seen[0] == 16
    assert max(Hungry.seen[1:]) == 8
    result = read_json(directory / "result.json")
    assert result["microbatch"] == 8
    assert "out of memory with microbatches of 16 images: resuming with 8" in (directory / "train.log").read_text()

    monkeypatch.setattr(Hungry, "room", 1000)
    whole = run_here(small(*plain_settings, "sweep=whole"))
    assert read_json(whole / "result.json")["microbatch"] == 16
    one, other = history(directory), history(whole)
    assert one["train/loss"].to_numpy() == pytest.approx(other["train/loss"].to_numpy(), abs=1e-5)
    assert one["lr"].equals(other["lr"])  # as many optimiser steps


def test_a_run_without_memory_for_two_images_fails(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "seen", [], raising=False)
    monkeypatch.setattr(Hungry, "room", 0)
    monkeypatch.setattr(build, "model", lambda _, classes: Hungry(1, classes))
    with pytest.raises(torch.OutOfMemoryError):
        run_one(small("trainer.auto_microbatch=true"))
    assert Hungry.seen == [16, 8, 4, 2]
