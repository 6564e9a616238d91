"""Memory: the most a training process holds, and what one more process of a sweep costs for its data.

Read from ``/proc``. Resident: all pages a process has in memory, also those it shares with the server it was forked
from. Private (USS): those that only it has, which the machine gets back when it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from benchmarks.measure import Figure, Part, alternate, figures
from benchmarks.runs import finish, wait_for_server
from benchmarks.settings import FER2013, Settings
from fersweep import build
from fersweep.config.schema import Config, to_dict
from fersweep.data.samples import Samples
from fersweep.errors import UserError
from fersweep.sweep.local.processes import RunProcesses
from fersweep.training import results as record
from fersweep.training.attempt import prepare

MAPPED, COPIED = "its data, as here a memory map", "its data, were they a copy"


def measure(settings: Settings) -> Part:
    """Peaks of training processes of every backbone and batch size, and what one more process costs, in MiB."""
    build.samples(settings.compose())
    wait_for_server()
    part, seeds = Part(), count(1)
    for case, overrides in settings.cases():
        own = (*overrides, "recipe.max_epochs=1", "trainer.limit_batches=3")
        cfgs = [settings.compose(*own, f"seed={next(seeds)}") for _ in range(settings.repeats)]
        peaks = zip(*(_peaks(cfg, settings.threads) for cfg in cfgs), strict=True)
        part.figures += figures("MiB", case, dict(zip(("peak resident", "peak private"), peaks, strict=True)))
    small, full = (settings.compose(f"dataset.source.size={size}") for size in (70, 700 if settings.smoke else FER2013))
    part.figures += _one_more(small, full, settings.repeats)
    part.notes.append(
        "Peaks are of the process of a run, forked from a sweep's server. One more process: what is private to it, "
        "beside another that has read the same data."
    )
    return part


def refuse_without_proc() -> None:
    """Raise UserError on a system that does not say what a process holds."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise UserError("The part memory reads /proc/self/smaps_rollup, which only Linux has: name other parts.")


def _peaks(cfg: DictConfig, threads: int) -> tuple[float, float]:
    """The most that the process of a run had resident, as the system counted, and private, looked at now and then."""
    config, directory = prepare(cfg)
    run = RunProcesses(config, directory, threads)
    process = Path(f"/proc/{run.processes[0].pid}")
    resident = private = 0.0

    def look() -> None:
        nonlocal resident, private
        with contextlib.suppress(OSError):  # it has ended
            resident = max(resident, _mib(process / "status", "VmHWM"))
            private = max(private, _mib(process / "smaps_rollup", r"Private_\w+"))

    finish(run, look)
    shutil.rmtree(directory)
    return resident, private


def _one_more(small: DictConfig, cfg: DictConfig, repeats: int) -> list[Figure]:
    """What is private to one more process of a sweep: when it starts, and for a dataset that others have read too.

    ``small`` has another dataset, which is read before: what only reading itself takes does not count.
    """
    samples = build.samples(cfg)
    configs, starts = (to_dict(small), to_dict(cfg)), list[float]()

    def cost(copied: bool) -> float:
        with _reader(configs, copied) as (start, before, after):
            starts.append(start)
            return after - before

    with _reader(configs, False):
        costs = alternate({MAPPED: partial(cost, False), COPIED: partial(cost, True)}, repeats, warm_up=False)
    case = {"images": len(samples)}
    given = {"images, decoded": [samples.images.nbytes / 2**20], "one more process, at its start": starts}
    return figures("MiB", case, given) + figures("MiB", case, costs, {MAPPED: COPIED})


@contextmanager
def _reader(configs: tuple[dict[str, Any], dict[str, Any]], copied: bool) -> Iterator[tuple[float, float, float]]:
    """A process forked from the server that has read both datasets and lives on; yields what `_read` says of itself."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=_read, args=(*configs, copied, there))
    process.start()
    there.close()  # so that the end of the process is noticed
    try:
        yield here.recv()
    finally:
        here.close()
        process.join()


def _read(small: Mapping[str, Any], config: Mapping[str, Any], copied: bool, told: Connection) -> None:
    """Say what is private at the start, with one dataset and with both; stay until the other side closes."""
    start = _private()
    kept = [_samples(small, copied)]
    before = _private()
    kept.append(_samples(config, copied))
    told.send((start, before, _private()))
    with contextlib.suppress(EOFError):
        told.recv()


def _samples(config: Mapping[str, Any], copied: bool) -> Samples:
    """The dataset of a run, every image of it read."""
    cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
    assert isinstance(cfg, DictConfig)
    samples = build.samples(cfg)
    if copied:
        samples = replace(samples, images=np.array(samples.images))
    record.data_digest(samples)
    return samples


def _private() -> float:
    return _mib(Path("/proc/self/smaps_rollup"), r"Private_\w+")


def _mib(file: Path, name: str) -> float:
    """The sum of the lines of a file in ``/proc`` that have this name (a pattern), in MiB."""
    return sum(int(kib) for kib in re.findall(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)) / 1024
