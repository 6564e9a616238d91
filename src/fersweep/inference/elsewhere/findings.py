"""The parts of a test's ``result.json`` beside its scores: network, data and classes, leaks, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fersweep import build
from fersweep.config.schema import choices_of, title_of, to_dict
from fersweep.data import splits
from fersweep.faces.crop import FACE, PICTURE
from fersweep.inference.elsewhere import data
from fersweep.inference.elsewhere.data import Chosen, Classes
from fersweep.inference.elsewhere.network import Network
from fersweep.runs import tests
from fersweep.text import listed
from fersweep.training import results


def about(network: Network, cfg: DictConfig, chosen: Chosen, classes: Classes) -> dict[str, Any]:
    """Return the part of ``result.json`` on the network, the data and the classes."""
    config, own = to_dict(cfg), to_dict(network.trained.cfg)
    return {
        "title": network.trained.title,
        "choices": choices_of(own),
        "seed": own["seed"],
        "dataset_title": title_of(config, "dataset"),
        "trained_on": own["dataset"]["name"],
        "own_test": {**network.trained.tested},
        "classes": {
            "shared": list(classes.shared),
            "not_in_dataset": list(classes.not_in_dataset),
            "not_in_network": [name for name in chosen.samples.class_names if name not in classes.shared],
            "images_left_out": classes.images_left_out,
        },
    }


def leaks(tested: results.Tested, chosen: Chosen, same: data.Trained | None, unknown: str) -> dict[str, Any]:
    """Return the counts of tested images that the training used, and of people and sequences that it showed."""
    if same is None:
        return {"same_data": False, "seen": None, "training_data_unknown": unknown or None}
    seen = {name: int(np.isin(chosen.rows, getattr(same.split, name)).sum()) for name in ("train", "val")}
    people, sequences = (
        splits.shared(each, tested.split) for each in (tested.samples.subjects, tested.samples.sequences)
    )
    return {
        "same_data": True,
        "seen": seen,
        "training_data_unknown": None,
        "shared_subjects": people[0],
        "shared_subject_images": people[1],
        "shared_sequences": sequences[0],
        "shared_sequence_images": sequences[1],
    }


def warnings(network: Network, cfg: DictConfig, result: Mapping[str, Any]) -> list[str]:
    """Return sentences that a reader of the accuracy must know."""
    said, n = [], int(result["metrics"]["test/n"])
    seen, twins = result["seen"] or {"train": 0, "val": 0}, result["twins"]
    if seen["train"] + seen["val"]:
        parts = (("this network was trained on", seen["train"]), ("chose its epoch", seen["val"]))
        said.append(
            f"of the {n:,} images tested, {listed([f'{count:,} {what}' for what, count in parts if count], 'and')}: "
            "the accuracy is no measure of unseen images."
        )
    elif twins is not None and (count := twins["either"]["identical"] + twins["either"]["near"]):
        said.append(
            f"{count:,} of the {n:,} images tested have an identical or near-identical image in the training or "
            "validation part of this network; test/accuracy_without_twins leaves them out."
        )
    if result["training_data_unknown"]:
        said.append(f"images seen in training cannot be found: {result['training_data_unknown']}.")
    if (text := _framing(network, cfg)) is not None:
        said.append(text)
    if left := tests.left_out(result):
        said.append(f"{left}.")
    return said


def _framing(network: Network, cfg: DictConfig) -> str | None:
    """Return a sentence if the network saw faces and is tested on whole pictures, or the other way round."""
    own = network.trained.cfg.dataset
    before = FACE if own.faces != "none" else network.trained.framing
    now = FACE if cfg.dataset.faces != "none" else build.framing(cfg)
    if (before, now) == (FACE, PICTURE):
        return (
            f"the network was trained on faces, and {cfg.dataset.name} has whole pictures: crop them with "
            "dataset.faces=mtcnn, or with dataset.framing=face say that they are faces."
        )
    if (before, now) == (PICTURE, FACE):
        return f"the network was trained on whole pictures, and those of {cfg.dataset.name} are faces."
    return None
