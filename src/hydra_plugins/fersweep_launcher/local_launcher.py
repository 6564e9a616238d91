"""The ``local`` launcher of a sweep: every run composed and checked first, then each in a fresh process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


@dataclass
class LocalLauncherConf:
    """Schema of ``hydra/launcher=local``; it has no settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.local_launcher.LocalLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="fersweep")

RANK_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""What a distributed run leaves in the environment; a run that inherits it would think it is a part of that one."""


class LocalLauncher(Launcher):
    """Starts ``train.py <overrides>`` for one run after the other.

    A run that dies costs that run alone: its exit code is kept, the rest goes on, and the sweep ends with a table of
    what failed and a non-zero exit code.
    """

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra with the sweep's own configuration."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all of ``job_overrides``; returns the validation accuracy of each as its result."""
        from rich.console import Console

        from fersweep.report.summary import print_sweep

        directories = self._check_all(job_overrides)
        jobs: list[JobReturn] = []
        results: list[dict[str, Any]] = []
        failed: list[tuple[Path, str]] = []
        total = initial_job_idx + len(job_overrides)
        for number, (overrides, directory) in enumerate(zip(job_overrides, directories, strict=True), start=1):
            print(f"[{initial_job_idx + number}/{total}] {directory.name}", flush=True)
            try:
                code = subprocess.run(
                    [sys.executable, sys.argv[0], *overrides], env=_environment(), check=False
                ).returncode
            except KeyboardInterrupt:
                failed.append((directory, "interrupted; the same command goes on with the sweep"))
                _print_failed(failed, total)
                raise SystemExit(130) from None
            job = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            if (reason := _failure(directory, code)) is None:
                results.append(json.loads((directory / "result.json").read_text(encoding="utf-8")))
                job.return_value = results[-1]["metrics"]["val/accuracy"]
            else:
                failed.append((directory, reason))
            jobs.append(job)
        if results:
            print_sweep(results, Console())
        if failed:
            _print_failed(failed, total)
            raise SystemExit(1)
        return jobs

    def _check_all(self, job_overrides: Sequence[Sequence[str]]) -> list[Path]:
        """Compose and check every run before the first starts; return their directories."""
        from fersweep.config import one_line
        from fersweep.errors import UserError
        from fersweep.run import prepare

        assert self.config is not None
        assert self.context is not None
        directories = []
        for overrides in job_overrides:
            try:
                composed: Any = self.context.config_loader.load_sweep_config(self.config, list(overrides))
                cfg = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
                directories.append(prepare(cfg)[1])
            except (UserError, HydraException, OmegaConfBaseException) as error:
                sentence = error if isinstance(error, UserError) else one_line(error)
                print(f"error: {sentence} (in {' '.join(overrides)}; nothing was started)", file=sys.stderr)
                raise SystemExit(2) from error
        return directories


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in RANK_VARIABLES}


def _failure(directory: Path, code: int) -> str | None:
    """Why a run whose process ended with ``code`` is not done, or ``None`` where it is."""
    from fersweep.sweep.status import Status

    status = Status.read(directory)
    if code == 0 and status.state == "done":
        return None
    if status.error is not None:
        return f"{status.error['type']}: {status.error['message']}"
    return f"ended with exit code {code} and state {status.state}"


def _print_failed(failed: Sequence[tuple[Path, str]], total: int) -> None:
    print(f"\n{len(failed)} of {total} runs failed:", file=sys.stderr)
    for directory, reason in failed:
        print(f"  {directory.name}\n    {reason}\n    log: {directory / 'train.log'}", file=sys.stderr)
