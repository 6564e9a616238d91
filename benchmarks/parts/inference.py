"""Inference: images per second by batch size, and latency of one image; single view and ten crops."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from omegaconf import DictConfig

from benchmarks.measure import Case, Figure, Part, alternate, compare, figures, seconds
from benchmarks.settings import Settings
from fersweep import build
from fersweep.config.schema import to_dict
from fersweep.data.samples import CLASSES
from fersweep.models.fast import speed_up
from fersweep.training.module import FERModule

BATCHES, SMOKE_BATCHES = (1, 64, 256), (1, 4)
VIEWS = ("single view", "ten crops")

Classifier = Callable[[str, torch.Tensor], torch.Tensor]


def measure(settings: Settings) -> Part:
    """Measure images per second and the latency of single images in milliseconds, for every backbone.

    Images are uint8 and lie on the device; scaling, network and softmax are timed, as in the test of a run.
    """
    part = Part(notes=["Latency: of one image at a time; each round has its own median and 95th percentile."])
    for backbone in settings.backbones:
        classify = _classifier(settings.compose(f"backbone={backbone}"), settings)
        for batch in SMOKE_BATCHES if settings.smoke else BATCHES:
            images = _images(batch, settings)
            candidates = {view: settings.rate(partial(classify, view, images), batch) for view in VIEWS}
            case: Case = {"backbone": backbone, "batch": batch}
            part.figures += compare("images/s", case, candidates, settings.repeats, to="single view")
        part.figures += _latencies(classify, {"backbone": backbone, "batch": 1}, settings)
    return part


def _classifier(cfg: DictConfig, settings: Settings) -> Classifier:
    """Return a function from a view's name and images, uint8 ``(B, 1, S, S)``, to probabilities ``(B, 7)``."""
    network = speed_up(build.model(cfg, len(CLASSES)))
    if cfg.trainer.memory_format == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    module = FERModule(network, build.optimizer_factory(cfg), to_dict(cfg)["recipe"], CLASSES)
    module = module.to(settings.device).train(False)
    bf16 = settings.precision == "bf16-mixed"

    def classify(view: str, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(settings.device.type, torch.bfloat16, enabled=bf16):
            return module.ten_crop_probabilities(images) if view == "ten crops" else module(images).softmax(dim=1)

    return classify


def _images(count: int, settings: Settings) -> torch.Tensor:
    shape = (count, 1, settings.image_size, settings.image_size)
    return torch.randint(256, shape, dtype=torch.uint8, device=settings.device)


def _latencies(classify: Classifier, case: Case, settings: Settings) -> list[Figure]:
    image, calls = _images(1, settings), 5 if settings.smoke else 100

    def latencies(view: str) -> list[float]:
        return [1e3 * seconds(partial(classify, view, image), settings.device) for _ in range(calls)]

    timed = alternate({view: partial(latencies, view) for view in VIEWS}, settings.repeats)
    middle = {f"latency, {view}": [statistics.median(each) for each in timed[view]] for view in VIEWS}
    slow = {
        f"latency, {view}, 95th percentile": [float(np.percentile(each, 95)) for each in timed[view]] for view in VIEWS
    }
    return figures("ms", case, middle, {"latency, ten crops": "latency, single view"}) + figures("ms", case, slow)
