"""The input pipeline, from the memory map to a batch, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.measure import Figure, Part, compare
from benchmarks.settings import Settings, loaders
from fersweep import build
from fersweep.data import augment
from fersweep.data.datamodule import BatchSampler, to_batch

LOADER = "loader, flip_zoom"


def measure(settings: Settings) -> Part:
    """Measure images per second of each step alone and of the loader that does them all, over the training images.

    On a GPU the loader has as many processes as in training; each step is measured in this process.
    """
    workers = loaders(settings.device)
    made = [figure for batch in settings.batches for figure in _of_batch(settings, batch, workers)]
    return Part(made, [f"Images come in batches; the loader has {workers} processes."])


def _of_batch(settings: Settings, batch: int, workers: int) -> list[Figure]:
    own = (f"recipe.batch_size={batch}", f"trainer.workers={workers}")
    cfg = settings.compose(*own)
    samples = build.samples(cfg)
    flip_zoom = build.datamodule(cfg, samples)
    standard = build.datamodule(settings.compose(*own, "augmentation=standard"), samples)
    keys = list(BatchSampler(flip_zoom.split.train, batch, shuffle=True, drop_single=True))
    batches = [(samples.images[key.indices], key) for key in keys]
    first, second = flip_zoom.train_dataloader(), standard.train_dataloader()
    works: dict[str, Callable[[], object]] = {
        "indexing the memory map": lambda: [samples.images[key.indices] for key in keys],
        "flip_zoom": lambda: [augment.apply(flip_zoom.train_transform, images, key.seed) for images, key in batches],
        "standard": lambda: [augment.apply(standard.train_transform, images, key.seed) for images, key in batches],
        "to a tensor batch": lambda: [to_batch(images, samples.labels, key) for images, key in batches],
        LOADER: lambda: _exhaust(first),
        "loader, standard": lambda: _exhaust(second),
    }
    images = sum(len(key.indices) for key in keys)
    candidates = {name: settings.rate(work, images) for name, work in works.items()}
    return compare("images/s", {"batch": batch}, candidates, settings.repeats, to=LOADER)


def _exhaust(loader: Iterable[object]) -> None:
    for _ in loader:
        pass
