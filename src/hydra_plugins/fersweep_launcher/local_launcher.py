"""The ``local`` launcher of a sweep: every run composed and checked first, then each in a fresh process of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LocalLauncherConf:
    """Schema of ``hydra/launcher=local``; ``conf/hydra/launcher/local.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.local_launcher.LocalLauncher"
    n_jobs: int | None = None
    gpus_per_run: float | None = None
    threads: int | None = None
    timeout: float | None = None


ConfigStore.instance().store(group="hydra/launcher", name="local_schema", node=LocalLauncherConf, provider="fersweep")


class LocalLauncher(Launcher):
    """Trains the runs of a sweep on this machine, see `fersweep.sweep.local.launch`."""

    def __init__(
        self, n_jobs: int | None, gpus_per_run: float | None, threads: int | None, timeout: float | None
    ) -> None:
        self.n_jobs, self.gpus_per_run, self.threads, self.timeout = n_jobs, gpus_per_run, threads, timeout
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra with the sweep's own configuration."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all of ``job_overrides``; returns the validation accuracy of each as its result."""
        from fersweep.errors import UserError
        from fersweep.sweep import plan
        from fersweep.sweep.local import processes

        try:
            processes.warm_up()  # first of all: it takes seconds, beside the imports and checks here
        except UserError as error:
            plan.refuse(str(error))
        from fersweep.sweep.local import launch as local

        assert self.config is not None
        assert self.context is not None
        return local.launch(
            plan.plan(self.config, self.context, job_overrides, here=True),
            n_jobs=self.n_jobs,
            gpus_per_run=self.gpus_per_run,
            timeout=self.timeout,
            threads=self.threads,
        )
