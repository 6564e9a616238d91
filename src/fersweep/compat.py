"""Private parts of other libraries that this project relies on, one function each.

Each function states what it reaches for, why no public interface serves, and the version it was checked with.
``tests/test_compat.py`` fails when a library changes one of them. Importing this module imports none of the libraries.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from filelock import SoftFileLease


def hydra_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's command line, to check arguments before Hydra sees them.

    ``hydra._internal.utils.get_args_parser`` (1.3.8): `hydra.main` parses and runs at once.
    """
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def hydra_sweeper() -> type:
    """Return Hydra's sweeper over all combinations, for subclassing.

    ``hydra._internal.core_plugins.basic_sweeper.BasicSweeper`` (1.3.8): `hydra.plugins` has the abstract one only.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    return BasicSweeper


def count_every_requeue() -> None:
    """Make submitit count every interruption against ``max_num_timeout``, even if the job has no time limit.

    ``_timeout_min`` and ``_timeout_countdown`` of the submission that submitit's handler of SIGUSR2 holds (1.5.4):
    submitit counts an interruption as a time-out where 80 % of the limit has passed, and fails without a limit. With a
    limit of 0 minutes each interruption counts.
    """
    handler: Any = signal.getsignal(signal.SIGUSR2)
    delayed = handler.__self__._delayed
    if delayed._timeout_min is None:
        delayed.set_timeout(0, delayed._timeout_countdown)


@cache
def lease_with_place(name: Callable[[str], str], sees_own_processes: Callable[[], bool]) -> type[SoftFileLease]:
    """Return filelock's lease under an owner whose host ``name`` extends, by boot and PID namespace.

    ``SoftFileLease._published_record`` (3.32): filelock takes a hostname for the place of a process number, and breaks
    the lock of a live process of another container with the same hostname. ``sees_own_processes`` tells whether the
    start of the process, which is read from ``/proc``, can be its own.
    """
    from filelock import SoftFileLease

    class Lease(SoftFileLease):
        def _published_record(self) -> Any:
            record = super()._published_record()
            start = record.start if sees_own_processes() else None
            return record._replace(hostname=name(record.hostname), start=start)

    return Lease


def disable_signal_handlers(trainer: pl.Trainer) -> None:
    """Keep Lightning from handling signals during ``trainer.fit``.

    ``Trainer._signal_connector`` (2.6.6): on SIGTERM it waits for the other ranks, which may be waiting for this one,
    and the Trainer has no argument to turn it off.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def attached_trainer(module: pl.LightningModule) -> pl.Trainer | None:
    """Return the trainer of a module, or ``None`` outside of one.

    ``LightningModule._trainer`` (2.6.6): the property ``trainer`` raises without one.
    """
    return module._trainer


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 numbers in hardware (AVX-512 BF16).

    ``torch.cpu._is_avx512_bf16_supported`` (2.15): ``torch.cpu.get_capabilities`` is public, but not in torch 2.9.
    """
    import torch

    return torch.cpu._is_avx512_bf16_supported()


def wandb_specification(page: Any) -> dict[str, Any]:
    """Return what saving a report or workspace would send to Weights & Biases, as plain containers.

    ``_to_model`` of both classes of wandb-workspaces (0.4.13), which otherwise only send it.
    """
    plain: dict[str, Any] = page._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain


def wandb_views(entity: str, project: str, kind: str) -> list[Any]:
    """Return the reports (``runs``) or saved workspaces (``project-view``) of a project, as W&B's `BetaReport`.

    ``Reports.variables`` (wandb 0.31): `Api.reports` lists reports alone; the query behind it has a ``viewType``.
    """
    import wandb

    api = wandb.Api(overrides={"entity": entity})  # else it asks for the default
    found: Any = api.reports(f"{entity}/{project}")  # each `Api` keeps a list by project alone
    found.variables["viewType"] = kind
    return list(found)


def wandb_in_place(page: Any, view: Any) -> None:
    """Make saving a new report or workspace replace an existing one, with the comments on it.

    ``_internal_id`` and ``_internal_name`` of a workspace, ``_discussion_threads`` of a report (wandb-workspaces
    0.4.13): their ``from_url`` sets them too, but fails on an existing one with blocks or panels that it does not know.
    """
    if hasattr(page, "_internal_id"):
        page._internal_id, page._internal_name = view.id, view.name
    else:
        page.id = view.id
        page._discussion_threads = list(view.spec.get("discussionThreads") or [])
