"""Base of the launchers in ``hydra_plugins``; imports little, as Hydra loads them at every start."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from fersweep.sweep.place import Place
    from fersweep.sweep.plan import Planned


class CheckedLauncher(Launcher):
    """A launcher that composes and checks every run of a sweep before it starts the first.

    Attributes:
        here: it trains on this machine.
        at_a_time: name of its setting that limits the runs at a time.
        on_end: command to run at the end, see `fersweep.sweep.notify`.
    """

    here = True
    at_a_time = "n_jobs"
    on_end: Any = None

    def __init__(self, on_end: Any = None, **settings: Any) -> None:
        self.on_end = on_end
        self.settings = settings
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the sweep's configuration; Hydra calls this first."""
        self.config, self.context = config, hydra_context

    def plan(self, job_overrides: Sequence[Sequence[str]], here: bool) -> list[Planned]:
        """Return the runs, see `fersweep.sweep.plan.plan`."""
        from fersweep.sweep.plan import plan

        assert self.config is not None
        assert self.context is not None
        return plan(self.config, self.context, job_overrides, here)

    def preview(self, job_overrides: Sequence[Sequence[str]]) -> None:
        """Print what `launch` would do, see `fersweep.sweep.preview`; nothing is started or written."""
        from fersweep.errors import UserError
        from fersweep.sweep import notify, preview
        from fersweep.sweep.plan import refuse

        try:
            notify.words(self.on_end, self.settings.get("wait", True))
        except UserError as error:
            refuse(str(error))
        preview.show(self.plan(job_overrides, self.here), self.here, self.settings.get(self.at_a_time))

    @abstractmethod
    def place(self, like: Planned, expected: int, at_once: int | None) -> Place:
        """Return the place where this launcher trains runs, for a search, which starts them one by one.

        Args:
            like: one of the runs, or one that needs the same devices.
            expected: how many are to come at most.
            at_once: runs at a time; ``None`` leaves it to the launcher.

        Raises:
            UserError: settings of the launcher that cannot work.
        """
