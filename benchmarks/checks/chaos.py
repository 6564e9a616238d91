"""Sweeps that are interrupted and killed.

failures: of 12 runs, one raises, one is killed, one runs out of memory; the same command again runs only those three.
kills: a sweep is killed at random moments and started again each time, and must end like an undisturbed one.
twice: the same sweep in two processes at once trains every run exactly once.

The first thing that does not hold ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.parts.startup import TRAIN
from fersweep.runs.lock import is_locked

TINY = (
    "backbone=aer_cnn",
    "trainer=cpu",
    "trainer.precision=32",
    "dataset.image_size=32",
    "dataset.source.size=140",
    "recipe.batch_size=16",
)
"""A run of seconds, with a real network."""


class Sweep:
    """One command line in one folder."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        self.command = [sys.executable, str(TRAIN), "-m", *TINY, f"cache={folder.parent / 'cache'}", *overrides]
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> subprocess.Popen[str]:
        """Start it in a new session, which all its child processes belong to."""
        environment = {**os.environ, "WANDB_MODE": "offline"}
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str]:
        """Run it to its end; return exit code and output."""
        process = self.start()
        output, _ = process.communicate(timeout=1800)
        return process.returncode, output

    def directories(self) -> list[Path]:
        """Return the directories of all runs so far, by name."""
        return sorted(path.parent for path in self.folder.glob("outputs/*/*/status.json"))

    def states(self) -> dict[Path, dict[str, Any]]:
        """Return ``status.json`` of each run."""
        return {each: json.loads((each / "status.json").read_text()) for each in self.directories()}


def check(condition: bool, sentence: str) -> None:
    """Print a finding; end the program if it does not hold."""
    print(f"  {'holds' if condition else 'FAILS'}: {sentence}", flush=True)
    if not condition:
        raise SystemExit(1)


