"""A trained network, ready to be asked: what predicting, explaining and exporting have in common."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from fersweep import build
from fersweep.config import plugins
from fersweep.config.options import option_file, options
from fersweep.config.schema import Config, one_line, title, title_of, to_dict
from fersweep.data.preprocess import changed
from fersweep.errors import UserError
from fersweep.faces import Pixels
from fersweep.faces.crop import PICTURE, Crop
from fersweep.faces.device import choose_device
from fersweep.report.statistics import wilson
from fersweep.runs.collect import result_of
from fersweep.training import checkpoint

BATCH, BATCH_PIXELS = 256, 600_000
"""Most images, and most pixels of all of them, that a network is given at once."""


@dataclass(frozen=True)
class Trained:
    """The network of a checkpoint.

    Attributes:
        path: the checkpoint.
        network: in evaluation mode, float32; images ``(B, C, H, W)`` in [0, 1] to logits ``(B, K)``.
        cfg: the resolved configuration it was trained with.
        class_names: ``K`` names.
        temperature: logits are divided by it before the softmax; 1 where the checkpoint has none.
        device: where it computes.
        framing: what the images of its dataset showed as they came, see `fersweep.build.framing`.
        tested: ``test/accuracy``, ``test/n`` and ``majority_baseline`` of its test; empty where nothing is known.
    """

    path: Path
    network: nn.Module
    cfg: DictConfig
    class_names: tuple[str, ...]
    temperature: float
    device: torch.device
    framing: str = PICTURE
    tested: Mapping[str, float] = field(default_factory=dict)

    @property
    def crop(self) -> Crop:
        """How faces became its training images."""
        return Crop.of(self.cfg.dataset.face_crop)

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return int(self.cfg.dataset.image_size)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.cfg.dataset.channels)

    @property
    def title(self) -> str:
        """Network, attention where it takes one, activation and dataset in words."""
        config = to_dict(self.cfg)
        return f"{title(config)}, {title_of(config, 'dataset')}"

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a user of the network should know first, a sentence each; none where nothing is wrong with it."""
        said = []
        if not self.cfg.dataset.of_people:
            said.append("This network was trained on drawn faces: its answers on photos of people mean little.")
        if set(checkpoint.TESTED) <= set(self.tested):
            accuracy, n, majority = (self.tested[key] for key in checkpoint.TESTED)
            if wilson(round(accuracy * n), int(n))[0] <= majority:
                said.append(
                    "On its test part this network is not measurably better than always answering the commonest class: "
                    f"accuracy {100 * accuracy:.1f} %, commonest class {100 * majority:.1f} %, n = {n:,.0f}."
                )
        return tuple(said)

    def prepare(self, faces: Sequence[Pixels]) -> Tensor:
        """Faces of any size, grey or RGB, as the network was trained on them: uint8 ``(B, C, H, W)``."""
        made = [self.crop.image(face, self.image_size, self.channels) for face in faces]
        shape = (0, self.image_size, self.image_size) + ((3,) if self.channels == 3 else ())
        return self.preprocessed(np.stack(made) if made else np.empty(shape, np.uint8))

    def preprocessed(self, made: npt.NDArray[np.uint8]) -> Tensor:
        """Images of the network's size and channels, ``(B, H, W)`` or ``(B, H, W, 3)``, as a batch ``(B, C, H, W)``."""
        steps = self.cfg.dataset.preprocessing
        if steps.min_max or steps.equalize:
            made = np.array([changed(each, steps.min_max, steps.equalize) for each in made], np.uint8).reshape(
                made.shape
            )
        return as_batch(made)

    @torch.inference_mode()
    def logits(self, batch: Tensor) -> Tensor:
        """Logits ``(B, K)``, float32 on the CPU, of a uint8 batch ``(B, C, H, W)`` of any size."""
        parts = [self.network(part.to(self.device).float().div(255)).float().cpu() for part in in_parts(batch)]
        return torch.cat(parts) if len(batch) else torch.empty(0, len(self.class_names))

    def probabilities(self, batch: Tensor) -> Tensor:
        """Calibrated probabilities ``(B, K)`` of a uint8 batch ``(B, C, H, W)``."""
        return (self.logits(batch) / self.temperature).softmax(dim=1)


