"""Sweeper ``search``: searches for good values of settings, see `fersweep.sweep.search`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fersweep.sweep.search.settings import Settings
from fersweep.text import visible_traceback


@dataclass
class SearchSweeperConf(Settings):
    """Schema of ``hydra/sweeper=search``; ``conf/hydra/sweeper/search.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.search_sweeper.SearchSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="search_schema", node=SearchSweeperConf, provider="fersweep")


class SearchSweeper(Sweeper):
    """Try configurations, drop those that are behind, and print the best."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.launcher: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the search's configuration; Hydra calls this first."""
        self.config, self.context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> float:
        """Search; return the metric of the best trial.

        Args:
            arguments: overrides, of which those with several values are the space.
        """
        from fersweep.errors import UserError
        from fersweep.sweep.plan import refuse
        from fersweep.sweep.search.launch import search

        assert self.config is not None
        assert self.context is not None
        with visible_traceback(HydraException, OmegaConfBaseException):
            try:
                return search(self.config, self.context, self.launcher, arguments, Settings(**self.settings))
            except UserError as error:
                refuse(str(error))
