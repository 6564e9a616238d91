"""The sweeper of this project: Hydra's basic one, which leaves checking to the launchers."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


@dataclass
class CheckedSweeperConf(BasicSweeperConf):
    """Schema of ``hydra/sweeper=checked``."""

    _target_: str = "hydra_plugins.fersweep_launcher.sweeper.CheckedSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="checked", node=CheckedSweeperConf, provider="fersweep")


class CheckedSweeper(BasicSweeper):
    """Every combination of what is swept, each composed once."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which composes every run as well, and says what is wrong in one sentence."""
