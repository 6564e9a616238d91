"""Files, results and reproducibility of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import TinyNetwork, plain
from omegaconf import DictConfig
from outcomes import assert_same_outcome, history, read_json, run_here, weights

from fersweep import build
from fersweep.data.samples import CLASSES, Samples
from fersweep.run import run_one
from fersweep.runs.identity import run_dir, run_hash, slug
from fersweep.training import code
from fersweep.training import metrics as training_metrics
from fersweep.training.module import FERModule

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


def stamps(directory: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in directory.rglob("*") if path.name != ".lock"]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_a_finished_run_leaves_every_file_and_nothing_else(finished: Path) -> None:
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert files - {".lock", "code.diff"} == FILES  # the last only where the checkout has changes
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
    assert {"test/accuracy_without_twins", "test/n_without_twins"} <= result["metrics"].keys()
    assert result["twins"].keys() == {"train", "val", "either", "dropped"}
    assert (result["shared_subjects"], result["shared_subject_images"]) == (0, 0)  # as many people as blocks of seven
    assert (result["shared_sequences"], result["shared_sequence_images"], result["folds"]) == (None, None, None)
    assert (result["train_n"], result["val_n"], result["metrics"]["test/n"]) == (112, 14, 14)
    network = TinyNetwork(1, 7)
    trainable = sum(parameter.numel() for parameter in network.parameters())
    assert (result["params_trainable"], result["params_total"]) == (trainable, trainable + 16)  # mean and variance of 8
    convolution, linear = 2 * 16 * 16 * 8 * 25, 2 * 128 * 7
    assert result["forward_flops"] == convolution + linear
    assert result["training_flops"] == (2 * convolution + 3 * linear) * 112 * 2  # images and epochs
    assert 0 < result["images_per_second"] < 1e6
    assert 0 < result["seconds"] < 300
    assert result["environment"]["precision"] == "32-true"
    assert result["environment"]["torch"] == version("torch")
    (record,) = result["code"]
    assert (record["digest"], record["version"]) == (code.project().digest, version("fersweep"))
    assert [record] == read_json(finished / "status.json")["code"]


def test_metrics_can_be_recomputed_from_the_predictions(finished: Path, small: Small) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    assert list(table.columns) == ["id", "label", "predicted", *CLASSES, "subject", "twin"]
    samples = build.samples(small())
    tested = build.datamodule(small(), samples).split.test
    assert sorted(table["id"]) == sorted(samples.ids[tested])
    assert (
        dict(zip(table["id"], table["subject"], strict=True)).items()
        <= dict(zip(samples.ids, samples.subjects, strict=True)).items()
    )
    of_id = dict(zip(samples.ids, samples.labels, strict=True))
    assert [CLASSES[of_id[each]] for each in table["id"]] == list(table["label"])

    probabilities = table[list(CLASSES)].to_numpy()
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert [CLASSES[k] for k in probabilities.argmax(axis=1)] == list(table["predicted"])
    metrics = read_json(finished / "result.json")["metrics"]
    assert metrics["test/accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean(), abs=1e-8)
    without = table[~table["twin"]]
    assert metrics["test/n_without_twins"] == len(without)
    right = (without["label"] == without["predicted"]).mean()
    assert metrics["test/accuracy_without_twins"] == pytest.approx(right, abs=1e-8)
    own = [row[row["label"]] for _, row in table.iterrows()]
    assert metrics["test/loss"] == pytest.approx(-np.log(np.array(own, dtype=np.float64)).mean(), rel=1e-6)
    scores = []
    for name in CLASSES:
        hits = ((table["label"] == name) & (table["predicted"] == name)).sum()
        scores.append(2 * hits / ((table["label"] == name).sum() + (table["predicted"] == name).sum()))
    assert metrics["test/macro_f1"] == pytest.approx(np.mean(scores), abs=1e-7)


def test_history_has_one_row_per_epoch_and_gives_the_best(finished: Path) -> None:
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
def test_a_done_run_is_not_repeated_without_force(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
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
    original = training_metrics.test_metrics

    def flattering(*arguments: Any) -> Any:
        metrics, counts = original(*arguments)
        return {**metrics, "test/accuracy": 0.987}, counts

    monkeypatch.setattr(training_metrics, "test_metrics", flattering)
    cfg = small("recipe.max_epochs=4")
    score = run_one(cfg)
    directory = run_dir(plain(cfg))
    assert read_json(directory / "result.json")["metrics"]["test/accuracy"] == 0.987
    assert score == pytest.approx(history(directory)["val/accuracy"].max(), abs=1e-8)


@pytest.mark.usefixtures("tiny_network")
def test_data_are_read_once_and_every_test_image_is_seen_once_and_unaugmented(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = build.samples
    given: list[Samples] = []
    monkeypatch.setattr(build, "samples", lambda cfg: given.append(read(cfg)) or given[-1])
    seen: dict[str, list[Any]] = {"validation": [], "test": []}
    for part, batches in seen.items():
        original = getattr(FERModule, f"{part}_step")

        def step(self: FERModule, batch: Any, batch_idx: int, original: Any = original, batches: Any = batches) -> None:
            batches.append((batch.indices.numpy().copy(), batch.images.numpy().copy()))
            original(self, batch, batch_idx)

        monkeypatch.setattr(FERModule, f"{part}_step", step)
    cfg = small()
    run_one(cfg)
    (samples,) = given
    split = build.datamodule(cfg, samples).split
    for part, expected, times in (("validation", split.val, 2), ("test", split.test, 1)):
        indices = np.concatenate([batch[0] for batch in seen[part]])
        images = np.concatenate([batch[1] for batch in seen[part]])
        assert sorted(indices) == sorted(np.tile(expected, times))
        assert np.array_equal(images[:, 0], samples.images[indices])


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


def test_a_network_overfits_two_batches(run_train: Callable[..., int], tmp_path: Path) -> None:
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
