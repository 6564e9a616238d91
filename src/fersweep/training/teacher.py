"""Distillation: soft labels of the training images by networks that are trained already (Hinton et al. 2015).

The teachers see the centre of each image without augmentation. Their logits are computed once and cached.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fersweep import build
from fersweep.config.schema import Config, to_dict
from fersweep.data import crops
from fersweep.data.samples import Indices, Samples
from fersweep.errors import UserError
from fersweep.files import atomic_path, writing
from fersweep.models.common import refuse_not_finite
from fersweep.models.fast import speed_up
from fersweep.runs import teachers
from fersweep.training import checkpoint
from fersweep.training.distributed import barrier, rank
from fersweep.training.results import data_digest

Logits = npt.NDArray[np.float32]

BATCH = 256
"""Images in one forward pass."""

log = logging.getLogger("fersweep")


def check(cfg: DictConfig, samples: Samples) -> None:
    """Raise UserError for a teacher of other classes, data or parts than those of this run."""
    if cfg.recipe.teacher is not None:
        digest = data_digest(samples)
        for path in teachers.find(Path(cfg.recipe.teacher)):
            _configuration(cfg, samples, digest, path)


def soft_labels(cfg: DictConfig, samples: Samples, train: Indices, device: torch.device) -> Tensor | None:
    """Return the teachers' mean probabilities at ``recipe.teacher_temperature``, ``None`` without a teacher.

    Args:
        cfg: of the run that learns.
        samples: the dataset.
        train: the training images; no others are shown to a teacher.
        device: that the teachers run on.

    Returns:
        Float32 ``(N, K)`` on the CPU, zero for images that are not trained on.

    Raises:
        UserError: as `check`, or the cache cannot be written.
    """
    if cfg.recipe.teacher is None:
        return None
    digest, total = data_digest(samples), np.zeros((len(samples), len(samples.class_names)), np.float32)
    paths = teachers.find(Path(cfg.recipe.teacher))
    for path in paths:
        logits = torch.from_numpy(_logits(cfg, samples, train, device, digest, path)[train])
        total[train] += (logits / cfg.recipe.teacher_temperature).softmax(dim=1).numpy() / len(paths)
    return torch.from_numpy(total)


def _logits(cfg: DictConfig, samples: Samples, train: Indices, device: torch.device, digest: str, path: Path) -> Logits:
    """Return the cached logits ``(N, K)`` of one teacher; rank zero computes them first if they are not there."""
    place = build.cache_dir(cfg) / "teachers" / f"{teachers.digest(path)[:16]}-{digest}.npy"
    try:
        if rank() == 0 and (found := _read(place, samples, train)) is None:
            found = _computed(cfg, samples, train, device, digest, path)
            with writing(place, advice="choose another cache folder with cache=PATH"):
                place.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(place) as temporary:
                    np.save(temporary, found, allow_pickle=False)
    finally:
        barrier()
    if (logits := _read(place, samples, train)) is None:
        raise UserError(f"{place} cannot be read back: remove it, or choose another cache folder with cache=PATH.")
    return logits


def _read(place: Path, samples: Samples, train: Indices) -> Logits | None:
    """Return logits from the cache; ``None`` if they are missing, damaged or of other images."""
    try:
        logits: Logits = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = logits.shape == (len(samples), len(samples.class_names)) and logits.dtype == np.float32
    return logits if fits and bool(np.isfinite(logits[train]).all()) else None


@torch.inference_mode()
def _computed(
    cfg: DictConfig, samples: Samples, train: Indices, device: torch.device, digest: str, path: Path
) -> Logits:
    content, own = checkpoint.load(path), _configuration(cfg, samples, digest, path)
    network = _network(own, content, path, len(samples.class_names)).to(device)
    log.info("teacher %s: %s training images", path, f"{len(train):,}")
    logits = np.full((len(samples), len(samples.class_names)), np.nan, np.float32)
    for part in np.array_split(train, -(-len(train) // BATCH)):
        images = torch.from_numpy(np.ascontiguousarray(samples.images[part]))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        seen = crops.centre(images, own.recipe.crop).to(device).float().div(255)
        logits[part] = network(seen).float().cpu().numpy()
    return logits


def _network(own: DictConfig, content: Mapping[str, Any], path: Path, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # leave the run's random numbers alone
        network = speed_up(build.model(own, classes))
    checkpoint.put(network, checkpoint.weights_of(content), content["fersweep"]["config"], path)
    refuse_not_finite(network.state_dict(), str(path))
    return network.train(False)


def _configuration(cfg: DictConfig, samples: Samples, digest: str, path: Path) -> DictConfig:
    """Return the configuration of a teacher, or raise UserError if this run cannot learn from it."""
    about = checkpoint.load(path)["fersweep"]
    own = OmegaConf.merge(OmegaConf.structured(Config), about["config"])
    assert isinstance(own, DictConfig)
    if problem := next(_problems(cfg, own, about, samples, digest), None):
        raise UserError(f"recipe.teacher={cfg.recipe.teacher}: {path} {problem}; name another teacher.")
    return own


def _problems(
    cfg: DictConfig, own: DictConfig, about: Mapping[str, Any], samples: Samples, digest: str
) -> Iterator[str]:
    names = tuple(about["class_names"])
    if names != samples.class_names:
        yield f"has the classes {', '.join(names)}, this run {', '.join(samples.class_names)}"
    if about["data_digest"] != digest:
        yield f"was trained on other images than those of dataset={cfg.dataset.name} with these settings"
    if _parts(own) != _parts(cfg):
        yield (
            f"was trained with split={own.split.name} and other settings of the parts than this run's "
            f"split={cfg.split.name}, whose test images it may know"
        )


def _parts(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings that divide the images into training, validation and test."""
    config = to_dict(cfg)
    split = {key: value for key, value in config["split"].items() if key != "title"}
    return {"split": split, "twins": config["dataset"]["twins"], "few": config["trainer"]["overfit_batches"]}
