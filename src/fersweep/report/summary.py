"""The summary that a run prints when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fersweep.config.schema import GROUPS, takes_attention
from fersweep.errors import UserError
from fersweep.report import again, leaks
from fersweep.report.effects import at_chance
from fersweep.report.formats import peta
from fersweep.report.statistics import wilson
from fersweep.report.titles import titled
from fersweep.runs.collect import config_of
from fersweep.text import command, counted, duration

FILES = (
    ("result.json", "scores, choices, environment"),
    ("predictions.parquet", "label, prediction and probabilities of every test image"),
    ("history.csv", "one row per epoch"),
    ("confusion_matrix.png", "per class, with recall"),
    ("learning_curves.png", "loss and accuracy over the epochs"),
    ("checkpoints/best.ckpt", "the weights that were tested"),
)


def print_summary(result: Mapping[str, Any], run_dir: Path, class_names: Sequence[str], console: Console) -> None:
    """Print the scores of a run, its files and a command to try next.

    Args:
        result: the content of ``result.json``, with ``title`` (the network in words), ``majority_baseline`` (the test
            accuracy of always answering training's most frequent class, a fraction) and, if known, the images that
            the test part shares with training (`fersweep.report.leaks`).
        run_dir: the directory of the run; only existing files are listed.
        class_names: the names of the classes, in order.
        console: prints plain text unless it is a terminal.
    """
    choices, config = result["choices"], config_of(run_dir)
    (titles,) = titled([(run_dir, choices)])
    titles = titles | {"fold": leaks.fold(result)} if leaks.fold(result) else titles
    faces = config.get("dataset", {}).get("faces", "none")
    cut = "" if faces == "none" else f" · faces cut out by {faces}"
    rows = [
        ("network", f"{escape(result['title'])} · {_join(titles, 'fidelity')}"),
        ("data", f"{_join(titles, 'dataset', 'split', 'fold', 'augmentation')} · {len(class_names)} classes{cut}"),
        ("recipe", f"{_join(titles, 'recipe')} · seed {result['seed']}"),
        *_scores(result),
        ("parameters", _parameters(result["params_total"], result["params_trainable"])),
        *_cost(result),
        ("time", f"{duration(result['seconds'])} · {result['images_per_second']:,.0f} images/s in training"),
    ]
    _print_rows(f"Run {result['run']} is done", rows, console)
    _warn(result, console)
    _print_files(run_dir, console)
    print_command("Next", _other_folds(result, config) or _suggestion(choices, config), console)


def _cost(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the row of the training's operations, if they are known."""
    flops, forward = result.get("training_flops"), result.get("forward_flops")
    if flops is None or forward is None:
        return []
    return [("operations", f"{peta(flops)} PFLOP in training · {forward / 1e9:.3f} GFLOP per image")]


def print_done(result: Mapping[str, Any], run_dir: Path, console: Console) -> None:
    """Print that the run was done already, its scores, its files and how to run it again."""
    _print_rows(
        f"Run {result['run']} is done already, nothing to do; force=true runs it again", _scores(result), console
    )
    _warn(result, console)
    _print_files(run_dir, console)


def _scores(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of scores: each accuracy with its interval, n, twins and the majority baseline."""
    metrics = result["metrics"]
    n = int(metrics["test/n"])
    accuracy = metrics["test/accuracy"]
    low, high = wilson(round(accuracy * n), n)
    return [
        ("test accuracy", f"[bold]{accuracy:.2%}[/bold]  (95 % interval {low:.2%} to {high:.2%}, n = {n:,})"),
        *_without_twins(result),
        ("test macro-F1", f"{metrics['test/macro_f1']:.4f}"),
        ("majority class", f"{result['majority_baseline']:.2%}  (accuracy of always naming the most frequent class)"),
        ("validation", f"{metrics['val/accuracy']:.2%} at epoch {result['best_epoch']} of {result['epochs']}"),
    ]


def _without_twins(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows on the accuracy without twins, if test images have some, and on dropped twins."""
    rows, known = [], leaks.without_twins([result])
    if known and (twins := leaks.with_twins([result])):
        hits, n = known
        score = f"{hits / n:.2%}  (n = {n:,}; {twins})" if n else f"–  ({twins})"
        rows.append(("  without twins", score))
    if dropped := (result.get("twins") or {}).get("dropped"):
        rows.append(("twins dropped", f"{dropped:,} training and validation images that have a twin in the test part"))
    return rows


def _warn(result: Mapping[str, Any], console: Console) -> None:
    for warning in _warnings(result):
        console.print(f"[yellow]Warning:[/yellow] {warning}", highlight=False)


def _warnings(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield warnings about a network that has not learnt, and about people and sequences shared with training."""
    n = f"{int(result['metrics']['test/n']):,}"
    counts = result.get("confusion_matrix")
    if counts and at_chance(np.array(counts)):
        epochs = counted(result["epochs"], "epoch")
        yield (
            f"after {epochs} this network's answers have nothing to do with the images: it never left chance. More "
            "epochs, a larger recipe.early_stopping_patience or another seed may let it learn."
        )
    if shared := result.get("shared_subjects"):
        people = "person in the test part is" if shared == 1 else "people in the test part are"
        images = result.get("shared_subject_images")
        count = "" if images is None else f" ({images:,} of {n} test images)"
        yield (
            f"{shared} {people} in the training part too{count}, so this score says little about new faces; "
            "split=subjects keeps people apart."
        )
    if images := result.get("shared_sequence_images"):
        yield (
            f"{images:,} of {n} test images come from sequences that training also has; "
            "split=random and split=subjects keep the frames of a sequence together."
        )


def _print_rows(title: str, rows: Sequence[tuple[str, str]], console: Console) -> None:
    """Print a title and a borderless table of two columns, wrapped to the console's width."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    console.print()
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False)
    console.print(table, highlight=False)


def _print_files(run_dir: Path, console: Console) -> None:
    """List the existing files of the run below its directory; paths are never wrapped."""
    present = [(name, what) for name, what in FILES if (run_dir / name).exists()]
    console.print()
    console.print(f"[dim]Files:[/dim] {escape(shown(run_dir))}{os.sep}", highlight=False, soft_wrap=True)
    width = max((len(name) for name, _ in present), default=0)
    for name, what in present:
        console.print(f"  {name:{width}}  [dim]{what}[/dim]", highlight=False)


def print_command(label: str, line: str, console: Console) -> None:
    """Print a command on one line, for copying."""
    console.print()
    console.print(f"[dim]{label}:[/dim] {escape(line)}", highlight=False, soft_wrap=True)


def _other_folds(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the command that runs the other folds of a split with the same settings; empty if it has none."""
    folds = result.get("folds")
    if folds is None:
        return ""
    others = ",".join(str(each) for each in range(folds) if each != result["fold"])
    kept = again.overrides(config, without=("split.fold", "split.function.fold", "force"))
    return " ".join([command(), "-m", *kept, f"split.fold={others}"])


def _suggestion(choices: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """Return a command to try next: all attention modules on this network or, if it has one, other networks."""
    backbone, attention = choices["backbone"], choices["attention"]
    if not takes_attention(config.get("backbone", {})):
        sweep = f"backbone={backbone},resnet50"
    elif attention == "none":
        sweep = f"backbone={backbone} attention=none,se,eca,cbam"
    else:
        sweep = f"backbone=vgg19,resnet50,resnetv2_50 attention={attention}"
    return " ".join([command(), "-m", sweep, *_kept(choices, config, sweep)])


def _kept(choices: Mapping[str, str], config: Mapping[str, Any], sweep: str) -> list[str]:
    """Return the overrides of a run that a sweep over other networks keeps, quoted for a shell."""
    swept = [each.partition("=")[0] for each in sweep.split() if "," in each]
    named = [each.partition("=")[0] for each in sweep.split()]
    with suppress(UserError):  # an option that has been renamed since the run began
        if all(group in config for group in GROUPS):
            every = again.overrides(config, without=(*swept, "force"))
            return [each for each in every if each.partition("=")[0] not in named]
    kept = [f"{group}={choices[group]}" for group in ("dataset", "split", "recipe") if group in choices]
    found = {"dataset.root": config.get("dataset", {}).get("root"), "plugins": config.get("plugins")}
    return [*kept, *(again.setting(key, value) for key, value in found.items() if value)]


def shown(path: Path) -> str:
    """Return ``path`` relative to the working directory if it lies below it."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here) if resolved.is_relative_to(here) else resolved)


def _join(titles: Mapping[str, str], *groups: str) -> str:
    """Join the titles of some groups with dots; ``none`` becomes ``no <group>``."""
    words = [(group, titles[group]) for group in groups if group in titles]
    return " · ".join(escape(f"no {group}" if word == "none" else word) for group, word in words)


def _parameters(total: int, trainable: int) -> str:
    """Return a parameter count: ``23,512,519`` or ``23,512,519 (of which 14,343 are trained)``."""
    return f"{total:,}" if trainable == total else f"{total:,} (of which {trainable:,} are trained)"
