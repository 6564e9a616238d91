"""The configuration's schema.

`Config` gives the types; the files under ``conf/`` give the values (`fersweep.config.compose`). Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf


def aside(default: Any = MISSING) -> Any:
    """A setting that is no part of a run's identity: where, how fast or under which title, not what is done."""
    return field(default=default, metadata={"identity": False})


@dataclass
class Backbone:
    """A network without its exchangeable parts; ``model`` names the class and its shape.

    ``fidelity`` finds what differs for a network under its ``family``, or its name where that is null.
    ``attention_position`` is null where a network takes no attention. ``lr`` and ``epochs`` are those it was trained
    with by its source, for ``recipe=notebook``.
    """

    name: str = MISSING
    title: str | None = aside(None)
    family: str | None = aside(None)
    attention_position: str | None = None
    model: dict[str, Any] = MISSING
    lr: float | None = aside(None)
    epochs: int | None = aside(None)


@dataclass
class Activation:
    """``module`` is a factory without arguments."""

    name: str = MISSING
    title: str | None = aside(None)
    module: dict[str, Any] = MISSING


@dataclass
class Fidelity:
    """The norm of every backbone, and what differs from an option's own file.

    ``initialise`` is called with the network after it is built; ``attention`` has entries by option, ``backbone`` by
    family, see `fersweep.config.nodes.network`.
    """

    name: str = MISSING
    title: str | None = aside(None)
    norm: dict[str, Any] = MISSING
    initialise: dict[str, Any] | None = None
    attention: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)


@dataclass
class Preprocessing:
    """What is done to every image once, see `fersweep.data.preprocess.Preprocessed`."""

    min_max: bool = False
    equalize: bool = False
    min_variance: float = 0.0


DETECTORS = ("none", "mtcnn", "yolo5face")
"""Choices of ``dataset.faces``; ``none`` takes the whole image for the face."""


@dataclass
class FaceCrop:
    """How the face that ``dataset.faces`` finds is cut out and resized, see `fersweep.faces.crop.Crop`.

    ``weights`` is the ONNX file of yolo5face; faces above ``confidence`` are found, null: the detector's own choice.
    """

    margin: float = 0.0
    align: bool = False
    weights: str | None = None
    confidence: float | None = None
    clip: bool = False
    size: int | None = None
    nearest: bool = False
    jpeg_image: int | None = None
    jpeg_face: int | None = None


@dataclass
class StudyCrop:
    """What experiments of the study set ``faces`` and ``face_crop`` to; by default its images are not cropped."""

    faces: str = "none"
    clip: bool = False
    size: int | None = None
    nearest: bool = False
    jpeg_image: int | None = None
    jpeg_face: int | None = None


@dataclass
class Dataset:
    """``source`` names the class that reads ``root``; ``batch_size`` is the study's for this dataset.

    ``splits`` are those that the dataset has the fields for, null: any; ``sequences`` has ``split=random`` keep the
    frames of a sequence together. ``twins`` says whether images with a twin in the test part train
    (`fersweep.data.twins`). ``faces`` names the detector whose most confident face stands for each image, before
    ``preprocessing``. ``framing`` says what an image shows as it comes: ``face``, cut close, or ``picture``, with what
    is around; null: by its size (`fersweep.build.framing`). ``labels_from`` and ``of_people`` are for model cards: who
    labelled the images, and whether they may show people.
    """

    name: str = MISSING
    title: str | None = aside(None)
    source: dict[str, Any] = MISSING
    splits: list[str] | None = aside(None)
    sequences: bool = aside(False)
    twins: str = "keep"
    labels_from: str | None = aside(None)
    of_people: bool = aside(True)
    framing: str | None = aside(None)
    root: str | None = aside(None)
    image_size: int = 48
    channels: int = 1
    download: bool = aside(False)
    faces: str = "none"
    face_crop: FaceCrop = field(default_factory=FaceCrop)
    study_crop: StudyCrop = field(default_factory=StudyCrop, metadata={"identity": False})
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    batch_size: int = aside(64)


@dataclass
class Split:
    """``function(samples) -> Split`` with its settings bound; ``fold`` and ``folds`` are for ``subjects``."""

    name: str = MISSING
    title: str | None = aside(None)
    fold: int | None = None
    folds: int | None = None
    function: dict[str, Any] = MISSING


