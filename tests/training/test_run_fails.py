"""Failing runs: loss that is not finite, wrong settings, wrong data, signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fakes
import pytest
import torch
from conftest import TinyNetwork, plain
from omegaconf import DictConfig
from outcomes import read_json
from wandb_files import content

from fersweep import build
from fersweep import run as run_module
from fersweep.errors import UserError
from fersweep.run import run_one
from fersweep.runs.identity import run_dir, run_hash

Small = Callable[..., DictConfig]


class NotANumber(TinyNetwork):
    """A network with logits of NaN, in training or in evaluation."""

    when = True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(images)
        return logits * float("nan") if self.training == self.when else logits


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_loss_that_is_not_a_number_ends_the_run_with_one_sentence(
    small: Small, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    class Network(NotANumber):
        when = part == "training"

    monkeypatch.setattr(build, "model", lambda _, classes: Network(1, classes))
    cfg = small()
    with pytest.raises(UserError, match=rf"^The {part} loss became nan in epoch 1.*lower recipe.optimizer.lr") as error:
        run_one(cfg)
    assert "\n" not in str(error.value)
    status = read_json(run_dir(plain(cfg)) / "status.json")
    assert (status["state"], status["error"]["type"]) == ("failed", "NotFiniteError")


@pytest.mark.usefixtures("tiny_network")
def test_a_rate_far_too_high_is_named_as_the_cause(small: Small) -> None:
    with pytest.raises(UserError, match=r"^The (training|validation) loss became (nan|inf) in epoch \d"):
        run_one(small("recipe.optimizer.lr=1e30", "recipe.gradient_clip=null"))


@pytest.mark.usefixtures("tiny_network")
def test_force_with_wrong_data_costs_nothing(small: Small, tmp_path: Path) -> None:
    settings = ("dataset=folder", "split=random", "recipe.max_epochs=1")
    cfg = small(*settings, f"dataset.root={fakes.folder(tmp_path / 'faces', per_class=20)}")
    fakes.write(tmp_path / "faces" / "sad" / "more.heic", "not read")
    run_one(cfg)
    directory = run_dir(plain(cfg))
    assert "not read: 1 .heic file (pictures: save them as PNG or JPEG); `" in (directory / "train.log").read_text()
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(UserError, match="does not exist"):
        run_one(small(*settings, f"dataset.root={tmp_path / 'nowhere'}", "force=true"))
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.usefixtures("tiny_network")
def test_impossible_settings_make_no_directory(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no effect with attention=none"):
        run_one(small("attention=none", "backbone=vgg19", "backbone.attention_position=every_conv"))
    with pytest.raises(UserError, match=r"There is no checkpoint .*nowhere\.ckpt"):
        run_one(small("weights=nowhere.ckpt"))
    assert not (tmp_path / "outputs").exists()


def test_a_network_that_cannot_be_built_makes_no_directory(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"attention_position=before_addition is not possible in a VGG"):
        run_one(small("backbone=vgg16", "backbone.attention_position=before_addition"))
    with pytest.raises(UserError, match=r"depths=\[1, 1\] does not describe a ResNet"):
        run_one(small("backbone.model.depths=[1,1]"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.usefixtures("tiny_network")
def test_a_place_that_cannot_be_written_is_named(small: Small, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(
        UserError, match=r"cannot be written \(Not a directory\): choose another place with outputs=PATH"
    ):
        run_one(small())


def test_wandb_gets_one_run_named_by_the_hash_and_a_failed_one_is_marked(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network(NotANumber):
        pass

    for network, failed in ((TinyNetwork, False), (Network, True)):
        monkeypatch.setattr(build, "model", lambda _, classes, network=network: network(1, classes))
        cfg = small("logger=wandb", "logger.mode=offline", f"seed={1 + failed}")
        if failed:
            with pytest.raises(UserError, match="became nan"):
                run_one(cfg)
        else:
            run_one(cfg)
        directory = run_dir(plain(cfg))
        run = run_hash(plain(cfg))
        (path,) = directory.glob(f"wandb/offline-run-*/run-{run}.wandb")
        found = content(path)
        assert set(found["ids"]) == {run}
        assert found["exit_code"] == int(failed)
        assert (found["group"], found["config"]["seed"]) == ("runs", 1 + failed)
        if not failed:
            metrics = read_json(directory / "result.json")["metrics"]
            assert found["summary"]["test/accuracy"] == metrics["test/accuracy"]
            assert found["summary"]["val/accuracy"] == pytest.approx(metrics["val/accuracy"])
            assert found["history"]["figures/learning_curves/_type"] == "image-file"
            assert found["history"]["figures/confusion_matrix/_type"] == "image-file"
            assert list(path.parent.glob("files/media/table/confusion_matrix_table_*.json"))


@pytest.mark.parametrize(("raised", "code"), [(SystemExit(), 143), (SystemExit(1), 1), (KeyboardInterrupt(), 130)])
def test_a_run_ended_by_a_signal_exits_with_an_error(
    small: Small, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    """On SIGTERM Lightning raises SystemExit without a code, which would exit with 0."""

    def ended(_: DictConfig) -> float:
        raise raised

    monkeypatch.setattr(run_module, "run_one", ended)
    with pytest.raises(SystemExit) as end:
        run_module.run(small())
    assert end.value.code == code
