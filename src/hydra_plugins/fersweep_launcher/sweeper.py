"""Hydra's sweeper over all combinations, without its check of every one: the launchers compose and check them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fersweep import compat
from fersweep.text import visible_traceback


@dataclass
class CheckedSweeperConf:
    """Schema of ``hydra/sweeper=checked``; ``conf/hydra/sweeper/checked.yaml`` explains the settings."""

    _target_: str = "hydra_plugins.fersweep_launcher.sweeper.CheckedSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    exclude: Any = None
    zip: Any = None
    order: str = "typed"
    dry_run: bool = False


ConfigStore.instance().store(group="hydra/sweeper", name="checked_schema", node=CheckedSweeperConf, provider="fersweep")

BasicSweeper: Any = compat.hydra_sweeper()


class CheckedSweeper(BasicSweeper):
    """Run the combinations of the swept values, each composed once; see `fersweep.config.combinations`."""

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        exclude: Any = None,
        zip: Any = None,
        order: str = "typed",
        dry_run: bool = False,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.exclude, self.zip, self.order, self.dry_run = exclude, zip, order, dry_run

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the runs or, with ``dry_run``, print what that would do."""
        with visible_traceback(HydraException, OmegaConfBaseException):
            if not self.dry_run:
                return self._launch(arguments)
            self._preview(arguments)
            return None

    def _parsed(self, arguments: list[str]) -> list[Override]:
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides([*self._parse_config(), *arguments])

    def _launch(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Launch the runs as Hydra does, but write no ``multirun.yaml``: the addresses in ``on_end`` are secrets."""
        returns: list[Sequence[JobReturn]] = []
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        for batch in self.split_arguments(self._parsed(arguments), self.max_batch_size):
            found = self.launcher.launch(batch, initial_job_idx=sum(map(len, returns)))
            for each in found:
                _ = each.return_value  # raises what a run has raised
            returns.append(found)
        return returns

    def _preview(self, arguments: list[str]) -> None:
        from fersweep.sweep.launcher import CheckedLauncher
        from fersweep.sweep.plan import refuse

        if not isinstance(self.launcher, CheckedLauncher):
            refuse("--dry-run is for hydra/launcher=local and slurm: choose one of them.")
        (runs,) = self.split_arguments(self._parsed(arguments), None)
        self.launcher.preview(runs)

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Return the overrides of each run, in batches."""
        from fersweep.config.combinations import combinations
        from fersweep.errors import UserError
        from fersweep.sweep.plan import refuse

        try:
            found = combinations(overrides, self.zip, self.exclude)
        except UserError as error:
            refuse(f"{error} (nothing was started)")
        runs = [[f"{key}={value}" for key, value in each.items()] for each in found]
        return list(self.split_overrides_to_chunks(runs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the check to the launcher, which composes every run anyway."""
