"""The model card: training data, test results, intended use, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fersweep.config.schema import NAMED, takes_attention, title, title_of, to_dict
from fersweep.errors import UserError, extra
from fersweep.files import atomic_path
from fersweep.inference.export import about
from fersweep.inference.trained import Trained
from fersweep.report import leaks
from fersweep.report.statistics import wilson
from fersweep.training.commit import commit

with extra("fersweep export"):
    from huggingface_hub import EvalResult, ModelCardData

TEMPLATES = Path(__file__).parent / "templates"
LIBRARY = "fersweep"

NOT_FOR = (
    "decisions about people, such as hiring, grading, credit, policing, border control, health or insurance",
    "inferring feelings, intentions or character",
    "watching people without their consent",
)
"""Uses that the card rules out."""


def write(trained: Trained, path: Path, half: bool = False) -> None:
    """Write the card of a network, the ``README.md`` of a Hub repository; see `files.write`.

    With ``half`` it describes `fersweep.inference.export.files.HALF_FOLDER`.
    """
    refuse_foreign(path)
    text = render(trained, half)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refuse_foreign(path: Path) -> None:
    """Raise UserError if ``path`` exists and is not a card of this program."""
    if path.exists() and f"library_name: {LIBRARY}" not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path} exists and is not a model card of fersweep: name another file or folder.")


def parameters(trained: Trained) -> int:
    """Return the number of a network's parameters."""
    return sum(each.numel() for each in trained.network.parameters())


def render(trained: Trained, half: bool = False) -> str:
    """Return the card as Markdown, with the Hub's metadata as front matter; errors are those of `about.result`."""
    result = about.result(trained)
    rows = _accuracies(trained, result) if result else []
    config, command = to_dict(trained.cfg), about.command_of(trained)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; class names, which users choose, are escaped by `_cell`
    )
    environment.filters |= {"percent": _percent, "cell": _cell}
    return environment.get_template("card.md.j2").render(
        front=_front(trained, rows, half).to_yaml(),
        half=half,
        not_for=NOT_FOR,
        terms=about.terms(trained),
        command=command,
        trained_at=about.trained_at(result),
        commit=commit(),
        trained=trained,
        cfg=trained.cfg,
        network=", ".join([title(config), title_of(config, "fidelity"), *about.changed(command or "")]),
        titles={group: title_of(config, group) for group in NAMED},
        result=result,
        rows=rows,
        twins=_without_twins(result) if result else None,
        fold=leaks.fold(result) if result else "",
        metadata=about.metadata(trained),
        parameters=parameters(trained),
        weights=about.shareable(trained)["weights"],
    )


def _accuracies(trained: Trained, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the test accuracies with Wilson intervals: as the recipe tests, and for one view if that differs."""
    metrics, crops = result["metrics"], trained.cfg.recipe.test_crops
    kinds = [("test/accuracy", "one view of each image" if crops == 1 else f"mean of {crops} crops of each image")]
    if crops != 1 and "test/accuracy_single_view" in metrics:
        kinds.append(("test/accuracy_single_view", "one view of each image"))
    n = int(metrics["test/n"])
    found = [(float(metrics[key]), what) for key, what in kinds]
    return [{"what": what, "value": value, "interval": wilson(round(value * n), n)} for value, what in found]


def _without_twins(result: dict[str, Any]) -> dict[str, Any] | None:
    """Return a ``sentence`` on test images with twins, and accuracy, interval and ``n`` of the other images."""
    sentence, known = leaks.with_twins([result]), leaks.without_twins([result])
    if not sentence or known is None:
        return None
    hits, n = known
    share = {"value": hits / n, "interval": wilson(hits, n)} if n else {}
    return {"sentence": sentence, "n": n, **share}


def _front(trained: Trained, rows: list[dict[str, Any]], half: bool) -> ModelCardData:
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
        tags=["facial-expression-recognition", cfg.backbone.name, *attention, *([] if half else ["onnx"])],
        metrics=["accuracy"],
        model_name=trained.title if results else None,
        eval_results=results or None,
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", " %")


def _cell(text: str) -> str:
    """Escape a text for a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
