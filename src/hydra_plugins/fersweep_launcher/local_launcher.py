"""Launcher ``local``: trains each run of a sweep in fresh processes on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from fersweep.sweep.launcher import CheckedLauncher

if TYPE_CHECKING:
    from fersweep.sweep.local.place import LocalPlace
    from fersweep.sweep.plan import Planned


@dataclass
class LocalLauncherConf:
    """Schema of ``hydra/launcher=local``; ``conf/hydra/launcher/local.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.local_launcher.LocalLauncher"
    n_jobs: int | None = None
    gpus_per_run: float | None = None
    threads: int | None = None
    timeout: float | None = None
    on_end: Any = None


ConfigStore.instance().store(group="hydra/launcher", name="local_schema", node=LocalLauncherConf, provider="fersweep")


class LocalLauncher(CheckedLauncher):
    """Launcher for this machine, see `fersweep.sweep.local.launch`."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train all runs; the result of each is its validation accuracy."""
        from fersweep.errors import UserError
        from fersweep.sweep.local import processes
        from fersweep.sweep.plan import refuse

        try:
            processes.warm_up()  # takes seconds, in parallel with the imports and checks below
        except UserError as error:
            refuse(str(error))
        from fersweep.sweep.local import launch as local

        return local.launch(self.plan(job_overrides, here=True), self.on_end, **self.settings)

    def place(self, like: "Planned", expected: int, at_once: int | None) -> "LocalPlace":
        """Return this machine as a place."""
        from fersweep.sweep.local import place, processes

        processes.warm_up()
        settings = self.settings | ({} if at_once is None else {"n_jobs": at_once})
        return place.LocalPlace([like], **settings, expected=expected)
