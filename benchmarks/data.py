"""FER2013, where a copy is at hand: decoding it, and starting with what was decoded before."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Mapping
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from benchmarks.measure import Part, alternate, figures
from benchmarks.runs import wait_for_server
from benchmarks.settings import Settings
from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.config.schema import Config, to_dict
from fersweep.errors import UserError


def measure(settings: Settings) -> Part:
    """Seconds until a new process of a sweep has the images: with an empty cache, and with a full one."""
    if settings.fer2013 is None:
        return Part(notes=["Not measured: --fer2013 PATH names the archive or folder of FER2013."])
    root = json.dumps(str(settings.fer2013.absolute()), ensure_ascii=False)
    cfg = compose_config(["dataset=fer2013", f"dataset.root={root}"])
    build.source(cfg).fingerprint()  # refuses what is not FER2013
    wait_for_server()
    folders = count()

    def timed(anew: bool) -> float:
        if anew:
            cfg.cache = str(settings.folder / f"fer2013-{next(folders)}")
        return _seconds(to_dict(cfg))

    contestants = {"decoded first": lambda: timed(True), "from the cache": lambda: timed(False)}
    times = alternate(contestants, settings.repeats, warm_up=False)
    images = len(build.samples(cfg))
    return Part(figures("s", {"images": images}, times), ["Seconds in a process forked from a sweep's server."])


def _seconds(config: Mapping[str, Any]) -> float:
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("forkserver").Process(target=_load, args=(config, there))
    process.start()
    there.close()  # so that the end of the process is noticed
    answer: float | str = here.recv()
    process.join()
    if isinstance(answer, str):
        raise UserError(answer)
    return answer


def _load(config: Mapping[str, Any], told: Connection) -> None:
    cfg = OmegaConf.merge(OmegaConf.structured(Config), dict(config))
    assert isinstance(cfg, DictConfig)
    begun = time.perf_counter()
    try:
        build.samples(cfg)
    except UserError as error:
        told.send(str(error))
    else:
        told.send(time.perf_counter() - begun)
