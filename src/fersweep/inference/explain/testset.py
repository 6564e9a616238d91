"""Explanations of a run's test images: a contact sheet per class, and scores of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep import build
from fersweep.errors import UserError
from fersweep.files import Names, write_json, writing
from fersweep.inference.explain import Explanation, explain, mixtures, pictures
from fersweep.inference.explain.files import ADVICE, SCORES, TABLE, row_of, safe, write_table
from fersweep.inference.trained import Trained
from fersweep.report.explained import FILE
from fersweep.training import checkpoint
from fersweep.training import results as record
from fersweep.training.weights_file import SUFFIX

MOST = 8
"""Largest number of correct, and of wrong, predictions per class."""

DRAWS = 10_000
"""Bootstrap samples."""

COLUMNS = ("id", "class", "predicted", "probability", *SCORES, "worth")


def explain_test(trained: Trained, out: Path) -> dict[str, Any]:
    """Explain the most confident correct and wrong predictions of each class on the run's test set.

    Write ``CLASS.png`` for every class with test images, `TABLE` and `FILE` into the folder ``out``; for a network that
    mixes branches also `mixtures.TABLE` and `mixtures.FIGURE`, over all test images.

    Returns:
        Content of `FILE`: ``n``; means of the four scores; ``deletion_gain`` (random minus map) and ``insertion_gain``
        (map minus random), each with its 95 % bootstrap interval over images; ``sheets``: class → file;
        for a network that mixes branches also those of `mixtures.overall`.

    Raises:
        UserError: the data are missing or not those of the training, or ``out`` cannot be written.
    """
    if trained.path.suffix == SUFFIX:
        raise UserError(f"{trained.path} does not identify its test images: name pictures to explain, or the run.")
    samples = build.samples(trained.cfg)
    known = checkpoint.load(trained.path)["fersweep"]["data_digest"]
    if samples.class_names != trained.class_names or record.data_digest(samples) != known:
        raise UserError(  # their test set may have images of the training
            f"dataset={trained.cfg.dataset.name} has other images than those {trained.path} was trained on: "
            "restore them, or name pictures to explain."
        )
    test = build.datamodule(trained.cfg, samples).split.test
    batch = trained.batch(samples.images[test])
    probabilities = trained.probabilities(batch).numpy()
    sheets: dict[str, str] = {}
    rows, explanations, names = [], [], Names(TABLE, FILE, mixtures.TABLE, mixtures.FIGURE)
    with writing(out, advice=ADVICE):
        out.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(trained.class_names):
            right, wrong = _chosen(probabilities, samples.labels[test], index)
            if not (chosen := [*right, *wrong]):
                continue
            explained = explain(trained, batch[chosen])
            shown = list(zip(map(pictures.pixels_of, batch[chosen]), explained, strict=True))
            sheets[name] = names.unique(safe(name), ".png")
            pictures.sheet(out / sheets[name], name, shown[: len(right)], shown[len(right) :])
            ids = samples.ids[test[chosen]]
            rows += [{"id": each, "class": name, **row_of(its)} for each, its in zip(ids, explained, strict=True)]
            explanations += explained
        summary = {**_summary(explanations), "sheets": sheets}
        if mixed := mixtures.spreads(mixtures.shares(trained, batch)):
            mixtures.write(out, mixed)
            summary |= mixtures.overall(mixed)
        write_table(out / TABLE, COLUMNS, rows)
        write_json(out / FILE, summary)
    return summary


def _chosen(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], index: int
) -> tuple[list[int], list[int]]:
    """Return the most confident correct and wrong predictions for images of a class, up to `MOST` each."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = [int(each) for each in np.argsort(-confidence, kind="stable") if labels[each] == index]
    right = [each for each in order if predicted[each] == index]
    wrong = [each for each in order if predicted[each] != index]
    return right[:MOST], wrong[:MOST]


def _summary(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """Return the means of the scores, and the gains over random maps with their intervals; see `explain_test`."""
    table = {name: np.array([getattr(each.scores, name) for each in explanations]) for name in SCORES}
    summary: dict[str, Any] = {"n": len(explanations)}
    summary |= {name: round(float(values.mean()), 4) for name, values in table.items()}
    for name, values in (
        ("deletion_gain", table["deletion_random"] - table["deletion"]),
        ("insertion_gain", table["insertion"] - table["insertion_random"]),
    ):
        interval = None
        if len(values) > 1:
            drawn = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
            interval = [round(float(each), 4) for each in np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))]
        summary |= {name: round(float(values.mean()), 4), f"{name}_interval": interval}
    return summary
