"""Everything that needs a GPU, in a few minutes on one card, into one JSON file.

machine: the card, its driver and memory, and versions.
tests: those marked gpu: NCCL, bf16, memory that runs out, a shared card, a resumed run.
speed: each network at batches of 64 and 1,024: training beside the bare loop, the bare loop beside a matrix product.
packed: small runs several at a time beside one after another.
rows: a sweep with whatever time is left, which the same command resumes (--fer2013 PATH).

The file is rewritten after each measurement. A stage that fails or runs out of time says so, and the next one begins.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import settings as settings_of
from benchmarks.parts import ceiling, efficiency
from benchmarks.parts.startup import TRAIN
from benchmarks.runs import seconds_of_sweep, wait_for_server
from benchmarks.settings import Settings
from fersweep.config.options import options
from fersweep.errors import UserError
from fersweep.files import write_json

SHARES = {"tests": 0.25, "speed": 0.55, "packed": 0.7}
"""Deadlines of the stages, in parts of the whole time; the rows take the rest."""

ENOUGH = 20.0
"""Seconds of which the sweep needs more to train anything."""

IMAGES = 10_240
"""Images in the dataset of `speed`, of which 8,192 are for training: eight batches of 1,024."""

AT_ONCE = (1, 4, 8)
"""Runs at a time in `packed`."""

ROWS = "experiment=table_attention backbone=resnet50,vgg16,resnetv2_50 seed=1"


class Report:
    """The file, and the time that is left.

    Args:
        file: for the JSON.
        seconds: for all stages together.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        self.file, self.whole, self.began = file, seconds, time.monotonic()
        self.found: dict[str, Any] = {}

    def left(self, share: float = 1.0) -> float:
        """Return the seconds until so much of the time has passed."""
        return self.began + share * self.whole - time.monotonic()

    def stage(self, name: str, work: Callable[[dict[str, Any]], None]) -> None:
        """Do the work of a stage, which fills in its part of the report; an error ends that stage alone."""
        print(f"{name}: {self.left():.0f} s left", flush=True)
        part: dict[str, Any] = {"state": "done"}
        self.found[name], begun = part, time.monotonic()
        try:
            work(part)
        except Exception as error:  # noqa: BLE001 (the others go on)
            part |= {"state": "failed", "error": str(error), "traceback": traceback.format_exc()}
        part["seconds"] = round(time.monotonic() - begun, 1)
        print(f"  {part['state']} after {part['seconds']:.0f} s {part.get('error', '')}", flush=True)
        self.write()

    def write(self) -> None:
        """Write what is known so far."""
        write_json(self.file, self.found)


def machine(chosen: Settings, part: dict[str, Any]) -> None:
    """Describe the machine and its card."""
    part |= settings_of.machine(chosen)
    if chosen.device.type == "cuda":
        card = torch.cuda.get_device_properties(0)
        part["card"] = {"name": card.name, "memory": card.total_memory, "multiprocessors": card.multi_processor_count}
        part["cuda"], part["nccl"] = torch.version.cuda, ".".join(map(str, torch.cuda.nccl.version()))
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        part["driver"] = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def tests(seconds: float, rehearsed: bool, part: dict[str, Any]) -> None:
    """Run the tests marked gpu in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="fersweep-gpu-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-n", "0", f"--junit-xml={report}", "tests/gpu"]
        environment = {**os.environ, "FERSWEEP_REHEARSE": "1"} if rehearsed else dict(os.environ)
        done = subprocess.run(
            command, cwd=TRAIN.parent, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    part["tests"] = {case.get("name"): _outcome(case) for case in cases}
    print("\n".join(f"  {outcome:<7} {name}" for name, outcome in part["tests"].items()), flush=True)
    if done.returncode != 0 or "passed" not in part["tests"].values():
        part |= {"state": "failed", "error": "not all tests pass", "output": (done.stdout + done.stderr)[-20_000:]}


def _outcome(case: ET.Element) -> str:
    if case.find("skipped") is not None:
        return "skipped"
    return "passed" if case.find("failure") is None and case.find("error") is None else "failed"


def speed(report: Report, chosen: Settings, part: dict[str, Any]) -> None:
    """Measure each network and batch size, as long as there is time."""
    part |= {"left_out": [], "cases": []}
    for batch in chosen.batches:
        for backbone in chosen.backbones:
            case = {"backbone": backbone, "batch": batch}
            if report.left(SHARES["speed"]) <= 0:
                part["left_out"].append(case)
                continue
            one = dataclasses.replace(chosen, backbones=(backbone,), batches=(batch,))
            begun = time.monotonic()
            try:
                figures = [*ceiling.measure(one).figures, *efficiency.measure(one).figures]
                case |= {"figures": [figure.as_dict() for figure in figures]}
            except (RuntimeError, UserError) as error:  # such as memory that runs out
                case |= {"error": str(error)}
            if chosen.device.type == "cuda":
                case["peak_memory"] = torch.cuda.max_memory_allocated()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            part["cases"].append(case)
            print(f"  {backbone}, batch {batch}: {time.monotonic() - begun:.1f} s {case.get('error', '')}", flush=True)
            report.write()


def packed(report: Report, chosen: Settings, part: dict[str, Any]) -> None:
    """Time a sweep of small runs with different numbers at a time."""
    runs = 2 if chosen.smoke else 8
    small = (f"backbone={chosen.backbones[0]}", f"recipe.batch_size={chosen.batches[0]}", "recipe.max_epochs=1")
    wait_for_server()
    part |= {"runs": runs, "seconds_of_sweep": {}}
    for jobs in AT_ONCE[:2] if chosen.smoke else AT_ONCE:
        if report.left(SHARES["packed"]) > 0:
            part["seconds_of_sweep"][jobs] = seconds_of_sweep(chosen, small, runs, jobs)
            print(f"  {jobs} at a time: {part['seconds_of_sweep'][jobs]:.1f} s for {runs} runs", flush=True)


def rows(report: Report, chosen: Settings, asked: argparse.Namespace, part: dict[str, Any]) -> None:
    """Train rows of a table until the time is over; the same command goes on later."""
    if (asked.fer2013 is None and not chosen.smoke) or report.left() < ENOUGH:
        part["state"] = "left out"
        return
    data = "dataset.source.size=140" if asked.fer2013 is None else f"dataset.root={json.dumps(str(asked.fer2013))}"
    folder = asked.outputs.absolute()
    device = "gpu" if chosen.device.type == "cuda" else "cpu"
    settings = (data, f"trainer={device}", "trainer.progress_bar=false", f"outputs={json.dumps(str(folder))}")
    share = (f"hydra.launcher.n_jobs={asked.at_once}", f"hydra.launcher.gpus_per_run={1 / asked.at_once}")
    command = [
        sys.executable,
        str(TRAIN),
        "-m",
        *shlex.split(asked.rows),
        *settings,
        *(share if device == "gpu" else ()),
    ]
    part["command"] = command
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=report.left() - ENOUGH / 2)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    states = [json.loads(file.read_text()) | {"run": file.parent.name} for file in folder.glob("*/*/status.json")]
    part["runs"] = {each["run"]: each["state"] for each in sorted(states, key=lambda each: str(each["run"]))}
    part |= {"code": process.returncode, "output": output[-20_000:]}
    print(f"  {list(part['runs'].values()).count('done')} of {len(states)} runs are done: {folder}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", type=Path, default=Path("gpu.json"), help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=8, help="for everything; default: %(default)s")
    parser.add_argument("--fer2013", metavar="PATH", type=Path, help="archive or folder of FER2013, for the rows")
    parser.add_argument("--rows", metavar="OVERRIDES", default=ROWS, help="of train.py -m; default: %(default)s")
    parser.add_argument("--at-once", metavar="N", type=int, default=6, help="rows at a time; default: %(default)s")
    parser.add_argument("--outputs", metavar="DIR", type=Path, default=Path("outputs"), help="default: %(default)s")


def run(asked: argparse.Namespace) -> int:
    """Run all stages; return 1 if one has failed."""
    if asked.fer2013 is not None and not asked.fer2013.exists():
        raise UserError(f"--fer2013 {asked.fer2013} does not exist: name the archive or folder of FER2013.")
    with tempfile.TemporaryDirectory(prefix="fersweep-gpu-") as name:
        folder = Path(name)
        if asked.smoke:
            asked.json, asked.outputs, asked.rows = (
                folder / "gpu.json",
                folder / "outputs",
                "backbone=aer_cnn sweep=rows",
            )
        report = Report(asked.json, asked.minutes * 60)
        given = {} if asked.smoke else {"backbones": options("backbone"), "batches": (64, 1024), "repeats": 1}
        device = "auto" if asked.smoke else "gpu"
        chosen = settings_of.check(folder, ("ceiling", "efficiency"), device, asked.smoke, size=IMAGES, **given)
        torch.set_num_threads(chosen.threads)
        report.stage("machine", lambda part: machine(chosen, part))
        limit = report.left(SHARES["tests"])
        report.stage("tests", lambda part: tests(limit, chosen.device.type == "cpu", part))
        report.stage("speed", lambda part: speed(report, chosen, part))
        report.stage("packed", lambda part: packed(report, chosen, part))
        report.stage("rows", lambda part: rows(report, chosen, asked, part))
        print(f"{asked.json}", flush=True)
        return int(any(part["state"] == "failed" for part in report.found.values()))
