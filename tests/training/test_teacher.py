"""Distillation: soft labels of the training images by finished runs, and the loss that learns them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import plain
from linear import batch, log_probabilities, made
from omegaconf import DictConfig
from outcomes import read_json
from torch.nn import functional as F

from fersweep import build
from fersweep.errors import UserError
from fersweep.inference import trained
from fersweep.run import run_one
from fersweep.runs.identity import run_dir, run_hash
from fersweep.training import checkpoint, teacher

Small = Callable[..., DictConfig]

pytestmark = pytest.mark.usefixtures("tiny_network")


def expected(paths: list[Path], cfg: DictConfig, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Training images of a run, and the mean of what networks say about them."""
    samples = build.samples(cfg)
    train = build.datamodule(cfg, samples).split.train
    networks = [trained.load(path, "cpu") for path in paths]
    said = [(each.logits(each.batch(samples.images[train])) / temperature).softmax(dim=1) for each in networks]
    return train, torch.stack(said).mean(dim=0).numpy()


def changed(path: Path, to: Path, scale: float = 1.5) -> Path:
    """Copy a finished run with other weights."""
    shutil.copytree(path, to)
    content = checkpoint.load(to)
    content["state_dict"] = {key: scale * value for key, value in content["state_dict"].items()}
    checkpoint.save(content, to / "checkpoints" / "best.ckpt")
    return to


def test_a_run_learns_from_the_mean_of_finished_runs(finished: Path, small: Small, tmp_path: Path) -> None:
    teachers = [changed(finished, tmp_path / "teachers" / name, scale) for name, scale in (("a", 1.0), ("b", 2.0))]
    cfg = small(
        f"recipe.teacher={tmp_path / 'teachers'}",
        "recipe.teacher_temperature=3",
        "seed=2",
        f"cache={tmp_path / 'cache'}",
    )
    samples = build.samples(cfg)
    train, soft = expected(teachers, cfg, 3.0)
    found = teacher.soft_labels(cfg, samples, train, torch.device("cpu"))
    assert found is not None
    assert np.allclose(found[train], soft, atol=1e-5)
    others = np.setdiff1d(np.arange(len(samples)), train)
    assert len(others) == 28
    assert not found[others].any()
    cached = sorted((tmp_path / "cache" / "teachers").iterdir())
    assert len(cached) == 2
    assert np.isnan(np.load(cached[0])[others]).all()
    times = [each.stat().st_mtime_ns for each in cached]
    run_one(cfg)
    assert times == [each.stat().st_mtime_ns for each in cached]  # not computed again
    cached[0].write_bytes(b"damaged")
    again = teacher.soft_labels(cfg, samples, train, torch.device("cpu"))
    assert again is not None
    assert torch.equal(again, found)
    taught = read_json(run_dir(plain(cfg)) / "result.json")
    assert taught["run"] != run_hash(plain(small("seed=2")))
    assert taught["training_flops"] == read_json(finished / "result.json")["training_flops"]  # those of the student


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.4}])
def test_the_loss_has_labels_and_soft_labels_in_their_shares(mixed: dict[str, float]) -> None:
    data = batch()
    soft = torch.rand(12, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(dim=1)
    module = made(teacher_weight=0.3, teacher_temperature=2.0, **mixed)
    labels = module.training_step(data, 5).item()
    module.soft_labels = soft.float()
    loss = module.training_step(data, 5).item()
    images, targets = data.images.double(), soft
    if mixed:
        rng = np.random.default_rng([3, 0, 5, 0])
        share = rng.beta(0.4, 0.4)
        share, partner = max(share, 1 - share), rng.permutation(12)
        images, targets = (share * each + (1 - share) * each[partner] for each in (images, targets))
    at_two = (log_probabilities(module, images) / 2).log_softmax(dim=1)
    taught = 4 * F.kl_div(at_two, targets, reduction="batchmean")
    assert loss == pytest.approx(0.7 * labels + 0.3 * float(taught), rel=1e-5)


def test_the_content_of_teachers_counts_and_not_their_place(finished: Path, small: Small, tmp_path: Path) -> None:
    moved = shutil.copytree(finished, tmp_path / "elsewhere" / "run")
    named = [finished, moved, moved.parent, moved / "checkpoints" / "best.ckpt"]
    assert len({run_hash(plain(small(f"recipe.teacher={path}"))) for path in named}) == 1
    other = changed(finished, tmp_path / "other")
    assert run_hash(plain(small(f"recipe.teacher={other}"))) != run_hash(plain(small(f"recipe.teacher={finished}")))


def test_unsuitable_teachers_are_refused_before_anything_is_written(
    finished: Path, small: Small, tmp_path: Path
) -> None:
    unfinished = changed(finished, tmp_path / "folder" / "unfinished")
    (unfinished / "result.json").unlink()
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.yaml").touch()
    exported = tmp_path / "network.safetensors"
    exported.touch()
    classes = changed(finished, tmp_path / "classes")
    checkpoint.add(classes / "checkpoints" / "best.ckpt", class_names=["happy", "sad"])
    split = changed(finished, tmp_path / "split")
    config = copy.deepcopy(checkpoint.load(split)["fersweep"]["config"])
    config["split"]["name"] = "random"
    checkpoint.add(split / "checkpoints" / "best.ckpt", config=config)
    for path, overrides, message in (
        (tmp_path / "nothing", (), "nothing has no trained network: name a .ckpt file, a run or a folder of runs"),
        (unfinished, (), "unfinished is not finished: finish it, or name another teacher"),
        (unfinished.parent, (), "folder/unfinished is not finished"),
        (begun, (), "begun is not finished"),
        (exported, (), "exported network, which does not say on which images it was trained"),
        (classes, (), "best.ckpt has the classes happy, sad, this run angry, "),
        (finished, ("dataset.source.seed=9",), "was trained on other images than those of dataset=synthetic"),
        (split, (), "was trained with split=random and other settings of the parts than this run's split=official"),
    ):
        with pytest.raises(UserError, match=message) as error:
            run_one(small(f"recipe.teacher={path}", *overrides))
        assert str(error.value).startswith(f"recipe.teacher={path}")
    assert not (tmp_path / "outputs").exists()
