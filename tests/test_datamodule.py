"""Batches: their order and augmentation are a function of seed and epoch; every image is seen as often as it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

from fersweep.data import augment
from fersweep.data.datamodule import Batch, BatchSampler, FERDataModule
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
