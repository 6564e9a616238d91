"""Batches out of memory: indices in, whole batches of uint8 images out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fersweep.data import augment
from fersweep.data.samples import Samples
from fersweep.data.splits import Split

Indices = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """One batch: images uint8 ``(B, C, H, W)``, labels int64 ``(B,)``, indices int64 ``(B,)`` into the samples."""

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


class BatchKey(NamedTuple):
    """What a sampler asks the dataset for: which samples, and the seed of their augmentation."""

    indices: Indices
    seed: int


class BatchSampler(Sampler[BatchKey]):
    """Yields `BatchKey`s; order and augmentation seeds are a function of ``seed`` and the epoch alone.

    Args:
        indices: the part of the dataset to go through.
        batch_size: images a batch; the last batch is smaller.
        seed: of the order; ``None`` keeps the order of ``indices``.
        drop_single: leave out a last batch of one image, whose statistics batch norm could not take.
    """

    def __init__(self, indices: Indices, batch_size: int, seed: int | None = None, drop_single: bool = False) -> None:
        self.indices, self.batch_size, self.seed = indices, batch_size, seed
        self.epoch = 0
        single = drop_single and len(indices) % batch_size == 1 and len(indices) > 1
        self.used = len(indices) - 1 if single else len(indices)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch, a resumed one too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.used // self.batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        order, rng = self.indices, np.random.default_rng([0 if self.seed is None else self.seed, self.epoch])
        if self.seed is not None:
            order = rng.permutation(order)
        for start in range(0, self.used, self.batch_size):
            stop = min(start + self.batch_size, self.used)
            yield BatchKey(order[start:stop], int(rng.integers(2**32)))


class BatchDataset(Dataset[Batch]):
    """Whole batches by `BatchKey`, augmented where a transform is given."""

    def __init__(self, samples: Samples, transform: Any | None = None) -> None:
        self.samples, self.transform = samples, transform

    def __getitem__(self, key: BatchKey) -> Batch:
        images = self.samples.images[key.indices]
        if self.transform is not None:
            images = augment.apply(self.transform, images, key.seed)
        tensor = torch.from_numpy(np.ascontiguousarray(images))
        tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
        return Batch(tensor, torch.from_numpy(self.samples.labels[key.indices]), torch.from_numpy(key.indices))


class FERDataModule(pl.LightningDataModule):
    """Train, validation and test loaders over one split of one dataset.

    Only training images are augmented. Every test image is seen exactly once.

    Args:
        samples: the whole dataset.
        split: which images are train, val and test.
        train_transform: an albumentations pipeline for training images, or ``None``.
        batch_size: images a training step.
        seed: of data order and augmentation.
        workers: loading processes; ``None``: none on a CPU, up to four beside a GPU.
        overfit_batches: train and validate on the first so many batches of train; 0 is off.
    """

    def __init__(
        self,
        samples: Samples,
        split: Split,
        train_transform: Any | None,
        batch_size: int,
        seed: int,
        workers: int | None = None,
        overfit_batches: int = 0,
    ) -> None:
        super().__init__()
        self.samples = samples
        self.train_transform = train_transform
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        if overfit_batches:
            few = np.random.default_rng(seed).permutation(split.train)[: overfit_batches * batch_size]
            split = replace(split, train=few, val=few)
        self.split = split

    def train_class_counts(self) -> Indices:
        """Images of each class in train, ``(K,)``."""
        return np.bincount(self.samples.labels[self.split.train], minlength=len(self.samples.class_names))

    def train_dataloader(self) -> DataLoader[Batch]:
        sampler = BatchSampler(self.split.train, self.batch_size, self.seed, drop_single=True)
        return self._loader(sampler, self.train_transform)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(BatchSampler(self.split.val, self.batch_size), None)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(BatchSampler(self.split.test, self.batch_size), None)

    def _loader(self, sampler: BatchSampler, transform: Any | None) -> DataLoader[Batch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = self.workers if self.workers is not None else (min(4, max(cores - 1, 0)) if on_gpu else 0)
        return DataLoader(
            BatchDataset(self.samples, transform),
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )
