"""Hydra's sweeper over all combinations, without its check of every one: the launchers compose and check them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from fersweep import compat


@dataclass
class CheckedSweeperConf:
    """Schema of ``hydra/sweeper=checked``."""

    _target_: str = "hydra_plugins.fersweep_launcher.sweeper.CheckedSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="checked", node=CheckedSweeperConf, provider="fersweep")

BasicSweeper: Any = compat.hydra_sweeper()


class CheckedSweeper(BasicSweeper):
    """Run every combination of the swept values, each composed once."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the check to the launcher, which composes every run anyway."""
