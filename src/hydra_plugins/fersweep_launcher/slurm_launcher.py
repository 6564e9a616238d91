"""Launcher ``slurm``: submits each run of a sweep as a job of a SLURM cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from fersweep.sweep.launcher import CheckedLauncher
from fersweep.sweep.slurm.settings import Settings

if TYPE_CHECKING:
    from fersweep.sweep.plan import Planned
    from fersweep.sweep.slurm.place import SlurmPlace


@dataclass
class SlurmLauncherConf(Settings):
    """Schema of ``hydra/launcher=slurm``; ``conf/hydra/launcher/slurm.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.slurm_launcher.SlurmLauncher"
    on_end: Any = None


ConfigStore.instance().store(group="hydra/launcher", name="slurm_schema", node=SlurmLauncherConf, provider="fersweep")


class SlurmLauncher(CheckedLauncher):
    """Launcher for a SLURM cluster, see `fersweep.sweep.slurm.launch`."""

    here = False
    at_a_time = "array_parallelism"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all runs; the result of each is its validation accuracy."""
        from fersweep.sweep.slurm import launch as slurm

        return slurm.launch(self.plan(job_overrides, here=False), Settings(**self.settings), self.on_end)

    def place(self, like: "Planned", expected: int, at_once: int | None) -> "SlurmPlace":
        """Return the cluster as a place."""
        from fersweep.sweep.slurm.place import SlurmPlace

        return SlurmPlace(like, Settings(**self.settings), at_once)