def owner(directory: Path) -> int | None:
    """Return the process that owns a run's lock, if it is alive."""
    try:
        found = re.search(r"^pid=(\d+)$", (directory / ".lock").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return int(found[1]) if found and is_locked(directory) else None


def kill_session(session: int) -> None:
    """Send SIGKILL to every process of a session and wait for their end."""
    for pid in living(session):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while living(session):
        time.sleep(0.01)


def living(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                members.append(int(entry.name))
    return members


def epochs(directory: Path) -> int:
    """Return the number of finished epochs of a run."""
    file = directory / "history.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of files and results that differ between two finished runs, except times."""
    differ = []
    for name in ("best", "last"):
        left, right = (
            torch.load(d / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"] for d in (one, other)
        )
        if left.keys() != right.keys() or not all(torch.equal(left[key], right[key]) for key in left):
            differ.append(f"{name}.ckpt")
    tables = [pd.read_parquet(each / "predictions.parquet") for each in (one, other)]
    if not tables[0].equals(tables[1]):
        differ.append("predictions.parquet")
    histories = [pd.read_csv(each / "history.csv").drop(columns="seconds") for each in (one, other)]
    if not histories[0].equals(histories[1]):
        differ.append("history.csv")
    results = [json.loads((each / "result.json").read_text()) for each in (one, other)]
    return differ + [key for key in ("metrics", "best_epoch", "epochs") if results[0][key] != results[1][key]]


def seeds(runs: int) -> str:
    """Return the value of an override that sweeps over seeds."""
    return ",".join(str(seed) for seed in range(1, runs + 1))


def failures(folder: Path, runs: int) -> None:
    """Check a sweep of which one run raises, one is killed, one runs out of memory."""
    sweep = Sweep(folder, f"seed={seeds(runs)}", "recipe.max_epochs=2", "hydra.launcher.n_jobs=2")
    process = sweep.start()
    begun, sabotaged = time.monotonic(), {}
    while process.poll() is None and time.monotonic() - begun < 1800:
        for directory in sweep.directories():
            seed = re.search(r"-s(\d+)-", directory.name)[1]  # type: ignore[index]
            if seed not in sabotaged and (done := sabotage(directory, seed)):
                sabotaged[seed] = done
        time.sleep(0.005)
    output, seconds = process.communicate()[0], time.monotonic() - begun
    states = [status["state"] for status in sweep.states().values()]
    print(output[output.index("runs failed:") - 8 :] if "runs failed:" in output else output)
    check(len(sabotaged) == 3, f"three runs were disturbed: {sabotaged}")
    check(states.count("done") == runs - 3 and states.count("failed") == 3, f"{runs - 3} done and 3 failed")
    check(process.returncode == 1, f"exit code 1, after {seconds:.1f} s with 2 at a time")
    run_again(sweep)


def sabotage(directory: Path, seed: str) -> str | None:
    """Disturb the run of seed 1, 2 or 3, as soon as it has got far enough; return how."""
    if seed == "1":
        (directory / "checkpoints").write_text("not a folder")  # creating it raises
        return "raised"
    pid = owner(directory)
    if seed not in ("2", "3") or not pid or not (directory / "history.csv").exists():
        return None
    if seed == "2":
        os.kill(pid, signal.SIGKILL)
        return "killed"
    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    return "out of memory"


def run_again(sweep: Sweep) -> None:
    """Check that the same command runs the three failed runs, and only those."""
    before = {d: (d / "result.json").stat().st_mtime_ns for d, s in sweep.states().items() if s["state"] == "done"}
    blocked = next(d for d in sweep.directories() if (d / "checkpoints").is_file())
    (blocked / "checkpoints").unlink()
    begun = time.monotonic()
    code, _ = sweep.run()
    states = list(sweep.states().values())
    check(code == 0 and all(status["state"] == "done" for status in states), "the same command again: all done")
    check(sum(status["attempts"] == 2 for status in states) == 3, f"of them 3 ran, in {time.monotonic() - begun:.1f} s")
    check(all((d / "result.json").stat().st_mtime_ns == stamp for d, stamp in before.items()), "the others untouched")


def kills(folder: Path, moments: int, runs: int, length: int, seed: int, latest: float) -> None:
    """Check a sweep that is killed ``moments`` times, up to ``latest`` seconds after its first run has started."""
    overrides = (f"seed={seeds(runs)}", f"recipe.max_epochs={length}", "hydra.launcher.n_jobs=2")
    undisturbed = Sweep(folder / "undisturbed", *overrides)
    begun = time.monotonic()
    if not undisturbed.directories():
        code, output = undisturbed.run()
        check(code == 0, f"undisturbed, in {time.monotonic() - begun:.1f} s" if code == 0 else output)
    disturbed, rng, killed, forgotten = Sweep(folder / "disturbed", *overrides), random.Random(seed), 0, 0
    while killed < moments:
        if kill(disturbed, early=killed % 4 == 3, delay=rng.uniform(0, latest)):
            killed += 1
            progress = [f"{status['state']} {epochs(each)}/{length}" for each, status in disturbed.states().items()]
            print(f"  kill {killed}: {', '.join(progress) or 'no run started'}", flush=True)
        else:  # it was done before
            for directory in rng.sample(disturbed.directories(), 2):
                shutil.rmtree(directory)
                forgotten += 1
    code, output = disturbed.run()
    check(code == 0, f"after {moments} kills the same command succeeds" if code == 0 else output)
    print(f"  runs that finished too early and were removed: {forgotten}")
    pairs = zip(undisturbed.directories(), disturbed.directories(), strict=True)
    differ = {one.name: found for one, other in pairs if (found := differences(one, other))}
    check(not differ, f"equal to the undisturbed sweep, bit for bit {differ or ''}")
    left = [path.name for path in disturbed.folder.rglob(".*") if path.name != ".lock"]
    check(not left, f"no half-written file is left {left or ''}")


def kill(sweep: Sweep, early: bool, delay: float) -> bool:
    """Start a sweep and kill all its processes; return whether it was still running.

    It is killed ``delay`` seconds after its start (``early``), or after that of its first run.
    """
    process = sweep.start()
    while not early and process.poll() is None and not any(owner(each) for each in sweep.directories()):
        time.sleep(0.01)
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
    process.communicate()
    return process.returncode != 0


def twice(folder: Path, runs: int, length: int) -> None:
    """Check one sweep that is started by two commands at once."""
    sweep = Sweep(folder, f"seed={seeds(runs)}", f"recipe.max_epochs={length}")
    begun = time.monotonic()
    both = [sweep.start(), sweep.start()]
    outputs = [process.communicate(timeout=1800)[0] for process in both]
    good = [process.returncode for process in both] == [0, 0]
    check(good, f"both succeed, after {time.monotonic() - begun:.1f} s" if good else str(outputs))
    attempts = [status["attempts"] for status in sweep.states().values()]
    check(attempts == [1] * runs, f"every run was trained exactly once: attempts {attempts}")
    print(f"  runs started by each command: {[output.count(' start ') for output in outputs]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="failures, kills, twice; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at; default: %(default)s")


def run(asked: argparse.Namespace) -> int:
    """Run the checks that are named."""
    with tempfile.TemporaryDirectory(prefix="fersweep-chaos-") as name:
        folder = Path(name)
        if asked.smoke:  # `twice` trains the sweep that `kills` compares with
            scenes = {
                "failures": lambda: failures(folder / "failures", 4),
                "twice": lambda: twice(folder / "kills" / "undisturbed", 2, 3),
                "kills": lambda: kills(folder / "kills", 1, 2, 3, asked.seed, latest=1),
            }
        else:
            scenes = {
                "failures": lambda: failures(folder / "failures", 12),
                "kills": lambda: kills(folder / "kills", 10, 4, 12, asked.seed, latest=6),
                "twice": lambda: twice(folder / "twice", 6, 2),
            }
        for scene in asked.names or scenes:
            print(scene, flush=True)
            scenes[scene]()
    return 0
