"""Schema of the configuration: `Config` gives the types, the files under ``conf/`` the values. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf


def aside(default: Any = MISSING) -> Any:
    """Return a field that is not part of a run's identity, such as a path, a device or a title."""
    return field(default=default, metadata={"identity": False})


@dataclass
class Backbone:
    """A network without its exchangeable parts; ``model`` names its class and shape.

    ``fidelity`` has its entry for a network under ``family``, or under its name if that is null.
    ``attention_position`` is null for a network without attention. ``lr`` and ``epochs`` are its source's, for
    ``recipe=notebook``.
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
    """``module`` is a factory that takes no arguments; if it is empty, a network keeps its library's activation."""

    name: str = MISSING
    title: str | None = aside(None)
    module: dict[str, Any] = MISSING


@dataclass
class Fidelity:
    """The norm of every backbone, and overrides of attentions and backbones (`fersweep.config.nodes.network`).

    ``initialise`` is called with the built network; ``attention`` has entries by option, ``backbone`` by family.
    """

    name: str = MISSING
    title: str | None = aside(None)
    norm: dict[str, Any] = MISSING
    initialise: dict[str, Any] | None = None
    attention: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)


@dataclass
class Preprocessing:
    """Settings of `fersweep.data.preprocess.Preprocessed`, applied to every image once."""

    min_max: bool = False
    equalize: bool = False
    min_variance: float = 0.0


DETECTORS = ("none", "mtcnn", "libfacedetection", "yolo5face")
"""Choices of ``dataset.faces``; with ``none`` the whole image is the face."""


@dataclass
class FaceCrop:
    """Crop and size of the face that ``dataset.faces`` detects, see `fersweep.faces.crop.Crop`.

    ``weights`` is the ONNX file of yolo5face; ``confidence`` is the threshold, null the detector's default.
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
    """Values of ``faces`` and ``face_crop`` in experiments of the study; by default its images are not cropped."""

    faces: str = "none"
    clip: bool = False
    size: int | None = None
    nearest: bool = False
    jpeg_image: int | None = None
    jpeg_face: int | None = None


@dataclass
class Dataset:
    """``source`` names the class that reads ``root``; ``batch_size`` is the study's for this dataset.

    ``splits`` lists the splits whose fields the dataset has, null for any; with ``sequences``, ``split=random`` keeps
    the frames of a sequence together. ``twins`` keeps or drops images of training and validation with a twin in
    the test part (`fersweep.data.twins`). ``faces`` names the detector whose most confident face replaces each image
    before ``preprocessing``. ``framing`` of the raw images is ``face`` (cropped) or ``picture``; null decides by size
    (`fersweep.build.framing`). ``labels_from`` (who labelled the images), ``terms`` (of use) and ``of_people`` are for
    model cards.
    """

    name: str = MISSING
    title: str | None = aside(None)
    source: dict[str, Any] = MISSING
    splits: list[str] | None = aside(None)
    sequences: bool = aside(False)
    twins: str = "keep"
    labels_from: str | None = aside(None)
    terms: str | None = aside(None)
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
    """``function(samples) -> Split`` with its settings bound; ``fold`` and ``folds`` belong to ``subjects``."""

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
    """Optimiser, schedule and stopping. ``batch_size`` is the total over all devices.

    ``augment_validation`` augments validation images as the study did; ``convolution_l2`` is the factor of an L2
    penalty on the kernels of all 2-d convolutions. ``crop`` is the side of the unscaled crops that the network takes
    (`input_size`), null for whole images. ``step_start``, ``step_epochs`` and ``step_factor`` belong to
    ``schedule=step`` (`fersweep.training.optim.learning_rate_factor`). ``teacher`` is a checkpoint, a run or a folder
    of runs to learn from (`fersweep.training.teacher`). ``layer_decay`` is the factor of the learning rate from one
    layer to the one before it, and ``decay_biases`` includes biases and norms in the weight decay
    (`fersweep.training.optim.parameter_groups`).
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
    crop: int | None = None
    cutmix: float = 0.0
    gradient_clip_mode: str = "norm"
    step_start: float = 0.0
    step_epochs: float = 30.0
    step_factor: float = 0.1
    teacher: str | None = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    layer_decay: float = 1.0
    decay_biases: bool = True


