"""Damaged and hostile input: pictures, archives, tables, runs, checkpoints, command lines, files of options.

Valid small files are damaged and given to the commands. Each must succeed or refuse in one sentence with exit code 2:
without a traceback, a warning or a control character on the terminal, within --seconds, with less than 1 GiB of further
memory. A checkpoint with damaged bytes must not load with changed content. Exit code 1 if one does not hold.

The commands run in another process, which is replaced where an input crashes it or takes too long.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from benchmarks.fuzzing.judge import Verdict, judge
from benchmarks.fuzzing.kinds import KINDS, trial
from benchmarks.fuzzing.material import Material, make
from fersweep.errors import UserError

SMALL = 2
"""Inputs of each kind with ``--smoke``."""

START = 120
"""Seconds that a process may take to start, beside those of its first input."""


CONTEXT = multiprocessing.get_context("spawn")


@dataclass
class Tally:
    """Outcomes of the inputs of one kind: their number, refusals, and the faults by the number of the input."""

    inputs: int = 0
    refused: int = 0
    faults: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, number: int, verdict: Verdict) -> None:
        """Count an input."""
        self.inputs += 1
        self.refused += verdict.refused
        if verdict.faults:
            self.faults[number] = verdict.faults

    def __str__(self) -> str:
        accepted, faults = self.inputs - self.refused, len(self.faults)
        return f"{self.inputs:>6,} inputs {self.refused:>6,} refused {accepted:>6,} accepted {faults:>5,} with faults"


def one(kind: str, number: int, seed: int, material: Material, folder: Path) -> Verdict:
    """Damage one input, run its commands in this process, and remove its files."""
    place, here = folder / f"{kind}-{number}", Path.cwd()
    try:
        asked = trial(kind, number, seed, material, place)
        os.chdir(place)
        return judge(asked)
    finally:
        os.chdir(here)
        shutil.rmtree(place, ignore_errors=True)


def _work(pipe: Connection, seed: int, material: Material, folder: Path) -> None:
    """Answer kinds and numbers of inputs with their verdicts until the other end closes."""
    while True:
        try:
            kind, number = pipe.recv()
        except EOFError:
            return
        pipe.send(one(kind, number, seed, material, folder))


class Worker:
    """A process that runs inputs; it is replaced after an input that crashes it or takes too long."""

    def __init__(self, seed: int, material: Material, folder: Path, seconds: float) -> None:
        self.arguments = (seed, material, folder)
        self.seconds = seconds
        self.process: SpawnProcess | None = None

    def run(self, kind: str, number: int) -> Verdict:
        """Run one input; a crash or a hang is its fault."""
        limit = self.seconds
        if self.process is None:
            self.pipe, theirs = CONTEXT.Pipe()
            self.process = CONTEXT.Process(target=_work, args=(theirs, *self.arguments), daemon=True)
            self.process.start()
            theirs.close()
            limit += START
        self.pipe.send((kind, number))
        try:
            if self.pipe.poll(limit):
                verdict: Verdict = self.pipe.recv()
                return verdict
            fault = f"takes more than {self.seconds:g} s"
        except EOFError:
            self.process.join()
            fault = f"ends the process with {self.process.exitcode}"
        self.close()
        return Verdict(False, (fault,))

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kinds", metavar="KIND", nargs="*", help=f"{', '.join(KINDS)}; default: all")
    parser.add_argument("--inputs", metavar="N", type=int, default=3000, help="of all kinds together; default: 3000")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the damage; default: 0")
    parser.add_argument("--first", metavar="N", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=30.0, help="longest time of an input; default: 30"
    )


def run(asked: argparse.Namespace) -> int:
    """Run the kinds that are named and print their figures."""
    names = asked.kinds or list(KINDS)
    if unknown := [name for name in names if name not in KINDS]:
        raise UserError(f"Unknown kind {unknown[0]!r}; choices: {', '.join(KINDS)}.")
    each = SMALL if asked.smoke else -(-asked.inputs // len(names))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fersweep-fuzz-") as name:
        folder = Path(name)
        material = make(folder / "material")
        worker = Worker(asked.seed, material, folder, asked.seconds)
        for kind in names:
            begun, tally = time.monotonic(), Tally()
            for number in range(asked.first, asked.first + each):
                here = asked.smoke  # without the seconds in which a process starts
                verdict = one(kind, number, asked.seed, material, folder) if here else worker.run(kind, number)
                tally.add(number, verdict)
                for fault in verdict.faults:
                    print(f"  {kind} {number}: {fault}", flush=True)
            failed += len(tally.faults)
            print(f"{kind:<12} {tally}  {time.monotonic() - begun:.0f} s", flush=True)
        worker.close()
    return int(failed > 0)
