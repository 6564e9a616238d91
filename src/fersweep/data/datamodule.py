"""Batches of uint8 images from the memory-mapped dataset, shared among processes and microbatches."""

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

from fersweep.data import augment, crops
from fersweep.data.samples import Indices, Samples
from fersweep.data.splits import Split


class Batch(NamedTuple):
    """One process's share of a microbatch, which may be empty.

    images uint8 ``(B, C, H, W)``, labels int64 ``(B,)``, indices int64 ``(B,)`` into the samples, and the labels of the
    global batch, int64 ``(G,)``, over which the loss is averaged.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    global_labels: torch.Tensor


class BatchKey(NamedTuple):
    """A sampler's request: samples, the seed of their augmentation, and all samples of the global batch."""

    indices: Indices
    seed: int
    global_indices: Indices


class BatchSampler(Sampler[BatchKey]):
    """Yields `BatchKey`s; order and augmentation seeds are a function of ``seed`` and the epoch alone.

    Every process draws the same batches. Each batch is divided into microbatches, computed one after another, and each
    microbatch is divided among the processes: sizes differ by one at most, and the last shares of a small batch may be
    empty. All processes yield equally often.

    Args:
        indices: the samples of one part of the split.
        batch_size: images per batch, over all processes and microbatches; the last batch may be smaller.
        seed: seed of the order and of augmentation.
        shuffle: draw a new order every epoch; else keep that of ``indices``.
        drop_single: leave out a last batch of one image, from which batch norm cannot take statistics.
        rank: rank of this process.
        world: number of processes.
        microbatches: number per full batch; a smaller batch has fewer, none of them larger (except a single image).

    Raises:
        ValueError: microbatches of a full batch would have a single image.
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
        microbatches: int = 1,
    ) -> None:
        if microbatches > 1 and batch_size < 2 * microbatches:
            raise ValueError(f"a batch of {batch_size} images has no {microbatches} microbatches of two or more")
        self.indices, self.batch_size, self.seed, self.shuffle = indices, batch_size, seed, shuffle
        self.rank, self.world, self.microbatches = rank, world, microbatches
        self.epoch = 0
        single = drop_single and len(indices) % batch_size == 1 and len(indices) > 1
        self.used = len(indices) - 1 if single else len(indices)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this at the start of every epoch, also after resuming."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.used, self.batch_size)
        return full * self.microbatches + (self._microbatches_of(rest) if rest else 0)

    def _microbatches_of(self, count: int) -> int:
        """Return the number of microbatches for ``count`` images: none larger than in a full batch, none of one."""
        return max(1, min(-(-count * self.microbatches // self.batch_size), count // 2))

    def __iter__(self) -> Iterator[BatchKey]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(self.indices) if self.shuffle else self.indices
        for start in range(0, self.used, self.batch_size):
            batch = order[start : min(start + self.batch_size, self.used)]
            seed = int(rng.integers(2**32))
            for number, images in enumerate(np.array_split(batch, self._microbatches_of(len(batch)))):
                place = number * self.world + self.rank
                own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0]) if place else seed
                yield BatchKey(np.array_split(images, self.world)[self.rank], own, batch)


class BatchDataset(Dataset[Batch]):
    """Batches by `BatchKey`; with a transform, of augmented images: random crops of side ``crop``, then transformed."""

    def __init__(self, samples: Samples, transform: Any | None = None, crop: int | None = None) -> None:
        self.samples, self.transform = samples, transform
        self.crop = None if transform is None else crop

    def __getitem__(self, key: BatchKey) -> Batch:
        images = self.samples.images[key.indices]
        if self.crop is not None:
            images = crops.at_random(images, self.crop, key.seed)
        if self.transform is not None:
            images = augment.apply(self.transform, images, key.seed)
        return to_batch(images, self.samples.labels, key)


def to_batch(images: npt.NDArray[np.uint8], labels: Indices, key: BatchKey) -> Batch:
    """Return the batch of ``key`` from its images, uint8 ``(B, H, W)`` or ``(B, H, W, 3)``, and all labels."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
    own, global_labels = (torch.from_numpy(labels[each]) for each in (key.indices, key.global_indices))
    return Batch(tensor, own, torch.from_numpy(key.indices), global_labels)


class FERDataModule(pl.LightningDataModule):
    """Train, validation and test loaders over a split; each process loads its share of every batch.

    Test images are never augmented. Each of them is seen exactly once, by one process.

    Args:
        samples: the dataset.
        split: indices of the train, validation and test images.
        train_transform: an albumentations pipeline for training images, or ``None``.
        val_transform: a pipeline for validation images, whose draws differ from epoch to epoch, or ``None``.
        crop: side of random crops of the images that are transformed, before that; ``None``: whole images.
        batch_size: images per training step, over all processes.
        seed: seed of data order and augmentation.
        workers: loading processes; ``None``: none on a CPU, up to four with a GPU.
        overfit_batches: train and validate on this many random batches of train; 0 is off.
        microbatches: number per training batch: the trainer's ``accumulate_grad_batches``. Validation and test batches
            are no larger than a microbatch.
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
        microbatches: int = 1,
        val_transform: Any | None = None,
        crop: int | None = None,
    ) -> None:
        super().__init__()
        self.samples, self.crop = samples, crop
        self.train_transform, self.val_transform = train_transform, val_transform
        self.batch_size, self.seed, self.workers, self.microbatches = batch_size, seed, workers, microbatches
        if overfit_batches:
            few = np.random.default_rng(seed).permutation(split.train)[: overfit_batches * batch_size]
            split = replace(split, train=few, val=few)
        self.split = split

    def train_class_counts(self) -> Indices:
        """Return the number of training images per class, ``(K,)``."""
        return np.bincount(self.samples.labels[self.split.train], minlength=len(self.samples.class_names))

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is None or self.trainer.accumulate_grad_batches == self.microbatches
        options = {"shuffle": True, "drop_single": True, "microbatches": self.microbatches}
        return self._loader(self.split.train, self.train_transform, self.batch_size, **options)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.split.val, self.val_transform, self.batch_size // self.microbatches)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Return the validation images without augmentation, for calibration."""
        return self._loader(self.split.val, None, self.batch_size // self.microbatches)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.split.test, None, self.batch_size // self.microbatches)

    def _loader(self, indices: Indices, transform: Any | None, size: int, **options: Any) -> DataLoader[Batch]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self.trainer is not None:
            cores //= self.trainer.num_devices  # shared by the processes of this machine
        workers = self.workers if self.workers is not None else (min(4, max(cores - 1, 0)) if on_gpu else 0)
        return DataLoader(
            BatchDataset(self.samples, transform, self.crop),
            sampler=BatchSampler(indices, size, self.seed, rank=rank, world=world, **options),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )
