"""Base of the launchers in ``hydra_plugins``; imports little, as Hydra loads them at every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from fersweep.sweep.plan import Planned


class CheckedLauncher(Launcher):
    """A launcher that composes and checks every run of a sweep before it starts the first."""

    def __init__(self, **settings: Any) -> None:
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
