"""Tables, charts and artifacts of a finished run in Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.tracking.pictures import Picture

if TYPE_CHECKING:
    from wandb import Run

SCORES = ("precision", "recall", "f1")
"""Scores of a class, as in ``result.json``."""

BEST = "best"
"""Alias of the artifact, and the value of ``logger.log_model`` that asks for it."""


def class_scores(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return ``{"test/recall/happy": 0.9, …}`` of the scores that are known."""
    return {
        f"test/{score}/{name}": float(scores[score])
        for score in SCORES
        for name, scores in per_class.items()
        if scores[score] is not None
    }


def confusion_matrix(run: Run, labels: Sequence[int], predicted: Sequence[int], class_names: Sequence[str]) -> None:
    """Log W&B's chart of the confusion matrix of the test part; see `fersweep.tracking.log_confusion_matrix`."""
    import wandb

    chart = wandb.plot.confusion_matrix(
        y_true=[int(label) for label in labels],
        preds=[int(label) for label in predicted],
        class_names=list(class_names),
        title="Confusion matrix (test)",
    )
    run.log({"confusion_matrix": chart})


def per_class(run: Run, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Log a bar chart of the recall of each class, whose table has the other scores, and the scores as summary."""
    import wandb

    rows = [[name, *(each[score] for score in SCORES), each["n"]] for name, each in scores.items()]
    table = wandb.Table(columns=["class", *SCORES, "n"], data=rows)
    run.log({"per_class": wandb.plot.bar(table, "class", "recall", title="Recall by class (test)")})
    run.summary.update(class_scores(scores))


def predictions(run: Run, shown: Iterable[Picture]) -> None:
    """Log a table of test images with their labels and predictions, one row per picture."""
    import wandb

    table = wandb.Table(columns=list(Picture._fields))
    for each in shown:
        table.add_data(wandb.Image(each.image), *each[1:])
    run.log({"predictions": table})


def model(run: Run, checkpoint: Path, config: Path, metadata: Mapping[str, Any]) -> None:
    """Log the best checkpoint and its configuration as the artifact ``model-<hash>`` with the alias ``best``.

    The files are read where they lie, not copied first: a finished run never changes them. W&B makes no new version of
    equal files.
    """
    import wandb

    artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=dict(metadata))
    for path in (checkpoint, config):
        artifact.add_file(str(path.resolve()), name=path.name, policy="immutable", skip_cache=True)
    run.log_artifact(artifact, aliases=[BEST])