@dataclass
class Augmentation:
    """``transform(image_size) -> albumentations.Compose`` with its strengths bound."""

    name: str = MISSING
    title: str | None = aside(None)
    transform: dict[str, Any] = MISSING


@dataclass
class Recipe:
    """Optimiser, schedule and stopping. ``batch_size`` counts all devices together; epochs are passes over train.

    ``augment_validation`` has validation images augmented as training images are, which the study did;
    ``convolution_l2`` adds that many times the sum of all squared kernels of 2-d convolutions to the loss.
    """

    name: str = MISSING
    title: str | None = aside(None)
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
    """Where and how fast; of these the precision, the debugging limits and ``lightning`` are part of a run's identity.

    ``devices`` counts the processes on each of ``num_nodes`` machines, one a device, under ``strategy: ddp``;
    ``lightning`` holds further arguments of Lightning's Trainer.
    """

    name: str = aside()
    title: str | None = aside(None)
    accelerator: str = aside("auto")
    strategy: str = aside("single")
    devices: int = aside(1)
    num_nodes: int = aside(1)
    precision: str = "auto"
    memory_format: str = aside("channels_last")
    compile: bool = aside(False)
    auto_microbatch: bool = aside(False)
    workers: Any = aside("auto")
    progress_bar: bool = aside(True)
    profiler: str | None = aside(None)
    limit_batches: int | None = None
    overfit_batches: int = 0
    lightning: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    """One run.

    A setting that is added later has a default here that changes nothing: then the runs made before keep their
    identity (`fersweep.runs.identity`).
    """

    backbone: Backbone = field(default_factory=Backbone)
    attention: dict[str, Any] = MISSING
    activation: Activation = field(default_factory=Activation)
    fidelity: Fidelity = field(default_factory=Fidelity)
    dataset: Dataset = field(default_factory=Dataset)
    split: Split = field(default_factory=Split)
    augmentation: Augmentation = field(default_factory=Augmentation)
    recipe: Recipe = field(default_factory=Recipe)
    trainer: Trainer = field(default_factory=Trainer)
    logger: dict[str, Any] = aside()
    callbacks: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    sweep: str = aside("runs")
    outputs: str = aside("outputs")
    cache: str | None = aside(None)
    weights: str | None = None
    force: bool = aside(False)
    plugins: list[str] = field(default_factory=list, metadata={"identity": False})


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
"""The config groups whose options have names, in the order of the contract."""

NAMED = GROUPS[:8]
"""Those whose options are part of a run's name and identity."""


def register() -> None:
    """Make the schema known to Hydra under the name ``schema``; calling it again changes nothing."""
    ConfigStore.instance().store(name="schema", node=Config)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts, lists and scalars, in the schema's order."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): plain[key] for key in Config.__dataclass_fields__}


def section(setting: Field[Any]) -> type | None:
    """The dataclass that describes the settings below a field of the schema, ``None`` where there is none."""
    factory: Any = setting.default_factory
    return factory if isinstance(factory, type) and is_dataclass(factory) else None


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """``{group: option}`` of a resolved configuration."""
    return {group: str(config[group]["name"]) for group in GROUPS}


def title_of(config: Mapping[str, Any], group: str) -> str:
    """How a person reads the option of a group: its title, or its name where it has none."""
    return str(config[group].get("title") or config[group]["name"])


def takes_attention(backbone: Mapping[str, Any]) -> bool:
    """Whether a backbone's section says that the network has a place for the ``attention`` group; if silent, it has."""
    return "attention_position" not in backbone or backbone["attention_position"] is not None


def title(config: Mapping[str, Any]) -> str:
    """A network in words: ``ResNet-50 + CBAM, ELU``; without attention where it takes none or none is chosen."""
    attended = takes_attention(config["backbone"]) and config["attention"]["name"] != "none"
    attention = f" + {title_of(config, 'attention')}" if attended else ""
    return f"{title_of(config, 'backbone')}{attention}, {title_of(config, 'activation')}"


def dotted(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A configuration, flat: its settings under dotted names, which begin with ``above``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


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
