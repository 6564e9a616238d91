"""The model card: what a network was trained on, how it was tested, what it is for and what not."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fersweep.config.schema import NAMED, takes_attention, title, title_of, to_dict
from fersweep.errors import UserError
from fersweep.files import atomic_path
from fersweep.inference.export import about
from fersweep.inference.trained import Trained
from fersweep.report import leaks
from fersweep.report.statistics import wilson

TEMPLATES = Path(__file__).parent / "templates"
LIBRARY = "fersweep"


def write(trained: Trained, path: Path) -> None:
    """Write the card of a network, as a Hub repository's ``README.md``.

    Raises:
        UserError: ``path`` is there and is not a card of this program, or the run's result cannot be read.
        OSError: ``path`` cannot be written.
    """
    refuse_foreign(path)
    text = render(trained)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refuse_foreign(path: Path) -> None:
    """Raise UserError where ``path`` is a file of somebody else."""
    if path.exists() and f"library_name: {LIBRARY}" not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path} is there and is not a model card of fersweep: name another file or folder.")


def render(trained: Trained) -> str:
    """The card as Markdown, with the Hub's metadata in front.

    Raises:
        UserError: the result beside the checkpoint cannot be read.
    """
    result = about.result(trained)
    rows = _accuracies(trained, result) if result else []
    config = to_dict(trained.cfg)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of names that this program chose; those of classes are put into cells
    )
    environment.filters |= {"percent": _percent, "cell": _cell}
    return environment.get_template("card.md.j2").render(
        front=_front(trained, rows).to_yaml(),
        trained=trained,
        cfg=trained.cfg,
        network=f"{title(config)}, {title_of(config, 'fidelity')}",
        titles={group: title_of(config, group) for group in NAMED},
        of_people=trained.cfg.dataset.of_people,
        result=result,
        rows=rows,
        twins=_without_twins(result) if result else None,
        fold=leaks.fold(result) if result else "",
        run=about.run(trained),
        version=version("fersweep"),
        labels_from=trained.cfg.dataset.labels_from or "not known",
        parameters=sum(each.numel() for each in trained.network.parameters()),
        faces=about.faces(trained),
        weights=about.shareable(trained)["weights"],
    )


def _accuracies(trained: Trained, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The test accuracies with their Wilson intervals: as the recipe tests, and of one view where that differs."""
    metrics, crops = result["metrics"], trained.cfg.recipe.test_crops
    kinds = [("test/accuracy", "one view of each image" if crops == 1 else f"mean of {crops} crops of each image")]
    if crops != 1 and "test/accuracy_single_view" in metrics:
        kinds.append(("test/accuracy_single_view", "one view of each image"))
    n = int(metrics["test/n"])
    found = [(float(metrics[key]), what) for key, what in kinds]
    return [{"what": what, "value": value, "interval": wilson(round(value * n), n)} for value, what in found]


def _without_twins(result: dict[str, Any]) -> dict[str, Any] | None:
    """``sentence`` on test images with twins, where there are some; ``value``, ``interval`` and ``n`` on the rest."""
    sentence, known = leaks.with_twins([result]), leaks.without_twins([result])
    if not sentence or known is None:
        return None
    hits, n = known
    share = {"value": hits / n, "interval": wilson(hits, n)} if n else {}
    return {"sentence": sentence, "n": n, **share}


def _front(trained: Trained, rows: list[dict[str, Any]]) -> ModelCardData:
    cfg, free = trained.cfg, not trained.cfg.dataset.of_people
    attention = [cfg.attention.name] if takes_attention(cfg.backbone) and cfg.attention.name != "none" else []
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=cfg.dataset.name,
            dataset_name=f"{cfg.dataset.title or cfg.dataset.name}, split {cfg.split.name}",
            dataset_split="test",
            metric_type="accuracy",
            metric_name=f"Test accuracy, {row['what']}",
            metric_value=round(row["value"], 6),
        )
        for row in rows
    ]
    return ModelCardData(
        license="mit" if free else "other",
        license_name=None if free else f"terms-of-{cfg.dataset.name}",
        library_name=LIBRARY,
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", cfg.backbone.name, *attention, "onnx"],
        metrics=["accuracy"],
        model_name=trained.title if results else None,
        eval_results=results or None,
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", " %")


def _cell(text: str) -> str:
    """A text that a Markdown table can hold."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