@dataclass
class Trainer:
    """Devices and speed; only ``precision``, the debugging limits and ``lightning`` are part of a run's identity.

    With ``strategy: ddp``, each of ``num_nodes`` machines runs ``devices`` processes, one per device. ``lightning``
    holds further arguments of Lightning's Trainer.
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

    A setting added later must default to the earlier behaviour, so that existing runs keep their identity
    (`fersweep.runs.identity`).
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
"""Config groups whose options have names, in the order of ``result.json``."""

NAMED = GROUPS[:8]
"""Groups whose options are part of a run's name and identity."""


def register() -> None:
    """Register the schema with Hydra as ``schema``; calling it again changes nothing."""
    store = ConfigStore.instance()
    if "schema.yaml" not in store.repo:  # storing it takes a tenth of the time of a composition
        store.store(name="schema", node=Config)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dicts, lists and scalars, in the schema's order."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): plain[key] for key in Config.__dataclass_fields__}


def section(setting: Field[Any]) -> type | None:
    """Return the dataclass nested in a field of the schema, or ``None``."""
    factory: Any = setting.default_factory
    return factory if isinstance(factory, type) and is_dataclass(factory) else None


def choices_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return ``{group: option}`` of a resolved configuration."""
    return {group: str(config[group]["name"]) for group in GROUPS}


def input_size(config: Any) -> int:
    """Return the side in pixels of the images that a run's network takes: ``recipe.crop`` or ``dataset.image_size``."""
    return int(config["recipe"]["crop"] or config["dataset"]["image_size"])


def title_of(config: Mapping[str, Any], group: str) -> str:
    """Return the title of the option chosen in a group, or its name if it has none."""
    return str(config[group].get("title") or config[group]["name"])


def takes_attention(backbone: Mapping[str, Any]) -> bool:
    """Return whether a backbone's section has a position for attention; true if it does not say."""
    return "attention_position" not in backbone or backbone["attention_position"] is not None


def title(config: Mapping[str, Any]) -> str:
    """Return a network in words, such as ``ResNet-50 + CBAM, ELU``, without attention if it has none.

    A network of a library that has many follows the library's title: ``timm convnext_tiny``.
    """
    backbone = " ".join(filter(None, (title_of(config, "backbone"), config["backbone"].get("model", {}).get("name"))))
    attended = takes_attention(config["backbone"]) and config["attention"]["name"] != "none"
    attention = f" + {title_of(config, 'attention')}" if attended else ""
    return f"{backbone}{attention}, {title_of(config, 'activation')}"


def dotted(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a configuration flattened to dotted keys, with the prefix ``above``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


REFUSED = {
    r"Value '(?P<value>.*)' is not a valid bool \(type \w+\)": "{value!r} is not true or false",
    r"Invalid value assigned: \w+ is not a ListConfig, list or tuple\.": "this is not a list: write it in [ ]",
    r"Cannot merge DictConfig with ListConfig": "a list is not possible: set the keys of this section",
}
"""Messages of OmegaConf on the value of an override, and the words in their place."""

KINDS = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false"}


def one_line(error: Exception) -> str:
    """Return the message of a Hydra or OmegaConf error and its cause in one line, without their advice."""
    texts = [str(error)] + ([str(error.__cause__)] if error.__cause__ else [])
    lines = [line.strip() for text in texts for line in text.splitlines()]
    noise = ("To append", "full_key", "object_type", "reference_type", "Config search path", "provider=")
    sentence = " ".join(line for line in lines if line and not line.startswith(noise))
    for message, words in REFUSED.items():
        if found := re.fullmatch(rf"Error merging override (?P<text>\S+) {message}", sentence):
            return f"{found['text']}: {words.format(**found.groupdict())}."
    return re.sub(
        r"Error merging override (?P<text>\S+) "
        r"Value '(?P<value>.*)' of type '\w+' could not be converted to (?P<kind>\w+)",
        lambda found: f"{found['text']}: {found['value']!r} is not {KINDS.get(found['kind'], found['kind'])}.",
        sentence,
    )
