"""One test of one network: its probabilities and scores, in the end a folder of files."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from fersweep import logs
from fersweep.config.schema import to_dict
from fersweep.data.datamodule import FERDataModule
from fersweep.data.splits import Split
from fersweep.inference.elsewhere import data, files, findings
from fersweep.inference.elsewhere.data import Chosen, Classes, Shelf
from fersweep.inference.elsewhere.network import Network
from fersweep.runs import tests
from fersweep.training import results
from fersweep.training.module import FERModule
from fersweep.training.trainer import build_tester


@dataclass(frozen=True)
class Asked:
    """A test that is asked for.

    Attributes:
        cfg: of the run, with the data to test.
        part: ``--part``, ``None`` for the usual one.
        outputs: ``--outputs``.
        split: whether a split is named.
        folder: of the tests.
        again: replace a test that is done.
        command: that asks for it.
    """

    cfg: DictConfig
    part: str | None
    outputs: str
    split: bool
    folder: Path
    again: bool
    command: str


@dataclass(frozen=True)
class Done:
    """A test that is done, ``before`` if an earlier command did it."""

    test: tests.Test
    before: bool


def evaluate(network: Network, asked: Asked, shelf: Shelf) -> Done:
    """Test a network, or find the test done.

    Raises:
        UserError: the data cannot be read, have no such part or no class of the network, or nothing can be written.
    """
    started = time.perf_counter()
    samples, digest = shelf.samples(asked.cfg)
    trained, unknown = shelf.trained(network.trained.cfg, network.data_digest)
    same = trained if trained is not None and trained.digest == digest else None
    chosen = data.choose(asked.cfg, samples, digest, asked.part, same, asked.split)
    chosen, classes = data.shared(network.trained.class_names, chosen, asked.cfg.dataset.name, asked.outputs)
    identity = _identity(network, asked, chosen)
    place = asked.folder / tests.directory_name(
        asked.cfg.dataset.name, chosen.split, chosen.part, str(identity["test"])
    )
    files.tidy(asked.folder)
    if not asked.again and (before := tests.read(place)) is not None:
        return Done(before, before=True)
    every = _probabilities(network, asked.cfg, chosen)
    tested = _restricted(every, chosen, classes, same)
    result = {
        **identity,
        **findings.about(network, asked.cfg, chosen, classes),
        **_scores(network, tested, chosen, classes, every, shelf, trained),
        **findings.leaks(tested, chosen, same, unknown if trained is None else ""),
    }
    result["warnings"] = findings.warnings(network, asked.cfg, result)
    result |= {
        "seconds": round(time.perf_counter() - started, 3),
        "environment": results.environment(network.trained.device, network.precision, 1),
        "command": asked.command,
    }
    twin = None if trained is None else shelf.twins(chosen, trained).any
    files.write(place, asked.cfg, result, tested, twin)
    found = tests.read(place)
    assert found is not None
    return Done(found, before=False)


def _identity(network: Network, asked: Asked, chosen: Chosen) -> dict[str, Any]:
    """Return the hashes of the test, and of the images tested and the rules, and what they are made of."""
    crops = asked.cfg.recipe.test_crops
    rules = {"dataset": asked.cfg.dataset.name, "split": chosen.split, "part": chosen.part, "outputs": asked.outputs}
    images = data.images_digest(chosen)
    on = tests.short_hash(dataset=rules["dataset"], outputs=asked.outputs, test_crops=crops, images=images)
    named = {"split": chosen.split, "part": chosen.part}
    return {
        "test": tests.short_hash(on=on, checkpoint=network.digest, data=chosen.digest, **named),
        "on": on,
        "run": network.hash,
        "checkpoint": network.digest,
        **rules,
        "test_crops": crops,
        "data_digest": chosen.digest,
    }


def _probabilities(network: Network, cfg: DictConfig, chosen: Chosen) -> results.Tested:
    """Return the probabilities of all outputs, from the code, the batches and the precision of the run's own test."""
    run = network.trained.cfg
    recipe = to_dict(run)["recipe"] | {"test_crops": cfg.recipe.test_crops}
    names, workers = network.trained.class_names, run.trainer.workers
    module = FERModule(network.trained.network, torch.optim.SGD, recipe, names)
    parts = FERDataModule(
        chosen.samples,
        Split(data.NOTHING, data.NOTHING, chosen.rows),
        train_transform=None,
        batch_size=run.recipe.batch_size,
        seed=run.seed,
        workers=None if workers == "auto" else workers,
        microbatches=network.microbatches,
    )
    with logs.quietly():
        return results.test(build_tester(run, network.trained.device, network.precision), module, parts)


def _restricted(every: results.Tested, chosen: Chosen, classes: Classes, same: data.Trained | None) -> results.Tested:
    """Return a test over the classes that can be answered, with the training's parts if they are of the same data."""
    train, val = (same.split.train, same.split.val) if same is not None else (data.NOTHING, data.NOTHING)
    split = replace(every.split, train=train, val=val)
    samples = replace(chosen.samples, labels=classes.labels, class_names=classes.names, targets=None)
    single, final = (among(each, classes.columns) for each in (every.single, every.final))
    return results.Tested(samples, split, single, final)


def among(probabilities: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Return probabilities ``(N, K)`` of some outputs, divided by their sum: ``(N, len(columns))``.

    Of a single view this is the softmax over the logits of these outputs.
    """
    if columns == tuple(range(probabilities.shape[1])):
        return probabilities
    kept = probabilities[:, list(columns)]
    return kept / kept.sum(dim=1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)


def _scores(
    network: Network,
    tested: results.Tested,
    chosen: Chosen,
    classes: Classes,
    every: results.Tested,
    shelf: Shelf,
    trained: data.Trained | None,
) -> dict[str, Any]:
    """Return the scores, as in a run's ``result.json``, and what all outputs would have answered."""
    found = None if trained is None else shelf.twins(chosen, trained)
    scored = results.scores(tested, network.trained.temperature, None if found is None else found.any)
    labels = tested.labels
    if classes.not_in_dataset:
        answers = every.final.argmax(dim=1)
        where = torch.tensor([network.trained.class_names.index(name) for name in classes.names])
        outside = torch.tensor([name not in classes.shared for name in network.trained.class_names])
        scored["metrics"]["test/accuracy_all_outputs"] = round(float((answers == where[labels]).double().mean()), 8)
        scored["predicted_outside"] = int(outside[answers].sum())
    counts = np.bincount(labels.numpy(), minlength=len(classes.names))
    return {
        **scored,
        "majority_baseline": float(counts.max() / counts.sum()),
        "twins": None if found is None or trained is None else {**found.counts(), "dropped": trained.split.dropped},
    }
