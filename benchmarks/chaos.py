"""What a sweep survives, and what it costs to start a run: ``uv run python -m benchmarks.chaos [--smoke] [NAME ...]``.

``failures``: of 12 runs one raises, one is killed, one runs out of memory; the same command again runs only those.
``kills``: a sweep is killed whole at random moments and started again each time, and must end as an undisturbed one.
``twice``: the same sweep in two processes at once trains every run exactly once.
``start``: seconds from the start of a run to its first training step, from the warm server and with a cold Python.
Each prints what it measured and ends the program with code 1 where something does not hold.
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
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.startup import TRAIN, first_steps
from fersweep.runs.lock import is_locked

TINY = (
    "backbone=aer_cnn",
    "trainer=cpu",
    "trainer.precision=32",
    "dataset.image_size=32",
    "dataset.source.size=140",
    "recipe.batch_size=16",
)
"""A real network and real data, small enough for a run of seconds."""


class Sweep:
    """One command line in one folder; started as often as wanted."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        self.command = [sys.executable, str(TRAIN), "-m", *TINY, f"cache={folder.parent / 'cache'}", *overrides]
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> subprocess.Popen[str]:
        """Start it in a session of its own, which everything it starts belongs to."""
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
        """Exit code and output."""
        process = self.start()
        output, _ = process.communicate(timeout=1800)
        return process.returncode, output

    def directories(self) -> list[Path]:
        """Of all runs so far, by name."""
        return sorted(path.parent for path in self.folder.glob("outputs/*/*/status.json"))

    def states(self) -> dict[Path, dict[str, Any]]:
        """``status.json`` of each run."""
        return {each: json.loads((each / "status.json").read_text()) for each in self.directories()}


def check(condition: bool, sentence: str) -> None:
    """Print what was found; the program ends at the first that does not hold."""
    print(f"  {'holds' if condition else 'FAILS'}: {sentence}", flush=True)
    if not condition:
        raise SystemExit(1)


