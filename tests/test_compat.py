"""The private parts of other libraries in `fersweep.compat` exist and do what this project expects of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.plugins.sweeper import Sweeper
from submitit.core.job_environment import SignalHandler
from submitit.core.utils import DelayedSubmission, UncompletedJobError
from torch.utils.data import DataLoader

from fersweep import compat
from fersweep.tracking.report import build_report, build_workspace

LIBRARIES = ("hydra", "submitit", "pytorch_lightning", "torch", "wandb_workspaces")


def test_importing_it_imports_no_library() -> None:
    found = f"print([each for each in {LIBRARIES} if each in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, fersweep.compat; {found}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_hydra_parser() -> None:
    parsed = compat.hydra_parser().parse_args(["-m", "--cfg", "job", "--config-dir", "mine", "seed=1,2"])
    assert (parsed.multirun, parsed.cfg, parsed.config_dir, parsed.overrides) == (True, "job", "mine", ["seed=1,2"])
    unset = (parsed.config_name, parsed.config_path, parsed.shell_completion, parsed.hydra_help, parsed.info)
    assert not any(unset)


def test_hydra_sweeper_launches_what_its_check_lets_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Checked(compat.hydra_sweeper()):  # type: ignore[misc]
        def validate_batch_is_legal(self, batch: Any) -> None:
            checked.extend(batch)

    checked: list[list[str]] = []
    launched: list[list[str]] = []
    sweeper = Checked(max_batch_size=None, params={"seed": "1,2"})
    assert isinstance(sweeper, Sweeper)
    monkeypatch.setattr("omegaconf.OmegaConf.save", lambda *_: None)
    sweeper.config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweeper.hydra_context = SimpleNamespace(config_loader=None)
    sweeper.launcher = SimpleNamespace(launch=lambda batch, **_: launched.extend(batch) or [])
    sweeper.sweep(["attention=se"])
    assert launched == checked == [["seed=1", "attention=se"], ["seed=2", "attention=se"]]


@pytest.fixture
def _sigusr2() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)


class Resumable:
    """A job that submitit may requeue."""

    def checkpoint(self) -> DelayedSubmission:
        return DelayedSubmission(self)

    def __call__(self) -> None: ...


@pytest.mark.usefixtures("_sigusr2")
def test_count_every_requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requeued: list[int] = []
    environment: Any = SimpleNamespace(global_rank=0, _requeue=requeued.append)
    paths: Any = SimpleNamespace(submitted_pickle=tmp_path / "job.pkl")
    delayed = DelayedSubmission(Resumable())
    delayed.set_timeout(None, 1)  # type: ignore[arg-type]  # a cluster's own limit
    handler = SignalHandler(environment, paths, delayed)
    monkeypatch.setattr(handler, "_exit", lambda: None)
    signal.signal(signal.SIGUSR2, handler.checkpoint_and_try_requeue)
    with pytest.raises(TypeError):
        signal.raise_signal(signal.SIGUSR2)
    compat.count_every_requeue()
    signal.raise_signal(signal.SIGUSR2)
    assert requeued == [0]
    delayed.set_timeout(0, 0)
    with pytest.raises(UncompletedJobError, match="too many times"):
        signal.raise_signal(signal.SIGUSR2)


class OneStep(pl.LightningModule):
    """The least that a trainer fits; notes the handler of SIGTERM meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.handler: Any = None

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        self.handler = signal.getsignal(signal.SIGTERM)
        return (self.weight * batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _trainer() -> pl.Trainer:
    return pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


@pytest.mark.filterwarnings("ignore")  # of Lightning, about itself and this machine
@pytest.mark.parametrize("disabled", [True, False])
def test_disable_signal_handlers(disabled: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    module, trainer = OneStep(), _trainer()
    if disabled:
        compat.disable_signal_handlers(trainer)
    trainer.fit(module, DataLoader([torch.ones(1)]))  # type: ignore[arg-type]
    assert (module.handler is before) == disabled


@pytest.mark.filterwarnings("ignore")
def test_attached_trainer() -> None:
    module, trainer = OneStep(), _trainer()
    assert compat.attached_trainer(module) is None
    module.trainer = trainer
    assert compat.attached_trainer(module) is trainer


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="Linux lists the features of its CPU")
def test_cpu_has_bf16() -> None:
    assert compat.cpu_has_bf16() == ("avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split())


def test_wandb_specification() -> None:
    report = compat.wandb_specification(build_report("me", "faces"))
    assert report["spec"]["blocks"]
    workspace = compat.wandb_specification(build_workspace("me", "faces"))
    assert workspace["spec"]["section"]
