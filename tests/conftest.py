"""What the tests of whole runs share: a tiny network, small settings, folders of their own, and no service to call."""

from __future__ import annotations

import copy
import functools
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bootstrap
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fersweep import build
from fersweep.config.compose import compose_config

os.environ["WANDB_MODE"] = "offline"
os.environ["FERSWEEP_LOCAL"] = "none"  # not the settings of the machine that tests
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # on small images a second thread waits more than it works

REPOSITORY = Path(__file__).parents[1]
TRAIN = REPOSITORY / "train.py"

SMALL = (
    "attention=se",
    "trainer=cpu",
    "trainer.precision=32",
    "dataset.image_size=32",
    "recipe.batch_size=16",
    "recipe.max_epochs=2",
)
FACES = "dataset.source.size=140"
"""112 images to train on, 14 for validation and 14 for testing: seven batches an epoch."""

NARROW = ("backbone=aer_cnn", "backbone.model.widths=[8,8,8]", *SMALL[1:])
"""As `SMALL`, for tests of whole processes, which cannot have a tiny network: a real one that is quick to train."""

SHALLOW = "backbone.model.depths=[1,1,1,1]"
"""The least of a ResNet."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Install what the tests need, before xdist starts the processes that run them."""
    if not hasattr(config, "workerinput"):
        bootstrap.complete()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the last of them would keep one process busy while the other has nothing to do."""
    slow = {each.path for each in items if each.get_closest_marker("slow")}
    items.sort(key=lambda each: each.path not in slow)


class TinyNetwork(nn.Module):
    """What real networks are made of, a few hundred parameters of it: convolution, batch norm, ELU, dropout, linear."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 8, 5, stride=2, padding=2),
            nn.BatchNorm2d(8),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


@functools.cache
def _chosen(overrides: tuple[str, ...]) -> DictConfig:
    return compose_config(list(overrides))


def quickly_composed(*overrides: str) -> DictConfig:
    """As `compose_config`, but values go into a configuration composed before: Hydra takes a third of a second.

    For settings that exist; what Hydra itself makes of an override needs `compose_config`.
    """
    values = [each for each in overrides if "." in each.partition("=")[0]]
    cfg = copy.deepcopy(_chosen(tuple(each for each in overrides if each not in values)))
    OmegaConf.set_readonly(cfg, False)
    merged = OmegaConf.merge(cfg, OmegaConf.from_dotlist(values))
    assert isinstance(merged, DictConfig)
    return merged


def use_tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every run of this process train a `TinyNetwork`."""

    def model(cfg: DictConfig, num_classes: int) -> nn.Module:
        return TinyNetwork(cfg.dataset.channels, num_classes)

    monkeypatch.setattr(build, "model", model)


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `use_tiny_network`."""
    use_tiny_network(monkeypatch)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of decoded data for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> Callable[..., DictConfig]:
    """``small("seed=2")``: the configuration of a small run in ``tmp_path / "outputs"``."""

    def compose(*overrides: str) -> DictConfig:
        faces = [] if any(each.startswith("dataset=") for each in overrides) else [FACES]
        return quickly_composed(*SMALL, *faces, f"outputs={tmp_path / 'outputs'}", f"cache={cache}", *overrides)

    return compose


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The directory of a finished small run of the tiny network; to look at, not to change."""
    from fersweep.run import run_one
    from fersweep.runs.identity import run_dir

    outputs = tmp_path_factory.mktemp("finished")
    cfg = quickly_composed(*SMALL, FACES, f"outputs={outputs}", f"cache={cache}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_tiny_network(monkeypatch)
        run_one(cfg)
    return run_dir(plain(cfg))


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in ``tmp_path/outputs/runs``, to write into."""
    use_tiny_network(monkeypatch)
    return Path(shutil.copytree(finished, tmp_path / "outputs" / "runs" / finished.name))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dicts."""
    from fersweep.config.schema import to_dict

    return to_dict(cfg)


@pytest.fixture
def run_train(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``run_train("seed=2")``: as ``python train.py``, in this process and ``tmp_path``; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [str(TRAIN), *arguments, f"cache={cache}"])
        try:
            runpy.run_path(str(TRAIN), run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    return call


def train_process(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python train.py`` in a process of its own, which takes seconds to start."""
    return subprocess.run(
        [sys.executable, str(TRAIN), *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )


@pytest.fixture(autouse=True)
def _keep_signal_handlers() -> Iterator[None]:
    """Runs handle SIGTERM, and Lightning switches Ctrl-C off for good when it is interrupted; put both back.

    W&B leaves the address of its helper process, which ends, to all processes that are started later; take it away.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    os.environ.pop("WANDB_SERVICE", None)
