"""The ``slurm`` launcher of a sweep: every run composed and checked first, then each a job of the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SlurmLauncherConf:
    """Schema of ``hydra/launcher=slurm``; ``conf/hydra/launcher/slurm.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.slurm_launcher.SlurmLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    array_parallelism: int = 256
    signal_delay: int = 90
    max_requeues: int = 20
    setup: list[str] = field(default_factory=list)
    wait: bool = True


ConfigStore.instance().store(group="hydra/launcher", name="slurm_schema", node=SlurmLauncherConf, provider="fersweep")


class SlurmLauncher(Launcher):
    """Has the runs of a sweep trained by a SLURM cluster, see `fersweep.sweep.slurm.launch`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra with the sweep's own configuration."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all of ``job_overrides``; returns the validation accuracy of each as its result."""
        from fersweep.sweep import plan
        from fersweep.sweep.slurm import launch as slurm

        assert self.config is not None
        assert self.context is not None
        runs = plan.plan(self.config, self.context, job_overrides, here=False)
        return slurm.launch(runs, slurm.Settings(**self.settings))
