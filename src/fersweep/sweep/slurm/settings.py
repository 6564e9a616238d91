"""What a run asks a SLURM cluster for, and what is no use asking for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fersweep.errors import UserError
from fersweep.sweep.plan import Planned

RESOURCES = (
    "nodes",
    "ntasks_per_node",
    "gpus_per_node",
    "cpus_per_task",
    "mem",
    "time",
    "partition",
    "account",
    "qos",
    "constraint",
)
"""Of what `Settings.sbatch` returns: what a cluster may not have."""


@dataclass(frozen=True)
class Settings:
    """``hydra.launcher``, see ``conf/hydra/launcher/slurm.yaml``; ``None`` leaves a setting to the cluster."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    time: int | None
    gpus_per_node: int | None
    cpus_per_task: int | None
    mem: str | None
    array_parallelism: int
    signal_delay: int
    max_requeues: int
    setup: Sequence[str]
    wait: bool

    def check(self, runs: Sequence[Planned]) -> None:
        """Refuse what cannot work.

        Raises:
            UserError: naming the setting.
        """
        least = {"time": 1, "gpus_per_node": 0, "cpus_per_task": 1, "array_parallelism": 1}
        least |= {"signal_delay": 1, "max_requeues": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"hydra.launcher.{name}={value} is out of range: {minimum} or more.")
        if self.time is not None and self.signal_delay >= self.time * 60:
            raise UserError(
                f"hydra.launcher.signal_delay={self.signal_delay} (seconds) leaves nothing of "
                f"hydra.launcher.time={self.time} (minutes): shorten the one or lengthen the other."
            )
        for run in runs:
            self._check_gpus(run.config["trainer"])

    def _check_gpus(self, trainer: Mapping[str, Any]) -> None:
        if self.gpus_per_node is None:
            return
        if trainer["accelerator"] == "cpu" and self.gpus_per_node > 0:
            raise UserError(
                f"hydra.launcher.gpus_per_node={self.gpus_per_node} has no effect with trainer={trainer['name']}, "
                "which computes on the CPU: leave it out, or choose another trainer."
            )
        if trainer["accelerator"] == "gpu" and self.gpus_per_node < trainer["devices"]:
            raise UserError(
                f"hydra.launcher.gpus_per_node={self.gpus_per_node} is less than "
                f"trainer.devices={trainer['devices']}: leave it out, or raise it."
            )

    def sbatch(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What a run asks the cluster for, under submitit's names."""
        trainer = config["trainer"]
        tasks, on_cpu = trainer["devices"], trainer["accelerator"] == "cpu"
        gpus = self.gpus_per_node if self.gpus_per_node is not None else (0 if on_cpu else tasks)
        cores = [] if self.cpus_per_task is None else [f"--cpus-per-task={self.cpus_per_task}"]  # srun forgets it
        asked = {
            "job_name": config["sweep"],
            "nodes": trainer["num_nodes"],
            "ntasks_per_node": tasks,
            "gpus_per_node": gpus or None,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "time": self.time,
            "cpus_per_task": self.cpus_per_task,
            "mem": self.mem,
        }
        own = {
            "wckey": None,  # submitit's, which a cluster may refuse
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": self.signal_delay,
            "setup": list(self.setup) or None,
            "srun_args": [*cores, "--kill-on-bad-exit=1"],  # or the other ranks wait for the one that failed
            "additional_parameters": {"requeue": True},
        }
        return asked | own


def shown(asked: Mapping[str, Any]) -> str:
    """The resources of a request, for a message."""
    return ", ".join(f"{name}={asked[name]}" for name in RESOURCES if asked[name] is not None)
