"""The configuration's schema.

`Config` gives the types; the files under ``conf/`` give the values (`fersweep.compose`). Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf


@dataclass
class Backbone:
    """A network without its exchangeable parts; ``model`` names the class and its shape, ``family`` its relatives.

    ``attention_position`` is null where a network has no place for one. ``lr`` and ``epochs`` are those the second
    source trained it with, for ``recipe=notebook``.
    """

    name: str = MISSING
    family: str = MISSING
    attention_position: str | None = None
    model: dict[str, Any] = MISSING
    lr: float | None = None
    epochs: int | None = None


@dataclass
class Activation:
    """``module`` is a factory without arguments."""

    name: str = MISSING
    module: dict[str, Any] = MISSING


@dataclass
class Fidelity:
    """Which class stands for each attention and for the norm, and the form of each family of networks.

    ``initialise`` is called with the network after it is built; ``vgg`` and all below it are arguments of the classes
    of these families. A form with a ``_target_`` is a network of its own, in place of ``backbone.model``.
    """

    name: str = MISSING
    attention: dict[str, Any] = MISSING
    norm: dict[str, Any] = MISSING
    initialise: dict[str, Any] | None = None
    dropout: float = MISSING
    vgg: dict[str, Any] = MISSING
    resnet: dict[str, Any] = MISSING
    resnetv2: dict[str, Any] = MISSING
    aer_cnn: dict[str, Any] = field(default_factory=dict)
    msff_cnn: dict[str, Any] = field(default_factory=dict)
    drf_msam: dict[str, Any] = field(default_factory=dict)


@dataclass
class Preprocessing:
    """What is done to every image once, see `fersweep.data.preprocess.Preprocessed`."""

    min_max: bool = False
    equalize: bool = False
    min_variance: float = 0.0


@dataclass
class FaceCrop:
    """How the face that ``dataset.faces`` finds is cut out, see `fersweep.faces.crop.cut`.

    ``weights`` is the ONNX file of yolo5face; faces above ``confidence`` are found, null: the detector's own choice.
    """

    margin: float = 0.0
    align: bool = False
    weights: str | None = None
    confidence: float | None = None


@dataclass
class Dataset:
    """``source`` names the class that reads ``root``; ``batch_size`` is the study's for this dataset.

    ``faces`` names the detector whose most confident face stands for each image, before ``preprocessing``.
    """

    name: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = None
    image_size: int = 48
    channels: int = 1
    download: bool = False
    faces: str = "none"
    face_crop: FaceCrop = field(default_factory=FaceCrop)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    batch_size: int = 64


@dataclass
class Augmentation:
    """``transform(image_size) -> albumentations.Compose`` with its strengths bound."""

    name: str = MISSING
    transform: dict[str, Any] = MISSING


@dataclass
class Recipe:
    """Optimiser, schedule and stopping. ``batch_size`` counts all devices together; epochs are passes over train.

    ``augment_validation`` has validation images augmented as training images are, which the study did;
    ``convolution_l2`` adds that many times the sum of all squared kernels of 2-d convolutions to the loss.
    """

    name: str = MISSING
    max_epochs: int = MISSING
    batch_size: int = MISSING
    optimizer: dict[str, Any] = MISSING
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    class_weights: str = "none"
    ema_decay: float | None = None
    gradient_clip: float | None = None
    early_stopping_patience: int | None = None
    augment_validation: bool = False
    convolution_l2: float = 0.0
    test_crops: int = 1


@dataclass
class Trainer:
    """Where and how fast; of these the precision and the debugging limits are part of a run's identity.

    ``devices`` counts the processes on each of ``num_nodes`` machines, one a device, under ``strategy: ddp``.
    """

    name: str = MISSING
    accelerator: str = "auto"
    strategy: str = "single"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "auto"
    memory_format: str = "channels_last"
    compile: bool = False
    auto_microbatch: bool = False
    workers: Any = "auto"
    progress_bar: bool = True
    profiler: str | None = None
    limit_batches: int | None = None
    overfit_batches: int = 0


@dataclass
class Config:
    """One run."""

    backbone: Backbone = field(default_factory=Backbone)
    attention: dict[str, Any] = MISSING
    activation: Activation = field(default_factory=Activation)
    fidelity: Fidelity = field(default_factory=Fidelity)
    dataset: Dataset = field(default_factory=Dataset)
    split: dict[str, Any] = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    recipe: Recipe = field(default_factory=Recipe)
    trainer: Trainer = field(default_factory=Trainer)
    logger: dict[str, Any] = MISSING
    seed: int = 1
    sweep: str = "runs"
    outputs: str = "outputs"
    cache: str | None = None
    weights: str | None = None
    force: bool = False


GROUPS = (
    "backbone",
    "attention",
    "activation",
    "fidelity",
    "dataset",
    "split",
    "augmentation",
    "recipe",
    "trainer",
    "logger",
)
"""The config groups a run chooses from, in the order of the contract."""

FAMILIES = ("vgg", "resnet", "resnetv2", "aer_cnn", "msff_cnn", "drf_msam")
"""`Backbone.family`: the keys of `Fidelity` that hold the form of one family of networks."""

WITHOUT_ATTENTION = ("aer_cnn", "msff_cnn", "drf_msam")
"""Families that have no place for the attention of the group: theirs, where they have any, is their own."""


def register() -> None:
    """Make the schema known to Hydra under the name ``schema``; calling it again changes nothing."""
    ConfigStore.instance().store(name="schema", node=Config)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts, lists and scalars, in the schema's order."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): plain[key] for key in Config.__dataclass_fields__}


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """``{group: option}`` of a resolved configuration."""
    return {group: str(config[group]["name"]) for group in GROUPS}


KINDS = {"Integer": "whole number", "Float": "number", "Boolean": "true or false"}


def one_line(error: Exception) -> str:
    """Hydra's or OmegaConf's message and its cause in one line, without their advice."""
    texts = [str(error)] + ([str(error.__cause__)] if error.__cause__ else [])
    lines = [line.strip() for text in texts for line in text.splitlines()]
    noise = ("To append", "full_key", "object_type", "reference_type", "Config search path", "provider=")
    sentence = " ".join(line for line in lines if line and not line.startswith(noise))
    return re.sub(
        r"Error merging override (?P<text>\S+) "
        r"Value '(?P<value>.*)' of type '\w+' could not be converted to (?P<kind>\w+)",
        lambda found: f"{found['text']}: {found['value']!r} is no {KINDS.get(found['kind'], found['kind'])}.",
        sentence,
    )
