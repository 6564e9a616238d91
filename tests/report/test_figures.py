"""The figures of a run, and what it prints at its end."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from conftest import plain, quickly_composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.figure import Figure
from rich.console import Console

from fersweep.config.command_line import check_command_line
from fersweep.config.compose import compose_config
from fersweep.config.schema import choices_of
from fersweep.report import figures
from fersweep.report.statistics import wilson
from fersweep.report.summary import print_done, print_summary
from fersweep.report.ticks import exact_ticks
from fersweep.runs.status import write_config

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "contempt")
VGG_RESNETS = "backbone=vgg19,resnet50,resnetv2_50 attention="


def counts_of(k: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.multinomial(60 * (i + 1), np.full(k, 0.3 / k) + 0.7 * np.eye(k)[i]) for i in range(k)])


def history_of(epochs: int) -> pd.DataFrame:
    x = np.linspace(0, 1, epochs)
    return pd.DataFrame(
        {
            "epoch": np.arange(epochs),
            "train/loss": 2 - x,
            "train/accuracy": 0.3 + 0.6 * x,
            "val/loss": 2 - 0.7 * x,
            "val/accuracy": 0.3 + 0.4 * x,
            "val/macro_f1": 0.25 + 0.4 * x,
            "lr": 0.1 * (1 - 0.9 * x),
            "seconds": 1.5,
        }
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved, as an object."""
    saved: list[Figure] = []
    save = figures.save_png

    def remember(figure: Figure, path: Path) -> None:
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save_png", remember)
    return saved


def texts_of(figure: Figure) -> list[str]:
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [text.get_text() for text in texts]


def assert_inside(figure: Figure) -> None:
    """Every word of a confusion matrix lies on the canvas."""
    (axes,), frame = figure.axes, figure.bbox
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    for label in [*figure.texts, *axes.texts, *ticks, axes.xaxis.label, axes.yaxis.label]:
        box = label.get_window_extent()
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, label.get_text()
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, label.get_text()


@pytest.mark.parametrize("k", [2, 7, 8])
def test_confusion_matrix_says_what_was_counted(tmp_path: Path, drawn: list[Figure], k: int) -> None:
    counts = counts_of(k)
    path = tmp_path / "confusion_matrix.png"
    figures.confusion_matrix(counts, NAMES[:k], path, "resnet50", "a subtitle " + "that is long " * 9)
    assert path.stat().st_size < 200_000
    image = matplotlib.image.imread(path)
    assert min(image.shape[:2]) > 400

    (figure,) = drawn
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(1, keepdims=True))
    texts = texts_of(figure)
    low, high = wilson(int(np.trace(counts)), int(counts.sum()))
    caption = f"Accuracy {100 * np.trace(counts) / counts.sum():.2f} % (95 % CI {100 * low:.2f}–{100 * high:.2f})"
    assert any(text.startswith(caption) and text.endswith(f"n = {counts.sum():,}") for text in texts)
    assert f"{counts[1, 1] / counts[1].sum():.1%}\nn = 120" in texts
    assert {f"{count:,}" for count in counts.flat} <= set(texts)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES[:k])
    assert_inside(figure)


