"""Settings of the SLURM launcher, and the resources that a run requests with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fersweep.errors import UserError

if TYPE_CHECKING:
    from fersweep.sweep.plan import Planned


@dataclass
class Settings:
    """Section ``hydra.launcher``, see ``conf/hydra/launcher/slurm.yaml``; ``None`` leaves a setting to the cluster."""

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
    freeze_code: bool = False

    def check(self, runs: Sequence[Planned]) -> None:
        """Raise UserError for settings that cannot work with these runs."""
        least = {"time": 1, "gpus_per_node": 0, "cpus_per_task": 1, "array_parallelism": 1}
        least |= {"signal_delay": 1, "max_requeues": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"hydra.launcher.{name}={value} is out of range: {minimum} or more.")
        if self.time is not None and self.signal_delay >= self.time * 60:
            raise UserError(
                f"hydra.launcher.signal_delay={self.signal_delay} (seconds) is not shorter than "
                f"hydra.launcher.time={self.time} (minutes): lower it, or raise the time."
            )
        for run in runs:
            self._check_gpus(run.config["trainer"])

    def _check_gpus(self, trainer: Mapping[str, Any]) -> None:
        if self.gpus_per_node is None:
            return
        if trainer["accelerator"] == "cpu" and self.gpus_per_node > 0:
            raise UserError(
                f"hydra.launcher.gpus_per_node={self.gpus_per_node} has no effect with trainer={trainer['name']}, "
                "which uses the CPU: omit it, or choose another trainer."
            )
        if trainer["accelerator"] == "gpu" and self.gpus_per_node < trainer["devices"]:
            raise UserError(
                f"hydra.launcher.gpus_per_node={self.gpus_per_node} is less than "
                f"trainer.devices={trainer['devices']}: omit it, or raise it."
            )

    def resources(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the resources that a run requests, under submitit's names; ``None`` leaves one to the cluster."""
        trainer = config["trainer"]
        tasks, on_cpu = trainer["devices"], trainer["accelerator"] == "cpu"
        gpus = self.gpus_per_node if self.gpus_per_node is not None else (0 if on_cpu else tasks)
        return {
            "nodes": trainer["num_nodes"],
            "ntasks_per_node": tasks,
            "gpus_per_node": gpus or None,
            "cpus_per_task": self.cpus_per_task,
            "mem": self.mem,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
        }

    def sbatch(self, config: Mapping[str, Any], last: Sequence[str] = ()) -> dict[str, Any]:
        """Return all parameters of a run's job under submitit's names, with ``last`` as further lines of its set-up."""
        cores = [] if self.cpus_per_task is None else [f"--cpus-per-task={self.cpus_per_task}"]
        return self.resources(config) | {
            "job_name": config["sweep"],
            "wckey": None,  # submitit sets one, which a cluster may refuse
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": self.signal_delay,
            "setup": [*self.setup, *last] or None,
            "srun_args": [*cores, "--kill-on-bad-exit=1"],  # srun inherits no cores; a failed rank must end the others
            "additional_parameters": {"requeue": True},
        }

    def request(self, config: Mapping[str, Any]) -> str:
        """Return the requested resources in words."""
        return ", ".join(f"{name}={value}" for name, value in self.resources(config).items() if value is not None)
