"""A run from its first to its last file: what it leaves, that it repeats itself, and how it fails and goes on."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import TinyNetwork, plain
from omegaconf import DictConfig

from fersweep import build, record
from fersweep import run as run_module
from fersweep.data.samples import CLASSES
from fersweep.errors import UserError
from fersweep.module import FERModule
from fersweep.run import run_one
from fersweep.sweep.identity import run_dir, run_hash, slug

Small = Callable[..., DictConfig]

FILES = {
    "config.yaml",
    "status.json",
    "result.json",
    "predictions.parquet",
    "history.csv",
    "train.log",
    "confusion_matrix.png",
    "learning_curves.png",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
}


def read_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{path} holds {constant}")

    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return content


def run_here(cfg: DictConfig) -> Path:
    run_one(cfg)
    return run_dir(plain(cfg))


def end_of(cfg: DictConfig, error: type[BaseException], monkeypatch: pytest.MonkeyPatch, **hooks: Any) -> BaseException:
    """Start a run whose `FERModule` has other hooks, and return the error that it ends with."""
    with monkeypatch.context() as patch:
        for name, hook in hooks.items():
            patch.setattr(FERModule, name, hook)
        with pytest.raises(error) as caught:
            run_one(cfg)
    return caught.value


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def stamps(directory: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in directory.rglob("*") if path.name != ".lock"]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def history(directory: Path) -> pd.DataFrame:
    return pd.read_csv(directory / "history.csv")


def weights(directory: Path, which: str = "best") -> dict[str, torch.Tensor]:
    path = directory / "checkpoints" / f"{which}.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_same_outcome(one: Path, other: Path) -> None:
    """Weights, predictions and history are equal bit by bit; times are not looked at."""
    for which in ("best", "last"):
        left, right = weights(one, which), weights(other, which)
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []
    predictions = [pd.read_parquet(directory / "predictions.parquet") for directory in (one, other)]
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    tables = [history(directory).drop(columns="seconds") for directory in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    results = [read_json(directory / "result.json") for directory in (one, other)]
    for key in ("metrics", "best_epoch", "epochs", "data_digest"):
        assert results[0][key] == results[1][key]


def test_a_finished_run_leaves_every_file_and_nothing_else(finished: Path) -> None:
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert files - {".lock"} == FILES
    for figure in ("confusion_matrix.png", "learning_curves.png"):
        assert (finished / figure).read_bytes().startswith(b"\x89PNG")
    text = (finished / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert finished.name == f"{slug(config)}-{run_hash(config)}"
    status = read_json(finished / "status.json")
    assert (status["state"], status["attempts"], status["error"]) == ("done", 1, None)
    assert status["started"] <= status["finished"]
    log = (finished / "train.log").read_text()
    assert "epoch 1/2" in log
    assert "epoch 2/2" in log


def test_result_json_holds_what_the_contract_names(finished: Path) -> None:
    result = read_json(finished / "result.json")
    types = {
        "run": str,
        "choices": dict,
        "seed": int,
        "metrics": dict,
        "best_epoch": int,
        "epochs": int,
        "params_total": int,
        "params_trainable": int,
        "seconds": float,
        "images_per_second": float,
        "environment": dict,
    }
    assert {key: type(result[key]) for key in types} == types
    assert result["run"] == finished.name.rsplit("-", 1)[1]
    assert result["choices"] == {
        "backbone": "resnet50",
        "attention": "se",
        "activation": "elu",
        "fidelity": "paper",
        "dataset": "synthetic",
        "split": "official",
        "augmentation": "flip_zoom",
        "recipe": "quick",
        "trainer": "cpu",
        "logger": "csv",
    }
    assert {"val/accuracy", "test/accuracy", "test/macro_f1", "test/loss", "test/n"} <= result["metrics"].keys()
    assert (result["train_n"], result["val_n"], result["metrics"]["test/n"]) == (112, 14, 14)
    network = TinyNetwork(1, 7)
    trainable = sum(parameter.numel() for parameter in network.parameters())
    assert (result["params_trainable"], result["params_total"]) == (trainable, trainable + 16)  # mean and variance of 8
    assert 0 < result["images_per_second"] < 1e6
    assert 0 < result["seconds"] < 300
    assert result["environment"]["precision"] == "32-true"
    assert result["environment"]["torch"] == version("torch")


def test_metrics_can_be_recomputed_from_the_predictions(finished: Path, small: Small) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    assert list(table.columns) == ["id", "label", "predicted", *CLASSES]
    samples = build.samples(small())
    tested = build.datamodule(small(), samples).split.test
    assert sorted(table["id"]) == sorted(samples.ids[tested])
    of_id = dict(zip(samples.ids, samples.labels, strict=True))
    assert [CLASSES[of_id[each]] for each in table["id"]] == list(table["label"])

    probabilities = table[list(CLASSES)].to_numpy()
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert [CLASSES[k] for k in probabilities.argmax(axis=1)] == list(table["predicted"])
    metrics = read_json(finished / "result.json")["metrics"]
    assert metrics["test/accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean(), abs=1e-8)
    own = [row[row["label"]] for _, row in table.iterrows()]
    assert metrics["test/loss"] == pytest.approx(-np.log(np.array(own, dtype=np.float64)).mean(), rel=1e-6)
    scores = []
    for name in CLASSES:
        hits = ((table["label"] == name) & (table["predicted"] == name)).sum()
        scores.append(2 * hits / ((table["label"] == name).sum() + (table["predicted"] == name).sum()))
    assert metrics["test/macro_f1"] == pytest.approx(np.mean(scores), abs=1e-7)


def test_history_has_a_row_an_epoch_and_says_which_was_best(finished: Path) -> None:
    table = history(finished)
    columns = ["epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/macro_f1", "lr", "seconds"]
    assert list(table.columns) == columns
    assert list(table["epoch"]) == [1, 2]
    assert not table.isna().any().any()
    result = read_json(finished / "result.json")
    assert result["epochs"] == 2
    assert result["best_epoch"] == int(table["epoch"][table["val/accuracy"].argmax()])
    assert result["metrics"]["val/accuracy"] == pytest.approx(table["val/accuracy"].max(), abs=1e-8)
    # quick: 7 steps an epoch, one epoch of warm-up to 1e-3, then a cosine to 0 at step 14; the last step of each epoch
    assert table["lr"][0] == pytest.approx(1e-3 * 7 / 8)
    assert table["lr"][1] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 6 / 7)))


@pytest.mark.usefixtures("tiny_network")
def test_the_same_command_again_does_nothing_and_force_does_it_again(
    small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = small()
    score = run_one(cfg)
    directory = run_dir(plain(cfg))
    assert score == read_json(directory / "result.json")["metrics"]["val/accuracy"]
    before = stamps(directory)
    capsys.readouterr()
    assert run_one(small("trainer=auto", "trainer.precision=32", "logger=tensorboard")) == score
    said = " ".join(capsys.readouterr().out.split())
    assert "is done already, nothing to do; force=true runs it again" in said
    assert stamps(directory) == before

    (directory / "history.csv").write_text("old")
    assert run_one(small("force=true")) == score
    assert list(history(directory)["epoch"]) == [1, 2]
    assert read_json(directory / "status.json")["attempts"] == 2


@pytest.mark.usefixtures("tiny_network")
def test_a_run_repeats_itself_bit_by_bit_and_another_seed_differs(finished: Path, small: Small) -> None:
    again, other = run_here(small()), run_here(small("seed=2"))
    assert_same_outcome(finished, again)
    assert again.name == finished.name
    assert other.name != finished.name
    pairs = zip(weights(again).values(), weights(other).values(), strict=True)
    assert not any(torch.equal(one, two) for one, two in pairs if one.ndim > 1)
    assert not history(again)["train/loss"].equals(history(other)["train/loss"])


@pytest.mark.usefixtures("tiny_network")
def test_it_returns_the_validation_score_of_the_best_epoch_never_a_test_score(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = record.test_metrics

    def flattering(*arguments: Any) -> Any:
        metrics, counts = original(*arguments)
        return {**metrics, "test/accuracy": 0.987}, counts

    monkeypatch.setattr(record, "test_metrics", flattering)
    cfg = small("recipe.max_epochs=4")
    score = run_one(cfg)
    directory = run_dir(plain(cfg))
    assert read_json(directory / "result.json")["metrics"]["test/accuracy"] == 0.987
    assert score == pytest.approx(history(directory)["val/accuracy"].max(), abs=1e-8)


@pytest.mark.usefixtures("tiny_network")
def test_every_test_image_is_seen_once_and_unaugmented(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = {"validation": [], "test": []}
    for part, batches in seen.items():
        original = getattr(FERModule, f"{part}_step")

        def step(self: FERModule, batch: Any, batch_idx: int, original: Any = original, batches: Any = batches) -> None:
            batches.append((batch.indices.numpy().copy(), batch.images.numpy().copy()))
            original(self, batch, batch_idx)

        monkeypatch.setattr(FERModule, f"{part}_step", step)
    cfg = small()
    run_one(cfg)
    samples = build.samples(cfg)
    split = build.datamodule(cfg, samples).split
    for part, expected, times in (("validation", split.val, 2), ("test", split.test, 1)):
        indices = np.concatenate([batch[0] for batch in seen[part]])
        images = np.concatenate([batch[1] for batch in seen[part]])
        assert sorted(indices) == sorted(np.tile(expected, times))
        assert np.array_equal(images[:, 0], samples.images[indices])


RICH = ("recipe=modern", "recipe.batch_size=16", "recipe.max_epochs=3", "recipe.mixup=0.2", "recipe.ema_decay=0.8")


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("recipe", [(), RICH], ids=["quick", "modern"])
def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(
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
    assert "the same command goes on" in (directory / "train.log").read_text()

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
def test_a_run_interrupted_while_it_is_tested_trains_no_further(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
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


class NotANumber(TinyNetwork):
    """A network whose answers become NaN, while it trains or only when it is evaluated."""

    when = True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(images)
        return logits * float("nan") if self.training == self.when else logits


@pytest.mark.usefixtures("tiny_network")
def test_a_failed_run_says_so_and_goes_on_from_its_last_epoch(
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
def test_a_directory_that_another_process_holds_is_left_alone(small: Small) -> None:
    cfg = small()
    directory = run_dir(plain(cfg))
    directory.mkdir(parents=True)
    script = (
        "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nwith lock:\n print('held', flush=True)\n input()"
    )
    command = [sys.executable, "-c", script, str(directory / ".lock")]
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
def test_other_data_get_a_directory_of_their_own(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    one, other = fakes.folder(tmp_path / "one", per_class=20), fakes.folder(tmp_path / "other", per_class=21)
    moved = shutil.copytree(one, tmp_path / "moved")

    def cfg(root: Path) -> DictConfig:
        return small("dataset=folder", "split=random", "recipe.max_epochs=1", f"dataset.root={root}")

    directory = run_dir(plain(cfg(one)))
    assert run_dir(plain(cfg(other))) == directory

    end_of(cfg(one), SystemExit, monkeypatch, test_step=interrupt)
    sentence = re.escape(f"{directory} was trained on other data than dataset.root=")
    with pytest.raises(UserError, match=sentence):
        run_one(cfg(other))  # an interrupted run does not go on with other data
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
def test_a_run_that_was_moved_goes_on_with_its_best(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epoch is made the best; whoever forgets that keeps a later one."""
    validate = FERModule.on_validation_epoch_end

    def best_first(self: FERModule) -> None:
        validate(self)
        self.log("val/accuracy", 1.0 / (1 + self.current_epoch))

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
def test_force_with_wrong_data_costs_nothing(small: Small, tmp_path: Path) -> None:
    settings = ("dataset=folder", "split=random", "recipe.max_epochs=1")
    cfg = small(*settings, f"dataset.root={fakes.folder(tmp_path / 'faces', per_class=20)}")
    run_one(cfg)
    directory = run_dir(plain(cfg))
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