def in_parts(batch: Tensor, most: int = BATCH) -> tuple[Tensor, ...]:
    """Cut a batch ``(B, C, H, W)`` into parts of ``most`` images and `BATCH_PIXELS` pixels, but at least one image."""
    return batch.split(max(1, min(most, BATCH_PIXELS // (batch.shape[-1] * batch.shape[-2]))))


def as_batch(images: npt.NDArray[np.uint8]) -> Tensor:
    """``(N, H, W)`` or ``(N, H, W, 3)`` to a uint8 tensor ``(N, C, H, W)``."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    return batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2).contiguous()


def load(path: Path, device: str = "auto") -> Trained:
    """Rebuild the network of a checkpoint from the configuration stored in it.

    Args:
        path: a ``.ckpt`` file, or the directory of a run (its ``checkpoints/best.ckpt``).
        device: ``cpu``, ``gpu``, or ``auto``: a GPU where there is one.

    Raises:
        UserError: there is no such checkpoint, it is damaged or of another version, or no such device.
    """
    place = choose_device(device)
    file = checkpoint.find(path)
    content = checkpoint.load(file)
    about = content["fersweep"]
    names = tuple(about["class_names"])
    cfg, network = rebuilt(about["config"], len(names), file)
    checkpoint.put(network, content, file)
    temperature = float(about.get("temperature", 1.0))
    return Trained(
        file, network.to(place), cfg, names, temperature, place, framing_of(about, cfg), _tested(about, file)
    )


def framing_of(about: Mapping[str, Any], cfg: DictConfig) -> str:
    """What the images of the dataset showed; of files of earlier versions what the dataset's own says today."""
    known = about.get("framing") or cfg.dataset.framing
    if known is None and cfg.dataset.name in options("dataset"):
        known = option_file("dataset", cfg.dataset.name).get("framing")
    return str(known or PICTURE)


def _tested(about: Mapping[str, Any], file: Path) -> Mapping[str, float]:
    """What the test said; of checkpoints of earlier versions what stands in the ``result.json`` of their run."""
    tested: Any = about.get("tested")
    if tested is None and file.name == "best.ckpt":
        with contextlib.suppress(UserError):  # whoever needs the result reads it, and says what is wrong with it
            result = result_of(file.parent.parent) or {}
            told = {**result.get("metrics", {}), "majority_baseline": result.get("majority_baseline")}
            tested = {key: told[key] for key in checkpoint.TESTED if isinstance(told.get(key), int | float)}
    return tested or {}


def rebuilt(config: Mapping[str, Any], classes: int, path: Path) -> tuple[DictConfig, nn.Module]:
    """The configuration stored in ``path`` and a network built from it, in evaluation mode, its weights still random.

    Raises:
        UserError: the configuration has settings that this version does not have.
    """
    if "${" in json.dumps(config, default=str):
        raise UserError(f"{path} holds a configuration that is not resolved: it was not written by fersweep.")
    if missing := [name for name in config.get("plugins") or [] if name not in plugins.used()]:
        raise UserError(
            f"{path} needs the plugin {missing[0]}, which is code: if you trust it, name it with --plugin {missing[0]} "
            f"(in Python: plugins=[{missing[0]!r}])."
        )
    try:
        cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
        assert isinstance(cfg, DictConfig)
        with torch.random.fork_rng(devices=[]):  # whoever loads a network keeps its own random numbers
            network = build.model(cfg, classes)
    except (OmegaConfBaseException, KeyError, UserError) as error:
        raise UserError(
            f"{path} was written by another version of fersweep, whose settings differ ({one_line(error)}): "
            "use that version."
        ) from error
    return cfg, network.train(False).requires_grad_(False)


def load_all(path: Path, device: str = "auto") -> list[Trained]:
    """The network of a checkpoint or run; of a folder of runs, all that are there, sorted by name.

    Raises:
        UserError: as `load`; where there is none; where their classes differ.
    """
    path = path.expanduser()
    runs = [] if (path / "checkpoints").is_dir() or not path.is_dir() else finished(path)
    trained = [load(each, device) for each in runs or [path]]
    for each in trained[1:]:
        if each.class_names != trained[0].class_names:
            raise UserError(
                f"{each.path} knows the classes {', '.join(each.class_names)}, {trained[0].path} "
                f"{', '.join(trained[0].class_names)}: an ensemble needs networks of the same classes."
            )
    return trained


def finished(folder: Path) -> list[Path]:
    """Directories of runs below ``folder`` that have a best checkpoint and a result, sorted by name."""
    found = sorted(folder.glob("**/checkpoints/best.ckpt"))
    return [file.parent.parent for file in found if (file.parent.parent / "result.json").is_file()]