def test_confusion_matrix_has_room_for_long_names(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("happily surprised and relieved", "neutral")
    figures.confusion_matrix(np.array([[2, 0], [1, 3]]), names, tmp_path / "m.png", "t")
    assert_inside(drawn[0])


def test_confusion_matrix_leaves_a_class_without_images_blank(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.confusion_matrix(np.array([[0, 0], [1, 3]]), ("a", "b"), tmp_path / "m.png", "t")
    texts = texts_of(drawn[0])
    assert "–\nn = 0" in texts
    assert "75.0%\nn = 4" in texts
    assert any("Accuracy 75.00 %" in text and "mean recall 75.00 %" in text for text in texts)


@pytest.mark.parametrize("epochs", [1, 4, 200])
def test_learning_curves_show_the_history(tmp_path: Path, drawn: list[Figure], epochs: int) -> None:
    history = history_of(epochs)
    best = epochs // 2
    path = tmp_path / "learning_curves.png"
    figures.learning_curves(history, path, best)
    assert path.stat().st_size < 200_000
    loss, accuracy, rate = drawn[0].axes
    for axes, line, column in (
        (loss, 0, "train/loss"),
        (loss, 1, "val/loss"),
        (accuracy, 0, "train/accuracy"),
        (accuracy, 1, "val/accuracy"),
        (rate, 0, "lr"),
    ):
        np.testing.assert_allclose(np.asarray(axes.lines[line].get_ydata(), dtype=float), history[column])
    (legend,) = drawn[0].legends
    assert f"best epoch: {best} ({history['val/accuracy'][best]:.2%})" in [text.get_text() for text in legend.texts]


@pytest.mark.parametrize(
    ("epochs", "low", "high"), [(1, 0.5, 0.5), (2, 0.31, 0.3149), (7, 0.0, 0.09), (40, 0.1, 0.98), (200, 0.31, 0.7)]
)
def test_ticks_are_labelled_with_their_values(
    tmp_path: Path, drawn: list[Figure], epochs: int, low: float, high: float
) -> None:
    """No percentage is a rounded one, and epochs are whole numbers."""
    scores = np.linspace(low, high, epochs)
    history = history_of(epochs).assign(**dict.fromkeys(("train/accuracy", "val/accuracy", "val/macro_f1"), scores))
    history["lr"] = 0.00123456
    figures.learning_curves(history, tmp_path / "c.png", 0)
    loss, accuracy, rate = drawn[0].axes
    for axis, unit in ((loss.yaxis, ""), (accuracy.yaxis, "%"), (accuracy.xaxis, ""), (rate.yaxis, "")):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        values = [(100 if unit else 1) * float(tick) for tick in axis.get_ticklocs()]
        assert [float(label.removesuffix(unit).replace("−", "-")) for label in labels] == pytest.approx(
            values, abs=1e-9
        )
        assert all(label.endswith(unit) for label in labels)
        assert len(set(labels)) == len(labels)
    assert all(label.get_text().lstrip("−").isdigit() for label in accuracy.get_xticklabels())


@pytest.mark.parametrize("factor", [1, 100])
def test_labels_are_exact_for_any_range(factor: int) -> None:
    axes = figures.blank(4, 3).add_subplot()
    exact_ticks(axes.yaxis, factor)
    rng = np.random.default_rng(0)
    for _ in range(200):
        low, size = rng.uniform(-1, 1), 10 ** rng.uniform(-4, 4)
        axes.set_ylim(low, low + size)
        ticks = axes.yaxis.get_majorticklocs()
        labels = axes.yaxis.get_major_formatter().format_ticks(ticks)
        assert [float(label.replace("−", "-")) for label in labels] == pytest.approx(factor * ticks, rel=1e-9, abs=1e-9)
        assert len({len(label.partition(".")[2]) for label in labels}) == 1
        step = np.diff(ticks).min() / 10 ** np.floor(np.log10(np.diff(ticks).min()) + 1e-9)
        assert round(step, 6) in (1, 2, 5)


def test_learning_curves_leave_gaps_where_values_are_missing(tmp_path: Path) -> None:
    history = history_of(3)
    history.loc[1, ["train/loss", "val/loss", "val/accuracy"]] = float("nan")
    figures.learning_curves(history, tmp_path / "c.png", 2)
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figures.confusion_matrix(counts_of(3), NAMES[:3], tmp_path / f"{name}.png", "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_imports_are_light() -> None:
    code = (
        "import sys, fersweep.report.figures, fersweep.report.statistics, fersweep.report.summary, "
        "fersweep.runs.status, fersweep.tracking; "
        "print(*{'torch', 'wandb', 'pytorch_lightning', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def result_of(**changes: Any) -> dict[str, Any]:
    choices = {"backbone": "resnetv2_152", "attention": "none", "activation": "elu", "fidelity": "paper"}
    choices |= {"dataset": "fer2013", "split": "official", "augmentation": "none", "recipe": "modern"}
    metrics = {"val/accuracy": 0.7, "test/accuracy": 0.75, "test/macro_f1": 0.7, "test/loss": 1.0, "test/n": 400}
    return {
        "run": "3fa9c2d1b7",
        "title": "ResNetV2-152, ELU",
        "choices": choices,
        "seed": 42,
        "metrics": metrics,
        "best_epoch": 7,
        "epochs": 10,
        "params_total": 58_000_123,
        "params_trainable": 58_000_123,
        "seconds": 4123.4,
        "images_per_second": 812.3,
        "majority_baseline": 0.2449,
        "shared_subjects": 0,
    } | changes


def printed(function: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=80)
    function(*arguments, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_summary_says_score_interval_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "outputs" / "runs" / "resnetv2_152-none-elu-3fa9c2d1b7"
    run_dir.mkdir(parents=True)
    (run_dir / "history.csv").touch()
    (run_dir / "config.yaml").write_text(
        "dataset: {name: fer2013, title: FER2013, root: /data/my faces}\n"
        "fidelity: {name: paper, title: as its paper defines it}\n"
    )
    text = printed(print_summary, result_of(), run_dir, NAMES[:7])
    assert "\x1b" not in text
    low, high = wilson(300, 400)
    assert f"75.00%  (95 % interval {low:.2%} to {high:.2%}, n = 400)" in text
    for part in ("24.49%", "0.7000", "70.00% at epoch 7 of 10", "58,000,123", "1 h 08 min", "812 images/s"):
        assert part in text
    assert "ResNetV2-152, ELU · as its paper defines it  " in text
    assert "FER2013 · official · no augmentation · 7 classes  " in text
    assert "Files: outputs/runs/resnetv2_152-none-elu-3fa9c2d1b7/" in text
    assert "history.csv" in text
    assert "result.json" not in text
    assert "Warning" not in text
    command = text.split("Next: ")[1].splitlines()[0]
    assert command.startswith("uv run train.py -m backbone=resnetv2_152 attention=none,se,eca,cbam dataset=fer2013 ")
    assert command.endswith("'dataset.root=/data/my faces'")
    body = [line for line in text.splitlines() if not line.startswith(("Files", "Next"))]
    assert max(map(len, body)) <= 80


@pytest.mark.parametrize("root", ["/data/a=b,c", "/data/it's (old)", "/data/{x} [1]"])
def test_the_command_to_try_next_finds_the_data_again(tmp_path: Path, root: str) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"dataset": {"root": root}, "plugins": ["mylab"]}))
    text = printed(print_summary, result_of(), tmp_path, NAMES[:7])
    (override,) = (
        each for each in shlex.split(text.split("Next: ")[1].splitlines()[0]) if each.startswith("dataset.root")
    )
    assert OverridesParser.create().parse_override(override).value() == root
    assert " 'plugins=[mylab]'" in text.split("Next: ")[1].splitlines()[0]


def test_summary_warns_of_shared_subjects(tmp_path: Path) -> None:
    text = printed(print_summary, result_of(shared_subjects=3), tmp_path, NAMES[:7])
    assert "Warning: 3 people in the test part are in the training part too" in text
    assert "split=subjects" in text


@pytest.mark.parametrize(("counts", "warned"), [([[0, 60], [0, 40]], True), ([[50, 10], [10, 30]], False)])
def test_summary_warns_of_a_network_that_never_learnt(tmp_path: Path, counts: list[list[int]], warned: bool) -> None:
    text = printed(print_summary, result_of(confusion_matrix=counts, epochs=1), tmp_path, NAMES[:2])
    assert ("Warning: after 1 epoch this network's answers" in " ".join(text.split())) is warned


def test_summary_says_what_the_test_part_shares_with_training(tmp_path: Path) -> None:
    metrics = result_of()["metrics"] | {"test/accuracy_without_twins": 0.72, "test/n_without_twins": 350}
    counts = {"either": {"identical": 40, "near": 10}, "dropped": 0}
    result = result_of(metrics=metrics, twins=counts, shared_subjects=3, shared_subject_images=90)
    text = " ".join(printed(print_summary, result | {"shared_sequence_images": 12}, tmp_path, NAMES[:7]).split())
    assert "without twins 72.00% (n = 350; 50 of 400 test images have an identical (40) or near-identical (10)" in text
    assert "3 people in the test part are in the training part too (90 of 400 test images), so this score" in text
    assert "Warning: 12 of 400 test images come from sequences that training also has" in text
    none = counts | {"either": {"identical": 0, "near": 0}, "dropped": 55}
    text = printed(print_done, result_of(metrics=metrics, twins=none), tmp_path)
    assert "without twins" not in text
    assert "55 training and validation images" in text


def test_one_fold_is_called_one_and_the_others_are_proposed(tmp_path: Path) -> None:
    config = plain(quickly_composed("split=subjects", "split.fold=1", "seed=42", "recipe.max_epochs=3"))
    write_config(tmp_path, config)
    result = result_of(choices=choices_of(config), fold=1, folds=4)
    text = printed(print_summary, result, tmp_path, NAMES[:7])
    assert "synthetic faces · subjects · fold 1 of 4" in text
    command = text.split("Next: ")[1].splitlines()[0]
    assert command == "uv run train.py -m split=subjects recipe.max_epochs=3 seed=42 split.fold=0,2,3"


@pytest.mark.parametrize(
    ("chosen", "sweep", "kept"),
    [
        (
            ["attention=none", "backbone=vgg16", "backbone.model.batch_norm=true"],
            "backbone=vgg16 attention=none,se,eca,cbam",
            ["backbone.model.batch_norm=true"],
        ),
        (["attention=eca", "attention.gamma=3"], VGG_RESNETS + "eca", ["attention.gamma=3"]),
        (["backbone=resnet101", "backbone.model.depths=[1,1,1,1]"], VGG_RESNETS + "cbam", []),
    ],
)
def test_the_command_to_try_next_keeps_what_was_set(
    tmp_path: Path, chosen: list[str], sweep: str, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["trainer=cpu", "recipe.max_epochs=3", "seed=5", "sweep=my sweep", "outputs=out"]
    config = plain(compose_config([*chosen, *settings]))
    write_config(tmp_path, config)
    text = printed(print_summary, result_of(choices=choices_of(config)), tmp_path, NAMES[:7])
    words = shlex.split(text.split("Next: ")[1].splitlines()[0])
    assert words[:4] == ["uv", "run", "train.py", "-m"]
    assert " ".join(words[4:6]) == sweep
    assert sorted(words[6:]) == sorted([*kept, *settings])
    check_command_line(words[3:])


def test_done_says_how_to_force(tmp_path: Path) -> None:
    text = printed(print_done, result_of(), tmp_path)
    assert "done already, nothing to do; force=true runs it again" in " ".join(text.split())
    assert "75.00%" in text
    assert str(tmp_path) in text
