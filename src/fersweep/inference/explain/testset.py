"""`fersweep explain` of a run: a contact sheet of each class from its own test images, and what the maps are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fersweep import build
from fersweep.errors import UserError
from fersweep.files import Names, write_json
from fersweep.inference.explain import Explanation, explain, pictures
from fersweep.inference.explain.files import SCORES, TABLE, row_of, safe, write_table
from fersweep.inference.trained import Trained, as_batch
from fersweep.report.explained import FILE
from fersweep.training import checkpoint
from fersweep.training import results as record

MOST = 8
"""Images of a class that were recognised, and as many that were not."""

DRAWS = 10_000
COLUMNS = ("id", "class", "predicted", "probability", *SCORES, "worth")


def explain_test(trained: Trained, out: Path) -> dict[str, Any]:
    """Explain the surest right and the surest wrong answers of each class on the test part of the run's own dataset.

    Writes ``CLASS.png`` for every class with test images, `TABLE` with the images that were chosen and `FILE`.

    Args:
        trained: the network.
        out: the folder to write, made where it is missing.

    Returns:
        What `FILE` says: ``n``; the means of the four scores; ``deletion_gain`` (random less map) and
        ``insertion_gain`` (map less random), each with its 95 % interval over images; ``sheets``: class → file.

    Raises:
        UserError: the data are not there, or other than those the network was trained on; ``out`` cannot be written.
    """
    samples = build.samples(trained.cfg)
    _check_data(trained, samples.class_names, record.data_digest(samples))
    test = build.datamodule(trained.cfg, samples).split.test
    labels = samples.labels[test]
    batch = as_batch(samples.images[test])
    probabilities = trained.probabilities(batch).numpy()
    sheets: dict[str, str] = {}
    rows, scores, names = [], [], Names(TABLE, FILE)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(trained.class_names):
            right, wrong = _chosen(probabilities, labels, index)
            chosen = [*right, *wrong]
            if not chosen:
                continue
            explained = explain(trained, batch[chosen])
            shown = [
                pictures.Shown(pictures.channels_last(batch[each].numpy()), explanation)
                for each, explanation in zip(chosen, explained, strict=True)
            ]
            sheets[name] = names.unique(safe(name), ".png")
            pictures.sheet(out / sheets[name], name, shown[: len(right)], shown[len(right) :])
            ids = samples.ids[test[chosen]]
            rows += [{"id": where, "class": name, **row_of(each)} for where, each in zip(ids, explained, strict=True)]
            scores += explained
        summary = {**summarised(scores), "sheets": sheets}
        write_table(out / TABLE, COLUMNS, rows)
        write_json(out / FILE, summary)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another place with -o OUT.") from error
    return summary


def _check_data(trained: Trained, class_names: Sequence[str], digest: str) -> None:
    """Refuse data in which the test part may hold images that were trained on."""
    known = checkpoint.load(trained.path)["fersweep"]["data_digest"]
    if tuple(class_names) != trained.class_names or digest != known:
        raise UserError(
            f"dataset={trained.cfg.dataset.name} holds other images than {trained.path} was trained on: "
            "put those back, or name pictures to explain."
        )


def _chosen(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], index: int
) -> tuple[list[int], list[int]]:
    """The surest answers for images of a class, right ones and wrong ones, up to `MOST` each; of equals the first."""
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = [int(each) for each in np.argsort(-sure, kind="stable") if labels[each] == index]
    right = [each for each in order if predicted[each] == index]
    wrong = [each for each in order if predicted[each] != index]
    return right[:MOST], wrong[:MOST]


def summarised(explained: Sequence[Explanation]) -> dict[str, Any]:
    """Means of the scores and, with 95 % intervals, how much better than random maps they are; see `explain_test`."""
    table = {name: np.array([getattr(each.scores, name) for each in explained]) for name in SCORES}
    gains = {
        "deletion_gain": table["deletion_random"] - table["deletion"],
        "insertion_gain": table["insertion"] - table["insertion_random"],
    }
    means = {name: round(float(values.mean()), 4) for name, values in table.items()}
    return {"n": len(explained), **means, **dict(_with_intervals(gains))}


def _with_intervals(gains: dict[str, npt.NDArray[np.float64]]) -> Iterator[tuple[str, Any]]:
    """Means, and percentiles of the means of images drawn with replacement; no interval of a single image."""
    for name, values in gains.items():
        yield name, round(float(values.mean()), 4)
        interval = None
        if len(values) > 1:
            drawn = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
            interval = [round(float(each), 4) for each in np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))]
        yield f"{name}_interval", interval