@pytest.mark.usefixtures("tiny_network")
def test_the_debug_ladder_runs(run_train: Callable[..., int], tmp_path: Path) -> None:
    small = ("trainer=cpu", "dataset.image_size=32", "dataset.source.size=140", "recipe.batch_size=8")
    assert run_train("experiment=debug_batch", *small) == 0
    assert run_train("experiment=debug_profile", *small) == 0
    batch, profile = sorted((tmp_path / "outputs" / "debug").glob("*/"), key=lambda path: path.stat().st_mtime_ns)
    result = read_json(batch / "result.json")
    assert (result["metrics"]["test/n"], result["epochs"]) == (8, 1)
    assert list(batch.glob("*profile*")) == []
    report = profile / "fit-profile.txt"
    assert "run_training_epoch" in report.read_text()


def test_a_network_learns_two_batches_by_heart(run_train: Callable[..., int], tmp_path: Path) -> None:
    """The second rung of the debug ladder on a real, shallow network: its training accuracy nears 100 %."""
    small = ("trainer=cpu", "dataset.image_size=32", "dataset.source.size=140", "recipe.batch_size=16")
    shallow = ("backbone.model.depths=[1,1,1,1]", "attention=none", "recipe.max_epochs=12")
    assert run_train("experiment=debug_overfit", *small, *shallow) == 0
    (directory,) = (tmp_path / "outputs" / "debug").glob("*/")
    assert history(directory)["train/accuracy"].iloc[-1] > 0.9
    assert read_json(directory / "result.json")["val_n"] == 32


@pytest.mark.usefixtures("tiny_network")
def test_tensorboard_gets_the_numbers_of_every_epoch(small: Small) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = run_here(small("logger=tensorboard"))
    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    logged = [event.value for event in events.Scalars("val/accuracy")]
    assert logged == pytest.approx(list(history(directory)["val/accuracy"]))
    assert {"figures/confusion_matrix", "figures/learning_curves"} <= set(events.Tags()["images"])


def test_wandb_gets_one_run_named_by_the_hash_and_a_failed_one_is_marked(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_tracking import content

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
def test_a_run_that_was_ended_from_outside_is_no_success(
    small: Small, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    """Lightning ends a process that got SIGTERM with a SystemExit without a code, which would read as 0."""

    def ended(_: DictConfig) -> float:
        raise raised

    monkeypatch.setattr(run_module, "run_one", ended)
    with pytest.raises(SystemExit) as end:
        run_module.run(small())
    assert end.value.code == code
