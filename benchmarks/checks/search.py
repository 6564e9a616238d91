"""Searches on the drawn faces.

halving: random search trains 40 trials to the end; ASHA gets half of its epochs, and should find as accurate a network.
kills: a search is killed at ten random moments and started again each time; nothing may be lost or trained twice.
twice: two commands work on one search at the same time, and share its trials.

The first guarantee that does not hold ends the program with exit code 1; the accuracies of `halving` are reported.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.checks.chaos import Sweep, check, epochs, kill_session, owner
from fersweep.runs.trials import Search, read

SPACE = (
    "recipe.optimizer.lr=tag(log, interval(0.0001, 0.3))",
    "recipe.optimizer.weight_decay=tag(log, interval(0.00001, 0.1))",
    "recipe.mixup=interval(0, 1)",
    "activation=choice(relu,elu,selu)",
)
"""Seven in ten of its points learn little."""

QUICK = ("backbone.model.widths=[16,16,16]", "dataset.source.size=350", "recipe.batch_size=32")
"""A network and data of a second an epoch, which hardly learns: for what a search keeps."""

LEARNING = (
    "backbone.model.widths=[16,32,32]",
    "dataset.source.size=2800",
    "recipe.batch_size=16",
    "augmentation=none",
)
"""Good settings get half of 280 validation images right after nine epochs: for what a search finds."""


def sweep(folder: Path, name: str, length: int, network: Sequence[str], *settings: str) -> Sweep:
    """Return the command of a search with runs of ``length`` epochs."""
    ours = [each if each.startswith("recipe") else f"hydra.sweeper.{each}" for each in settings]
    command = ("hydra/sweeper=search", f"sweep={name}", f"recipe.max_epochs={length}", *network, *SPACE, *ours)
    return Sweep(folder, *command)


def found(made: Sweep, name: str) -> Search:
    """Return the search of a command that has ended."""
    search = read(made.folder / "outputs" / name)
    assert search is not None
    return search


def trained(made: Sweep) -> int:
    """Return the epochs that all runs below a folder have trained."""
    return sum(epochs(directory) for directory in made.directories())


def reached(made: Sweep, accuracy: float) -> int | None:
    """Return after how many epochs of all runs together one had this validation accuracy, by the times in the logs."""
    epoch = re.compile(r"(\S+ \S+) INFO fersweep: epoch .*  val loss \S+ accuracy (\S+) ")
    logs = [(each / "train.log").read_text() for each in made.directories()]
    known = sorted((found[1], float(found[2])) for log in logs for found in epoch.finditer(log))
    return next((number for number, (_, each) in enumerate(known, 1) if each >= accuracy - 5e-5), None)


def spread(values: Iterable[float]) -> str:
    """Return ``median (least to greatest)``."""
    each = sorted(values)
    return f"{statistics.median(each):.3f} ({each[0]:.3f} to {each[-1]:.3f})"


def halving(folder: Path, repeats: int, trials: int, length: int, network: Sequence[str]) -> None:
    """Compare ASHA with random search at half of its epochs."""
    rows = []
    for repeat in range(1, repeats + 1):
        random_search = plain(folder / f"random-{repeat}", trials, length, network, repeat)
        budget = trials * length // 2
        asha = sweep(
            folder / f"asha-{repeat}", "asha", length, network, "trials=null", f"epochs={budget}", f"seed={repeat}"
        )
        asha.command += ["hydra.sweeper.sampler=random", "hydra.sweeper.pruner=asha"]
        best, spent, begun = [], [], time.monotonic()
        for made, name in ((random_search, "tune"), (asha, "asha")):
            code, output = made.run()
            check(code == 0, f"{name} {repeat} succeeds" if code == 0 else output)
            winner = found(made, name).best
            assert winner is not None
            assert winner.value is not None
            best.append(winner.value)
            spent.append(trained(made))
        rows.append((*best, spent[1] / spent[0]))
        tried = sum(trial.counts for trial in found(asha, "asha").trials)
        print(
            f"  {repeat}: random {best[0]:.3f} in {spent[0]} epochs, ASHA {best[1]:.3f} in {spent[1]}, {tried} trials; "
            f"ASHA has {best[0]:.3f} after {reached(asha, best[0])}; {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    print(f"  validation accuracy of the best: random {spread(row[0] for row in rows)}")
    print(f"                                     ASHA {spread(row[1] for row in rows)}")
    print(f"  ASHA minus random: {spread(row[1] - row[0] for row in rows)}")
    print(f"  epochs, ASHA / random: {spread(row[2] for row in rows)}")
    print(f"  ASHA is at least as accurate in {sum(row[1] >= row[0] for row in rows)} of {len(rows)}")


def plain(folder: Path, trials: int, length: int, network: Sequence[str] = QUICK, seed: int = 1) -> Sweep:
    """Return a search whose trials do not depend on the order in which runs end."""
    return sweep(folder, "tune", length, network, f"trials={trials}", f"seed={seed}", "sampler=random", "pruner=none")


def undisturbed(folder: Path, trials: int, length: int) -> Search:
    """Return the search, run if it is new, of a command that nothing interrupts, with the processes of this machine."""
    made = plain(folder, trials, length)
    if not made.directories():
        code, output = made.run()
        check(code == 0, "undisturbed" if code == 0 else output)
    return found(made, "tune")


def compare(one: Search, made: Sweep) -> None:
    """Check that a disturbed search found what an undisturbed one did, with one run for each trial."""
    other, trials = found(made, "tune"), len(one.trials)
    same = [trial.overrides for trial in one.trials] == [trial.overrides for trial in other.trials if trial.counts]
    check(same, "the same trials in the same order")
    check(all(t.state == "done" for t in other.trials if t.counts), f"all {trials} are done: none lost")
    check(len(made.directories()) == trials, "one run for each: none twice")
    assert one.best is not None
    assert other.best is not None
    check(one.best.overrides == other.best.overrides and one.best.value == other.best.value, "the same best")


def kills(
    folder: Path,
    moments: int,
    trials: int,
    length: int,
    seed: int,
    latest: float,
    on: Sequence[str],
    whole: Path | None = None,
) -> None:
    """Kill a search ``moments`` times, up to ``latest`` seconds after one of its runs is at work.

    On a cluster (``on`` chooses its launcher) every second kill ends the processes of its jobs, too. The undisturbed
    search is that of the folder ``whole``, or made.
    """
    one = undisturbed(whole or folder / "undisturbed", trials, length)
    disturbed = plain(folder / "disturbed", trials, length)
    disturbed.command += on
    rng, killed, over = random.Random(seed), 0, False
    while killed < moments and not over:
        process = disturbed.start()
        while process.poll() is None and not any(owner(each) for each in disturbed.directories()):
            time.sleep(0.01)
        try:
            process.wait(timeout=rng.uniform(0, latest))
            over = True
        except subprocess.TimeoutExpired:
            kill_session(process.pid)
            if on and killed % 2:
                kill_jobs(disturbed)
            killed += 1
            progress = [f"{epochs(each)}/{length}" for each in disturbed.directories()]
            print(f"  kill {killed}: {', '.join(progress) or 'no run started'}", flush=True)
        process.communicate()
    code, output = disturbed.run()
    check(code == 0, f"after {killed} kills the same command succeeds" if code == 0 else output)
    compare(one, disturbed)


def kill_jobs(made: Sweep) -> None:
    """Send SIGKILL to the processes that train, wherever they belong."""
    for pid in filter(None, map(owner, made.directories())):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            continue


def twice(folder: Path, trials: int, length: int, on: Sequence[str]) -> None:
    """Give one search to two commands at the same time."""
    one = undisturbed(folder / "undisturbed", trials, length)
    shared = plain(folder / "shared", trials, length)
    shared.command += on
    both = [shared.start(), shared.start()]
    outputs = [process.communicate(timeout=1800)[0] for process in both]
    good = [process.returncode for process in both] == [0, 0]
    check(good, "both commands succeed" if good else "\n".join(outputs))
    compare(one, shared)
    attempts = [status["attempts"] for status in shared.states().values()]
    check(attempts == [1] * trials, f"every run was trained once: attempts {attempts}")
    workers = Counter(trial.driver for trial in found(shared, "tune").trials)
    print(f"  trials of each command: {sorted(workers.values())}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="halving, kills, twice; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="of halving; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="keep the runs there, where the same command goes on")
    parser.add_argument("--kills", type=int, default=10, help="moments to kill at; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at; default: %(default)s")
    parser.add_argument("--latest", type=float, default=3, help="seconds to a kill, at most; default: %(default)s")
    parser.add_argument("--slurm", action="store_true", help="kills and twice: disturbed runs are jobs of this cluster")


def run(asked: argparse.Namespace) -> int:
    """Run the checks that are named."""
    with tempfile.TemporaryDirectory(prefix="fersweep-search-") as name:
        folder = asked.folder or Path(name)
        on = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1") if asked.slurm else ()
        scenes = {
            "halving": lambda: halving(folder / "halving", asked.repeats, 40, 9, LEARNING),
            "kills": lambda: kills(folder / "kills", asked.kills, 6, 9, asked.seed, latest=asked.latest, on=on),
            "twice": lambda: twice(folder / "twice", 6, 4, on),
        }
        if asked.smoke:  # `kills` compares with the random search of `halving`, and has its cache
            whole = folder / "halving" / "random-1"
            scenes = {
                "halving": lambda: halving(folder / "halving", 1, 2, 2, QUICK),
                "kills": lambda: kills(folder / "halving", 1, 2, 2, asked.seed, latest=1, on=(), whole=whole),
            }
        for scene in asked.names or scenes:
            print(scene, flush=True)
            scenes[scene]()
    return 0
