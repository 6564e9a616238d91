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
    """What one process computes at once: a batch, or its share of one, which may be empty.

    images uint8 ``(B, C, H, W)``, labels int64 ``(B,)``, indices int64 ``(B,)`` into the samples, and ``whole``: the
    labels, int64 ``(G,)``, of the batch all processes share, by which a mean over it is taken.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    whole: torch.Tensor


class BatchKey(NamedTuple):
    """What a sampler asks the dataset for: samples, the seed of their augmentation, samples of the whole batch."""

    indices: Indices
    seed: int
    whole: Indices


class BatchSampler(Sampler[BatchKey]):
    """Yields `BatchKey`s; order and augmentation seeds are a function of ``seed`` and the epoch alone.

    Every process draws the same batches. Each batch is cut into ``parts``, computed one after another, and each part
    is shared among the processes: sizes differ by one at most, and the last shares of a small batch may be empty. All
    processes yield as often.

    Args:
        indices: the part of the dataset to go through.
        batch_size: images a batch, over all processes and parts; the last batch is smaller.
        seed: of the order and of augmentation.
        shuffle: draw a new order every epoch; else that of ``indices`` is kept.
        drop_single: leave out a last batch of one image, whose statistics batch norm could not take.
        rank: of this process, among ``world``.
        world: how many processes share a batch.
        parts: of a full batch; a smaller one has fewer, none of which is larger (but for a single image).

    Raises:
        ValueError: where parts of a full batch would be of a single image.
    """

    def __init__(
        self,
        indices: Indices,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        drop_single: bool = False,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
    ) -> None:
        if parts > 1 and batch_size < 2 * parts:
            raise ValueError(f"{batch_size} images a batch cannot be cut into {parts} parts of two or more")
        self.indices, self.batch_size, self.seed, self.shuffle = indices, batch_size, seed, shuffle
        self.rank, self.world, self.parts = rank, world, parts
        self.epoch = 0
        single = drop_single and len(indices) % batch_size == 1 and len(indices) > 1
        self.used = len(indices) - 1 if single else len(indices)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch, a resumed one too."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.used, self.batch_size)
        return full * self.parts + (self._parts_of(rest) if rest else 0)

    def _parts_of(self, count: int) -> int:
        """Into how many parts a batch of ``count`` images is cut: no larger ones than a full batch, and none of one."""
        return max(1, min(-(-count * self.parts // self.batch_size), count // 2))

    def __iter__(self) -> Iterator[BatchKey]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.indices) if self.shuffle else self.indices
        for start in range(0, self.used, self.batch_size):
            whole = order[start : min(start + self.batch_size, self.used)]
            seed = int(rng.integers(2**32))
            for part, images in enumerate(np.array_split(whole, self._parts_of(len(whole)))):
                place = part * self.world + self.rank
                own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0]) if place else seed
                yield BatchKey(np.array_split(images, self.world)[self.rank], own, whole)


class BatchDataset(Dataset[Batch]):
    """Whole batches by `BatchKey`, augmented where a transform is given."""

    def __init__(self, samples: Samples, transform: Any | None = None) -> None:
        self.samples, self.transform = samples, transform

    def __getitem__(self, key: BatchKey) -> Batch:
        images = self.samples.images[key.indices]
        if self.transform is not None:
            images = augment.apply(self.transform, images, key.seed)
        return to_batch(images, self.samples.labels, key)


def to_batch(images: npt.NDArray[np.uint8], labels: Indices, key: BatchKey) -> Batch:
    """The batch that ``key`` asks for, of its ``images``, uint8 ``(B, H, W)`` or ``(B, H, W, 3)``, and all labels."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    own, whole = (torch.from_numpy(labels[each]) for each in (key.indices, key.whole))
    return Batch(tensor, own, torch.from_numpy(key.indices), whole)


class FERDataModule(pl.LightningDataModule):
    """Train, validation and test loaders over one split of one dataset; of each batch, this process's share.

    Test images are never augmented. Every one is seen exactly once, by one process.

    Args:
        samples: the whole dataset.
        split: which images are train, val and test.
        train_transform: an albumentations pipeline for training images, or ``None``.
        val_transform: one for validation images, whose draws differ from epoch to epoch, or ``None``.
        batch_size: images a training step, over all processes.
        seed: of data order and augmentation.
        workers: loading processes; ``None``: none on a CPU, up to four beside a GPU.
        overfit_batches: train and validate on the first so many batches of train; 0 is off.
        parts: micro-batches a training batch is computed in: the trainer's ``accumulate_grad_batches``. Validation and
            test take no more images at once than training.
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
        parts: int = 1,
        val_transform: Any | None = None,
    ) -> None:
        super().__init__()
        self.samples = samples
        self.train_transform, self.val_transform = train_transform, val_transform
        self.batch_size, self.seed, self.workers, self.parts = batch_size, seed, workers, parts
        if overfit_batches:
            few = np.random.default_rng(seed).permutation(split.train)[: overfit_batches * batch_size]
            split = replace(split, train=few, val=few)
        self.split = split

    def train_class_counts(self) -> Indices:
        """Images of each class in train, ``(K,)``."""
        return np.bincount(self.samples.labels[self.split.train], minlength=len(self.samples.class_names))

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is None or self.trainer.accumulate_grad_batches == self.parts
        options = {"shuffle": True, "drop_single": True, "parts": self.parts}
        return self._loader(self._sampler(self.split.train, self.batch_size, **options), self.train_transform)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._sampler(self.split.val, self.batch_size // self.parts), self.val_transform)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Validation images as they are, to calibrate on."""
        return self._loader(self._sampler(self.split.val, self.batch_size // self.parts), None)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._sampler(self.split.test, self.batch_size // self.parts), None)

    def _sampler(self, indices: Indices, size: int, **options: Any) -> BatchSampler:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        return BatchSampler(indices, size, self.seed, rank=rank, world=world, **options)

    def _loader(self, sampler: BatchSampler, transform: Any | None) -> DataLoader[Batch]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self.trainer is not None:
            cores //= self.trainer.num_devices  # the processes of this machine
        workers = self.workers if self.workers is not None else (min(4, max(cores - 1, 0)) if on_gpu else 0)
        return DataLoader(
            BatchDataset(self.samples, transform),
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )
