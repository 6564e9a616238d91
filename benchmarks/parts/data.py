"""Loading FER2013: decoding it, and reading the decoded images from the cache."""

from __future__ import annotations

import json
import time
from itertools import count
from multiprocessing.connection import Connection

from omegaconf import DictConfig

from benchmarks.measure import Part, alternate, figures
from benchmarks.runs import forked, wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.errors import UserError


def measure(settings: Settings) -> Part:
    """Measure the seconds until a new process of a sweep has the images, with an empty cache and with a full one."""
    if settings.fer2013 is None:
        return Part(notes=["Not measured: --fer2013 PATH names the archive or folder of FER2013."])
    root = json.dumps(str(settings.fer2013.absolute()), ensure_ascii=False)
    cfg = compose_config(["dataset=fer2013", f"dataset.root={root}"])
    build.source(cfg).fingerprint()  # refuses another dataset
    wait_for_server()
    folders = count()

    def timed(empty: bool) -> float:
        if empty:
            cfg.cache = str(settings.folder / f"fer2013-{next(folders)}")
        with forked(_load, cfg) as process:
            answer: float | str = process.recv()
        if isinstance(answer, str):
            raise UserError(answer)
        return answer

    candidates = {"decoded first": lambda: timed(True), "from the cache": lambda: timed(False)}
    times = alternate(candidates, settings.repeats, warm_up=False)
    images = len(build.samples(cfg))
    return Part(figures("s", {"images": images}, times), ["Seconds in a process forked from a sweep's server."])


def _load(cfg: DictConfig, parent: Connection) -> None:
    """Send the seconds that loading takes, or the message of its error."""
    begun = time.perf_counter()
    try:
        build.samples(cfg)
    except UserError as error:
        parent.send(str(error))
    else:
        parent.send(time.perf_counter() - begun)
