"""Memory: the peak of a training process, and the cost of the data in one more process of a sweep.

Read from ``/proc``. Resident: all pages of a process in memory, including those shared with the server it was forked
from. Private (USS): those of this process alone, which are freed when it ends.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from benchmarks.measure import Figure, Part, compare, figures
from benchmarks.runs import finish, forked, new_seed, wait_for_server
from benchmarks.settings import FER2013, Settings
from fersweep import build
from fersweep.data.samples import Samples
from fersweep.sweep.local.processes import RunProcesses
from fersweep.training import results
from fersweep.training.attempt import prepare

MAPPED, COPIED = "its data as a memory map (as fersweep does)", "its data as a copy"
NOTE = (
    "Peaks are of the process of a run, forked from a sweep's server. One more process: its private memory, beside "
    "another that has read the same data."
)


def measure(settings: Settings) -> Part:
    """Measure peaks of training processes of every backbone and batch size, and one more process, in MiB."""
    build.samples(settings.compose())
    wait_for_server()
    part = Part(notes=[NOTE])
    for case, overrides in settings.cases():
        own = (*overrides, "recipe.max_epochs=1", "trainer.limit_batches=3")
        peaks = [_peaks(settings.compose(*own, new_seed()), settings.threads) for _ in range(settings.repeats)]
        resident, private = zip(*peaks, strict=True)
        part.figures += figures("MiB", case, {"peak resident": resident, "peak private": private})
    small, full = (settings.compose(f"dataset.source.size={size}") for size in (70, 700 if settings.smoke else FER2013))
    part.figures += one_more(small, full, settings.repeats)
    return part


def _peaks(cfg: DictConfig, threads: int) -> tuple[float, float]:
    """Return the peaks of a run's process: resident, as the system counts it, and private, sampled every 20 ms."""
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


def one_more(small: DictConfig, cfg: DictConfig, repeats: int) -> list[Figure]:
    """Measure the private memory of one more process: at its start, and for a dataset that another has read too.

    Each process first reads ``small``, another dataset, so that the memory of reading itself does not count.
    """
    samples = build.samples(cfg)
    starts: list[float] = []

    def cost(copied: bool) -> float:
        with forked(_read, small, cfg, copied) as process:
            start, before, after = process.recv()
        starts.append(start)
        return float(after - before)

    case = {"images": len(samples)}
    with forked(_read, small, cfg, False) as other:
        other.recv()
        candidates = {MAPPED: partial(cost, False), COPIED: partial(cost, True)}
        costs = compare("MiB", case, candidates, repeats, to=COPIED, warm_up=False)
    given = {"images, decoded": [samples.images.nbytes / 2**20], "one more process, at its start": starts}
    return figures("MiB", case, given) + costs


def _read(small: DictConfig, cfg: DictConfig, copied: bool, parent: Connection) -> None:
    """Send the private memory at the start, with one dataset and with both; stay until the parent closes."""
    start = _private()
    kept = [_samples(small, copied)]
    before = _private()
    kept.append(_samples(cfg, copied))
    parent.send((start, before, _private()))
    with contextlib.suppress(EOFError):
        parent.recv()


def _samples(cfg: DictConfig, copied: bool) -> Samples:
    """Return the dataset of a run after reading every image."""
    samples = build.samples(cfg)
    if copied:
        samples = replace(samples, images=np.array(samples.images))
    results.data_digest(samples)
    return samples


def _private() -> float:
    return _mib(Path("/proc/self/smaps_rollup"), r"Private_\w+")


def _mib(file: Path, name: str) -> float:
    """Return the sum of the lines of a file in ``/proc`` whose names match a pattern, in MiB."""
    return sum(int(kib) for kib in re.findall(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)) / 1024