def owner(directory: Path) -> int | None:
    """The process that holds a run's lock, if it is alive."""
    try:
        found = re.search(r"^pid=(\d+)$", (directory / ".lock").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return int(found[1]) if found and is_locked(directory) else None


def kill_session(session: int) -> int:
    """SIGKILL to every process of a session at once; returns how many there were, when they have ended."""
    members = living(session)
    for pid in members:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while living(session):
        time.sleep(0.01)
    return len(members)


def living(session: int) -> list[int]:
    """The processes of a session that have not ended."""
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
    """How many epochs of a run are done."""
    file = directory / "history.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def same(one: Path, other: Path) -> list[str]:
    """Names of what differs between two finished runs, times left out."""
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
    """So many of them, as an override has them."""
    return ",".join(str(seed) for seed in range(1, runs + 1))


def failures(folder: Path, runs: int, n_jobs: int) -> None:
    """One run of a sweep raises, one is killed, one gets no more memory."""
    sweep = Sweep(folder, f"seed={seeds(runs)}", "recipe.max_epochs=2", f"hydra.launcher.n_jobs={n_jobs}")
    process = sweep.start()
    begun, sabotaged = time.monotonic(), {}
    while process.poll() is None and time.monotonic() - begun < 1800:
        for directory in sweep.directories():
            seed = re.search(r"-s(\d+)-", directory.name)[1]  # type: ignore[index]
            pid = owner(directory)
            if seed == "1" and seed not in sabotaged:
                (directory / "checkpoints").write_text("not a folder")  # making it one raises
                sabotaged[seed] = "raised"
            elif seed in ("2", "3") and pid and seed not in sabotaged and (directory / "history.csv").exists():
                if seed == "2":
                    os.kill(pid, signal.SIGKILL)
                else:
                    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
                sabotaged[seed] = "killed" if seed == "2" else "out of memory"
        time.sleep(0.005)
    output, seconds = process.communicate()[0], time.monotonic() - begun
    states = [status["state"] for status in sweep.states().values()]
    print(output[output.index("runs failed:") - 8 :] if "runs failed:" in output else output)
    check(len(sabotaged) == 3, f"three runs were disturbed: {sabotaged}")
    check(states.count("done") == runs - 3 and states.count("failed") == 3, f"{runs - 3} done and 3 failed")
    check(process.returncode == 1, f"exit code 1, after {seconds:.1f} s with {n_jobs} at a time")
    before = {d: (d / "result.json").stat().st_mtime_ns for d, s in sweep.states().items() if s["state"] == "done"}
    blocked = next(d for d in sweep.directories() if (d / "checkpoints").is_file())
    (blocked / "checkpoints").unlink()
    begun = time.monotonic()
    code, output = sweep.run()
    states = list(sweep.states().values())
    check(code == 0 and all(status["state"] == "done" for status in states), "the same command again: all done")
    check(sum(status["attempts"] == 2 for status in states) == 3, f"of them 3 ran, in {time.monotonic() - begun:.1f} s")
    check(all((d / "result.json").stat().st_mtime_ns == stamp for d, stamp in before.items()), "the others untouched")


def kills(folder: Path, moments: int, runs: int, length: int, seed: int, latest: float) -> None:
    """The whole sweep is killed at random moments, up to ``latest`` seconds after it got so far."""
    overrides = (f"seed={seeds(runs)}", f"recipe.max_epochs={length}", "hydra.launcher.n_jobs=2")
    undisturbed = Sweep(folder / "undisturbed", *overrides)
    begun = time.monotonic()
    if not undisturbed.directories():
        code, output = undisturbed.run()
        check(code == 0, f"undisturbed, in {time.monotonic() - begun:.1f} s" if code == 0 else output)
    disturbed, rng, killed, forgotten = Sweep(folder / "disturbed", *overrides), random.Random(seed), 0, 0
    while killed < moments:
        process = disturbed.start()
        begun = time.monotonic()
        if (killed + 1) % 4:  # most while runs are under way, some while the sweep is only getting ready
            while process.poll() is None and not any(owner(each) for each in disturbed.directories()):
                time.sleep(0.01)
        try:
            process.wait(timeout=rng.uniform(0, latest))
        except subprocess.TimeoutExpired:
            count = kill_session(process.pid)
            killed += 1
            progress = [f"{status['state']} {epochs(each)}/{length}" for each, status in disturbed.states().items()]
            print(
                f"  {killed}: killed {count} processes after {time.monotonic() - begun:.2f} s: "
                f"{', '.join(progress) or 'nothing begun'}",
                flush=True,
            )
        process.communicate()
        if process.returncode == 0:  # done before the moment came: forget some of it
            for directory in rng.sample(disturbed.directories(), 2):
                shutil.rmtree(directory)
                forgotten += 1
    code, output = disturbed.run()
    check(code == 0, f"after {moments} kills the same command ends well" if code == 0 else output)
    print(f"  runs that were done too early and forgotten: {forgotten}")
    pairs = zip(undisturbed.directories(), disturbed.directories(), strict=True)
    differ = {one.name: found for one, other in pairs if (found := same(one, other))}
    check(not differ, f"equal to the undisturbed sweep, bit for bit {differ or ''}")
    left = [path.name for path in disturbed.folder.rglob(".*") if path.name != ".lock"]
    check(not left, f"no half-written file is left {left or ''}")


def twice(folder: Path, runs: int, length: int) -> None:
    """Two terminals, one sweep."""
    sweep = Sweep(folder, f"seed={seeds(runs)}", f"recipe.max_epochs={length}")
    begun = time.monotonic()
    both = [sweep.start(), sweep.start()]
    outputs = [process.communicate(timeout=1800)[0] for process in both]
    codes = [process.returncode for process in both]
    check(
        codes == [0, 0], f"both end well, after {time.monotonic() - begun:.1f} s" if codes == [0, 0] else str(outputs)
    )
    attempts = [status["attempts"] for status in sweep.states().values()]
    check(attempts == [1] * runs, f"every run was trained exactly once: attempts {attempts}")
    shares = [output.count(" start ") for output in outputs]
    print(f"  started by the one {shares[0]}, by the other {shares[1]} (those it found taken, it waited for)")


def start(folder: Path, repeats: int, limit: float) -> None:
    """From the start of a run to its first training step."""
    outputs, cache = folder / "outputs", folder / "cache"
    settings = ("trainer=cpu", f"outputs={outputs}", f"cache={cache}")
    times = first_steps(settings, threads=1, repeats=repeats)
    for name, seconds in times.items():
        least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
        spread = f"least {least:.2f}, most {most:.2f}, n = {len(seconds)}"
        print(f"  {name}: {middle:.2f} s to the first training step ({spread})")
    check(statistics.median(times["warm"]) <= limit, f"warm at most {limit} s (ResNet-50 + CBAM, one thread)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="failures, kills, twice, start; all of them by default")
    parser.add_argument("--smoke", action="store_true", help="fewer runs and kills, and no start")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fersweep-chaos-") as name:
        folder = Path(name)
        if asked.smoke:  # `python -m benchmarks` has `start`; `twice` trains what `kills` compares with
            scenes = {
                "failures": lambda: failures(folder / "failures", 4, n_jobs=2),
                "twice": lambda: twice(folder / "kills" / "undisturbed", 3, 4),
                "kills": lambda: kills(folder / "kills", 1, 3, 4, asked.seed, latest=1),
            }
        else:
            scenes = {
                "failures": lambda: failures(folder / "failures", 12, n_jobs=2),
                "kills": lambda: kills(folder / "kills", 10, 4, 12, asked.seed, latest=6),
                "twice": lambda: twice(folder / "twice", 6, 2),
                "start": lambda: start(folder, 5, 1.5),
            }
        for scene in asked.names or scenes:
            print(scene, flush=True)
            scenes[scene]()


if __name__ == "__main__":
    main()
