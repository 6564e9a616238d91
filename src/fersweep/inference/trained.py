"""Trained networks loaded from checkpoints or exported weights, for prediction, explanation and export."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fersweep.config.options import option_file, options
from fersweep.config.schema import input_size, title, title_of, to_dict
from fersweep.data import crops
from fersweep.data.preprocess import changed
from fersweep.errors import UserError
from fersweep.faces import Pixels
from fersweep.faces.crop import PICTURE, Crop
from fersweep.faces.device import choose_device
from fersweep.files import given
from fersweep.inference.rebuild import rebuild
from fersweep.report.statistics import wilson
from fersweep.runs.collect import result_of
from fersweep.training import checkpoint, weights_file

BATCH, BATCH_PIXELS = 256, 600_000
"""Largest number of images, and of their pixels, in one forward pass."""


@dataclass(frozen=True)
class Trained:
    """The network of a checkpoint.

    Attributes:
        path: the checkpoint.
        network: in evaluation mode, float32; maps images ``(B, C, S, S)`` in [0, 1] to logits ``(B, K)``, S being
            ``input_size``.
        cfg: the resolved configuration of its training.
        class_names: ``K`` names.
        temperature: divisor of the logits before the softmax; 1 if the checkpoint has none.
        device: of the network.
        framing: content of the dataset's images before any cropping, see `fersweep.build.framing`.
        tested: ``test/accuracy``, ``test/n`` and ``majority_baseline``; empty if unknown.
        run: hash of the run that an exported file names; ``None`` for a checkpoint.
    """

    path: Path
    network: nn.Module
    cfg: DictConfig
    class_names: tuple[str, ...]
    temperature: float
    device: torch.device
    framing: str = PICTURE
    tested: Mapping[str, float] = field(default_factory=dict)
    run: str | None = None

    @property
    def crop(self) -> Crop:
        """The steps from a face to a training image."""
        return Crop.of(self.cfg.dataset.face_crop)

    @property
    def image_size(self) -> int:
        """Height and width of the dataset's images in pixels."""
        return int(self.cfg.dataset.image_size)

    @property
    def input_size(self) -> int:
        """Height and width in pixels of what the network takes: the image, or its centre crop (``recipe.crop``)."""
        return input_size(self.cfg)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.cfg.dataset.channels)

    @property
    def title(self) -> str:
        """Network, attention, activation and dataset in words, also of a checkpoint from before options had titles."""
        config = to_dict(self.cfg)
        for group in ("backbone", "attention", "activation", "dataset"):
            if not config[group].get("title") and (name := config[group]["name"]) in options(group):
                config[group]["title"] = option_file(group, name).get("title")
        return f"{title(config)}, {title_of(config, 'dataset')}"

    @property
    def caveats(self) -> tuple[str, ...]:
        """Warnings to users of the network, one sentence each."""
        caveats = []
        if not self.cfg.dataset.of_people:
            caveats.append("This network was trained on drawn faces: its predictions on photos of people mean little.")
        if set(checkpoint.TESTED) <= set(self.tested):
            accuracy, n, majority = (self.tested[key] for key in checkpoint.TESTED)
            if wilson(round(accuracy * n), int(n))[0] <= majority:
                caveats.append(
                    "On its test set this network is not measurably better than always predicting the most frequent "
                    f"class: accuracy {100 * accuracy:.1f} %, most frequent class {100 * majority:.1f} %, n = {n:,.0f}."
                )
        return tuple(caveats)

    def prepare(self, faces: Sequence[Pixels]) -> Tensor:
        """Turn faces of any size, grey or RGB, into a batch for the network: uint8 ``(B, C, S, S)``."""
        if not faces:
            return torch.empty(0, self.channels, self.input_size, self.input_size, dtype=torch.uint8)
        return self.preprocess(np.stack([self.crop.image(each, self.image_size, self.channels) for each in faces]))

    def preprocess(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Preprocess images ``(B, H, W)`` or ``(B, H, W, 3)``, B > 0, into a batch: uint8 ``(B, C, S, S)``."""
        steps = self.cfg.dataset.preprocessing
        if steps.min_max or steps.equalize:
            images = np.stack([changed(each, steps.min_max, steps.equalize) for each in images])
        return self.batch(images)

    def batch(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """Turn preprocessed images ``(B, H, W)`` or ``(B, H, W, 3)`` into a batch: uint8 ``(B, C, S, S)``."""
        return crops.centre(as_batch(images), self.input_size)

    def uncropped(self, saliency: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Surround a map ``(S, S)`` of what the network takes by zeros, to that of the whole image ``(H, W)``."""
        before = (self.image_size - self.input_size) // 2
        return np.pad(saliency, (before, self.image_size - self.input_size - before))

    @torch.inference_mode()
    def logits(self, batch: Tensor) -> Tensor:
        """Return the logits ``(B, K)``, float32 on the CPU, of a uint8 batch ``(B, C, S, S)`` of any length."""
        logits = [self.network(each.to(self.device).float().div(255)).float().cpu() for each in split_batch(batch)]
        return torch.cat(logits) if len(batch) else torch.empty(0, len(self.class_names))

    def probabilities(self, batch: Tensor) -> Tensor:
        """Return the calibrated probabilities ``(B, K)`` of a uint8 batch ``(B, C, S, S)``."""
        return (self.logits(batch) / self.temperature).softmax(dim=1)


def split_batch(batch: Tensor, limit: int = BATCH) -> tuple[Tensor, ...]:
    """Split a batch ``(B, C, H, W)`` into chunks of up to ``limit`` images and `BATCH_PIXELS` pixels."""
    return batch.split(max(1, min(limit, BATCH_PIXELS // (batch.shape[-1] * batch.shape[-2]))))


def as_batch(images: npt.NDArray[np.uint8]) -> Tensor:
    """Turn ``(N, H, W)`` or ``(N, H, W, 3)`` into a uint8 tensor ``(N, C, H, W)``."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    return batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2).contiguous()


def load(path: Path, device: str = "auto") -> Trained:
    """Rebuild the network of a checkpoint from the configuration stored in it.

    Args:
        path: a ``.ckpt`` file, a ``.safetensors`` file of ``fersweep export``, or the directory of a run (its
            ``checkpoints/best.ckpt``).
        device: ``cpu``, ``gpu``, or ``auto``: a GPU if available.

    Raises:
        UserError: the file is missing, damaged or of another version, or the device is not available.
    """
    place = choose_device(device)
    file = checkpoint.find(path, "a run's directory, a .ckpt or a .safetensors file")
    about: Mapping[str, Any]
    run = None
    if file.suffix == weights_file.SUFFIX:
        weights, about = weights_file.read(file)
        tested, run = about["tested"], about["run"]
    else:
        content = checkpoint.load(file)
        weights, about = checkpoint.weights_of(content), content["fersweep"]
        tested = _tested(about, file)
    names = tuple(about["class_names"])
    cfg, network = rebuild(about["config"], len(names), file, weights)
    network.load_state_dict(weights)
    temperature = float(about.get("temperature", 1.0))
    framing = framing_of(about, cfg)
    return Trained(file, network.to(place), cfg, names, temperature, place, framing, tested, run)


def framing_of(about: Mapping[str, Any], cfg: DictConfig) -> str:
    """Return the framing of the training images; files of earlier versions lack it, so use the dataset's option."""
    known = about.get("framing") or cfg.dataset.framing
    if known is None and cfg.dataset.name in options("dataset"):
        known = option_file("dataset", cfg.dataset.name).get("framing")
    return str(known or PICTURE)


def _tested(about: Mapping[str, Any], file: Path) -> Mapping[str, float]:
    """Return the test results; for checkpoints of earlier versions, those in the ``result.json`` of the run."""
    tested: Any = about.get("tested")
    if tested is None and file.name == "best.ckpt":
        with contextlib.suppress(UserError):  # reported by whatever needs the result
            result = result_of(file.parent.parent) or {"metrics": {}}
            known = {"majority_baseline": result.get("majority_baseline"), **result["metrics"]}
            tested = {key: known[key] for key in checkpoint.TESTED if isinstance(known.get(key), int | float)}
    return tested or {}


def load_all(path: Path, device: str = "auto") -> list[Trained]:
    """Load a checkpoint or run, or all finished runs of a folder, sorted by name.

    Raises:
        UserError: as `load`; the folder has no finished run, or the classes of its runs differ.
    """
    path = given(path)
    runs = [] if (path / "checkpoints").is_dir() or not path.is_dir() else _finished(path)
    trained = [load(each, device) for each in runs or [path]]
    for each in trained[1:]:
        if each.class_names != trained[0].class_names:
            raise UserError(
                f"{each.path} has the classes {', '.join(each.class_names)}, {trained[0].path} "
                f"{', '.join(trained[0].class_names)}: an ensemble needs networks with the same classes."
            )
    return trained


def _finished(folder: Path) -> list[Path]:
    """Return the directories below ``folder`` with a best checkpoint and a result, sorted by name."""
    found = [file.parent.parent for file in sorted(folder.glob("**/checkpoints/best.ckpt"))]
    return [run for run in found if (run / "result.json").is_file()]
