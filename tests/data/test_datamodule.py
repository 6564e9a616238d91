"""Batches: order and augmentation as functions of seed and epoch; microbatches and shares of processes."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.data import augment
from fersweep.data.datamodule import Batch, BatchDataset, BatchKey, BatchSampler, FERDataModule
from fersweep.data.samples import CLASSES, Samples
from fersweep.data.splits import Split


def samples(count: int = 60, channels: int = 1) -> Samples:
    shape = (count, 32, 32) + ((3,) if channels == 3 else ())
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images.setflags(write=False)  # as a memory map is
    return Samples(images, np.arange(count) % 7, np.array([f"{index:04d}" for index in range(count)]), CLASSES)


def module(workers: int | None = 0, seed: int = 1, channels: int = 1, **options: Any) -> FERDataModule:
    split = Split(np.arange(0, 37), np.arange(37, 48), np.arange(48, 60))
    transform = augment.flip_zoom(32)
    options = {"batch_size": 8, "train_transform": transform, "seed": seed, "workers": workers, **options}
    return FERDataModule(samples(channels=channels), split, **options)


def epoch(loader: DataLoader[Batch], number: int) -> list[Batch]:
    assert isinstance(loader.sampler, BatchSampler)
    loader.sampler.set_epoch(number)
    return list(loader)


def seen(batches: list[Batch]) -> npt.NDArray[np.int64]:
    return torch.cat([batch.indices for batch in batches]).numpy()


def shares(world: int, microbatches: int = 1, count: int = 37, size: int = 8, **options: Any) -> list[list[BatchKey]]:
    """Keys of epoch 2 from each of ``world`` samplers."""
    made = []
    for rank in range(world):
        options |= {"rank": rank, "world": world, "microbatches": microbatches}
        sampler = BatchSampler(np.arange(count) + 100, size, **options)
        sampler.set_epoch(2)
        made.append(list(sampler))
        assert len(made[-1]) == len(sampler)
    return made


def same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))


def test_order_and_augmentation_depend_on_seed_and_epoch_alone() -> None:
    loader = module().train_dataloader()
    first, second = epoch(loader, 0), epoch(loader, 1)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the global generator must not matter
    assert same(epoch(loader, 0), first)  # whatever came before
    assert same(epoch(module().train_dataloader(), 1), second)
    assert not np.array_equal(seen(first), seen(second))
    assert not np.array_equal(seen(first), seen(epoch(module(seed=2).train_dataloader(), 0)))


def test_the_same_image_is_augmented_anew_in_every_epoch() -> None:
    loader = module().train_dataloader()
    batches = [epoch(loader, number) for number in (0, 1)]
    first, second = (torch.cat([batch.images for batch in each])[seen(each).argsort()] for each in batches)
    different = [index for index in range(37) if not torch.equal(first[index], second[index])]
    assert len(different) > 30


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_worker_processes_change_nothing() -> None:
    alone, helped = module(workers=0).train_dataloader(), module(workers=2).train_dataloader()
    for number in (0, 1):
        assert same(epoch(alone, number), epoch(helped, number))


def test_only_training_images_are_augmented_and_every_other_is_seen_once() -> None:
    data = module()
    for loader, part in ((data.val_dataloader(), data.split.val), (data.test_dataloader(), data.split.test)):
        batches = epoch(loader, 3)
        assert np.array_equal(seen(batches), part)
        assert [len(batch.labels) for batch in batches] == [8, len(part) - 8]
        for batch in batches:
            assert np.array_equal(batch.images[:, 0].numpy(), data.samples.images[batch.indices])
            assert np.array_equal(batch.labels.numpy(), data.samples.labels[batch.indices])
    batches = epoch(data.train_dataloader(), 0)
    assert sorted(seen(batches)) == list(data.split.train)
    plain = [np.array_equal(batch.images[:, 0].numpy(), data.samples.images[batch.indices]) for batch in batches]
    assert not any(plain)
    assert all(np.array_equal(batch.labels.numpy(), data.samples.labels[batch.indices]) for batch in batches)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_uint8_with_channels_first(channels: int) -> None:
    data = module(channels=channels, train_transform=None)
    batch = epoch(data.train_dataloader(), 0)[0]
    assert (batch.images.shape, batch.images.dtype) == ((8, channels, 32, 32), torch.uint8)
    assert (batch.labels.dtype, batch.indices.dtype) == (torch.int64, torch.int64)
    image = data.samples.images[batch.indices[0]]
    assert np.array_equal(batch.images[0].numpy(), image[None] if channels == 1 else image.transpose(2, 0, 1))


def test_a_last_batch_of_one_image_is_left_out_of_training_only() -> None:
    data = module(batch_size=9)  # 37 = 4 · 9 + 1
    loader = data.train_dataloader()
    batches = epoch(loader, 0)
    assert [len(batch.labels) for batch in batches] == [9, 9, 9, 9]
    assert len(loader) == 4
    left_out = {next(iter(set(data.split.train) - set(seen(epoch(loader, number))))) for number in range(5)}
    assert len(left_out) > 1  # another image every epoch
    assert [len(batch.labels) for batch in epoch(module(batch_size=10).val_dataloader(), 0)] == [10, 1]
    assert [len(batch.labels) for batch in epoch(module(batch_size=8).train_dataloader(), 0)] == [8, 8, 8, 8, 5]


def test_overfit_batches_trains_and_validates_on_the_same_few_images() -> None:
    data = module(overfit_batches=2, train_transform=None)
    first, second = (seen(epoch(data.train_dataloader(), number)) for number in (0, 1))
    assert len(first) == 16
    assert set(first) == set(second) == set(seen(epoch(data.val_dataloader(), 0)))
    assert set(first) <= set(range(37))
    assert np.array_equal(seen(epoch(data.test_dataloader(), 0)), np.arange(48, 60))
    assert set(seen(epoch(module(overfit_batches=2, seed=2).train_dataloader(), 0))) != set(first)


def test_train_class_counts() -> None:
    assert list(module().train_class_counts()) == [6, 6, 5, 5, 5, 5, 5]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_a_cpu_needs_no_workers_unless_asked() -> None:
    assert module(workers=None).train_dataloader().num_workers == 0
    assert module(workers=2).train_dataloader().num_workers == 2


def test_processes_share_every_batch_of_one_order() -> None:
    ((*alone,),) = shares(1, seed=5, shuffle=True)
    for world in (2, 3, 8):
        ranks = shares(world, seed=5, shuffle=True)
        for batch, *keys in zip(alone, *ranks, strict=True):
            assert np.array_equal(np.concatenate([key.indices for key in keys]), batch.indices)
            assert all(np.array_equal(key.global_indices, batch.indices) for key in keys)
            sizes = [len(key.indices) for key in keys]
            assert max(sizes) - min(sizes) <= 1
    assert [len(key.indices) for key in shares(8, seed=5, shuffle=True)[7]] == [
        1,
        1,
        1,
        1,
        0,
    ]  # the last batch has five images
    assert all(np.array_equal(key.global_indices, key.indices) for key in alone)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("size", "parts"), [(8, 2), (8, 4), (9, 4), (12, 3)])
@pytest.mark.parametrize("count", [24, 36, 38, 39, 41])
def test_parts_of_a_batch_cover_it_and_none_is_of_one_image(world: int, size: int, parts: int, count: int) -> None:
    ranks = shares(world, parts, count, size, seed=5, shuffle=True, drop_single=True)
    ((*batches,),) = shares(1, 1, count, size, seed=5, shuffle=True, drop_single=True)
    at = 0
    for batch in batches:
        found = [part for part in zip(*ranks, strict=True) if np.array_equal(part[0].global_indices, batch.indices)]
        assert found == list(zip(*ranks, strict=True))[at : at + len(found)]  # one after another
        at += len(found)
        images = [np.concatenate([key.indices for key in part]) for part in found]
        assert np.array_equal(np.concatenate(images), batch.indices)
        assert all(2 <= len(each) <= max(3, -(-size // parts)) for each in images)
        assert len(found) == parts if len(batch.indices) == size else len(found) <= parts
    assert at == len(ranks[0])


def test_parts_of_a_single_image_are_refused() -> None:
    assert [len(key.indices) for key in shares(1, 4)[0][:4]] == [2, 2, 2, 2]
    with pytest.raises(ValueError, match="a batch of 8 images has no 5 microbatches"):
        BatchSampler(np.arange(37), 8, microbatches=5)


def test_augmentation_seeds_differ_between_processes_and_parts_and_repeat() -> None:
    keys = [key for rank in shares(3, 2, seed=5, shuffle=True) for key in rank]
    seeds = [key.seed for key in keys]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [key.seed for rank in shares(3, 2, seed=5, shuffle=True) for key in rank]
    assert set(seeds).isdisjoint(key.seed for rank in shares(3, 2, seed=6, shuffle=True) for key in rank)
    assert (
        shares(1, seed=5, shuffle=True)[0][1].seed == shares(2, seed=5, shuffle=True)[0][1].seed
    )  # as where there is one process


def test_loaders_share_among_the_trainers_processes() -> None:
    """No image of validation and test is lost or duplicated; all processes have the same number of batches."""
    made = []
    for rank in range(3):
        data = module(train_transform=None, microbatches=2)
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=3,
            num_devices=3,
            accumulate_grad_batches=2,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        made.append(
            [epoch(each, 0) for each in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())]
        )
    for part, count, wanted in ((0, 10, range(37)), (1, 3, range(37, 48)), (2, 3, range(48, 60))):
        batches = [each[part] for each in made]
        assert [len(each) for each in batches] == [count] * 3
        assert sorted(index for each in batches for index in seen(each)) == list(wanted)
    labels = samples().labels
    first = [each[0][0] for each in made]
    assert [len(batch.labels) for batch in first] == [2, 1, 1]
    assert all(torch.equal(batch.global_labels, first[0].global_labels) for batch in first)
    parts = [torch.cat([each[0][part].indices for each in made]) for part in (0, 1)]
    assert np.array_equal(first[0].global_labels, labels[torch.cat(parts)])


def test_a_share_without_images_is_a_batch() -> None:
    transform = augment.flip_zoom(32)
    none = np.zeros(0, dtype=np.int64)
    for channels in (1, 3):
        batch = BatchDataset(samples(channels=channels), transform)[BatchKey(none, 5, np.arange(2))]
        assert batch.images.shape == (0, channels, 32, 32)
        assert (batch.labels.shape, batch.indices.shape, batch.global_labels.tolist()) == ((0,), (0,), [0, 1])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.parametrize(("devices", "workers"), [(1, 4), (2, 3), (4, 1), (8, 0)])
def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch, devices: int, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    data = module(workers=None)
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=0,
        world_size=devices,
        num_devices=devices,
        accumulate_grad_batches=1,
        strategy=SimpleNamespace(root_device=torch.device("cuda")),
    )
    assert data.train_dataloader().num_workers == workers


def test_validation_is_augmented_where_asked_anew_every_epoch_and_test_never() -> None:
    plain, moved = module(), module(val_transform=augment.flip_zoom(32))
    first, again, later = (epoch(moved.val_dataloader(), number) for number in (0, 0, 1))
    for each in (first, again, later):  # the order stays
        assert (seen(each) == np.arange(37, 48)).all()
    images = [torch.cat([batch.images for batch in each]) for each in (first, again, later)]
    untouched = torch.cat([batch.images for batch in epoch(plain.val_dataloader(), 0)])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    assert not torch.equal(images[0], untouched)
    tests = [torch.cat([batch.images for batch in epoch(each.test_dataloader(), 0)]) for each in (plain, moved)]
    assert torch.equal(*tests)
    other = torch.cat(
        [b.images for b in epoch(module(val_transform=augment.flip_zoom(32), seed=2).val_dataloader(), 0)]
    )
    assert not torch.equal(images[0], other)


def test_the_study_recipe_augments_validation() -> None:
    study, quick = (
        build.datamodule(cfg, build.samples(cfg))
        for cfg in (compose_config([f"recipe={name}", "dataset.source.size=70"]) for name in ("study", "quick"))
    )
    assert study.val_transform is not None
    assert quick.val_transform is None


def test_training_takes_random_crops_and_the_others_whole_images() -> None:
    data = module(crop=28, train_transform=augment.crop_flip(28, flip=0))
    train, again, later = (torch.cat([each.images for each in epoch(data.train_dataloader(), n)]) for n in (0, 0, 1))
    assert train.shape == (37, 1, 28, 28)
    assert torch.equal(train, again)
    assert not torch.equal(train, later)
    order = seen(epoch(data.train_dataloader(), 0))
    for image, index in zip(train.numpy()[:, 0], order, strict=True):
        whole = np.lib.stride_tricks.sliding_window_view(data.samples.images[index], (28, 28))
        assert (whole == image).all(axis=(2, 3)).any()
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert next(iter(loader)).images.shape[1:] == (1, 32, 32)
    augmented = module(crop=28, val_transform=augment.crop_flip(28)).val_dataloader()
    assert next(iter(augmented)).images.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize(("augmentation", "crop"), [("crop_flip", 44), ("standard", 44), ("none", None)])
def test_without_augmentation_crops_are_not_random(augmentation: str, crop: int | None) -> None:
    cfg = compose_config(["recipe=scratch", f"augmentation={augmentation}", "dataset.source.size=70"])
    assert build.datamodule(cfg, build.samples(cfg)).crop == crop
