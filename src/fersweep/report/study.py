"""The study's figures (``study.yaml``), and deviations of a run from its protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fersweep.report.contents import Mean, Reported, Verdict
from fersweep.report.effects import best_of
from fersweep.report.statistics import MIN_SEEDS, multiple_of
from fersweep.runs.collect import settings_of
from fersweep.runs.identity import completed, integral

FILE = Path(__file__).with_name("study.yaml")

FIDELITIES = ("code", "paper")

NETWORK = ("backbone", "attention", "activation", "fidelity", "dataset.image_size", "dataset.channels", "recipe.crop")
"""The parts of a configuration that define the network: with others, a run is not a row of the study's table."""

PROTOCOL = ("dataset", "split", "augmentation", "recipe", "weights", "trainer")
"""The parts that define the protocol: with others, a run is the same row under other conditions."""

DETECTOR = "yolo5face"
"""The detector with which the study cropped faces: YOLO5Face, above a confidence of 0.5."""

PRECISION = "32-true"
"""The precision of both sources, by Lightning's name."""


@cache
def study() -> dict[str, Any]:
    """Return the content of ``study.yaml``."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def rows() -> list[tuple[str, str]]:
    """Return backbone and attention of the 32 rows, in the table's order."""
    return [(backbone, attention) for backbone, options in study()["rows"].items() for attention in options]


def notes(backbone: str, attention: str) -> str:
    """Return the known faults of a row of the study's table; empty if there are none."""
    return str(study()["notes"].get(f"{backbone} {attention}", ""))


def titled(group: str, option: str) -> str:
    """Return the title of an option."""
    from fersweep.config.options import option_file

    return str(option_file(group, option).get("title") or option)


def title(backbone: str, attention: str) -> str:
    """Return the title of a row of the study's table."""
    return titled("backbone", backbone) + ("" if attention == "none" else f" + {titled('attention', attention)}")


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """Return the configuration of a run (0.1 s)."""
    from fersweep.config.compose import compose_config
    from fersweep.config.schema import to_dict

    return to_dict(compose_config([*overrides, "dataset.root=anywhere"]))


def _protocol(dataset: str, backbone: str, attention: str, fidelity: str) -> dict[str, Any]:
    """Return the settings of a row of the study's table in one fidelity, by dotted name."""
    from fersweep.config.options import option_file

    options = {"backbone": backbone, "attention": attention, "fidelity": fidelity}
    chosen = {group: option_file(group, option) for group, option in options.items()}
    usual = ("experiment=table_attention", f"dataset={dataset}", "activation=elu", "augmentation=flip_zoom")
    return integral(completed(settings_of(composed(*usual) | chosen)))


def reported(settings: Mapping[str, Any], varied: Collection[str] = ()) -> tuple[Reported | None, tuple[str, ...]]:
    """Return the study's figures for a run, and the deviations of the run from its protocol.

    Args:
        settings: of a run, see `fersweep.runs.collect.settings_of`.
        varied: settings that differ between the rows of a report. If the study has an ablation of one, its figure is
            used, even at the value of the main table.

    Returns:
        The figures of the study's table or of one of its ablations, ``None`` if neither has this network on this
        dataset; and sentences such as ``"recipe.max_epochs is 3, not 200"``, none if the protocol is the same.
        Fidelity and seed may be any; for precision and detector see `deviations`.
    """
    groups = ("dataset", "backbone", "attention", "fidelity")
    dataset, backbone, attention, fidelity = (str(settings.get(f"{group}.name")) for group in groups)
    if dataset not in study()["test_n"] or (backbone, attention) not in rows() or fidelity not in FIDELITIES:
        return None, ()
    expected = _protocol(dataset, backbone, attention, fidelity)
    differing = [key for key in different(settings, expected) if not _same_crop(key, settings, expected)]
    figures, setting = _ablation(settings, differing, varied, (dataset, backbone, attention))
    left = [key for key in differing if not (setting and f"{key}.".startswith(setting))]
    if figures is None and not any(map(_of_network, left)):
        figures = _table(dataset, backbone, attention)
    found = sentences([key for key in left if not _of_network(key)], settings, expected)
    if settings.get("dataset.faces") == "none" != expected["dataset.faces"]:
        found = [each for each in found if not each.startswith(("dataset.faces", "dataset.face_crop"))]
        found.insert(0, f"dataset.faces is none, not {DETECTOR}: the study cut the faces out")
    return figures, tuple(found)


def deviations(
    figures: Reported, protocol: tuple[str, ...], settings: Mapping[str, Any], results: Collection[Any], n: int
) -> tuple[Reported, tuple[str, ...]]:
    """Add the deviations of a row's runs that show in their results.

    Another number of images is a deviation of ``protocol``, unless it is listed already. Another precision or detector
    leaves the accuracies comparable: it is named in the note on the figures.

    Args:
        figures, protocol: from `reported`, or from that of the notebook.
        settings: of the runs.
        results: their ``result.json``.
        n: number of images of the accuracy to compare.
    """
    if n != figures.n and not any(each.startswith(("split", "dataset.source")) for each in protocol):
        protocol = (*protocol, f"the {figures.part} part has {n:,} images, not {figures.n:,}")
    precisions = sorted({str(each.get("environment", {}).get("precision", PRECISION)) for each in results})
    named = [f"trainer.precision is {each}, not {PRECISION}" for each in precisions if each != PRECISION]
    cut_out = settings.get("dataset.faces", "none") != "none"
    if cut_out and settings["dataset.faces"] != DETECTOR and not any("dataset.faces" in each for each in protocol):
        named.append(f"faces are found by {settings['dataset.faces']}, not by {DETECTOR}")
    note = f"{figures.note} Also different from the source: {'; '.join(named)}.".strip() if named else figures.note
    return replace(figures, note=note), protocol


def _of_network(key: str) -> bool:
    return key in NETWORK or key.partition(".")[0] in NETWORK


def _same_crop(key: str, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether a setting of the detector leaves the study's crop unchanged."""
    faces = settings.get("dataset.faces")
    if expected["dataset.faces"] == "none" or faces == "none":
        return False
    own = {"dataset.faces": DETECTOR, "dataset.face_crop.confidence": 0.5}
    return faces == DETECTOR and (key == "dataset.face_crop.weights" or own.get(key, ()) == settings.get(key))


def different(settings: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a run differs from a protocol, except precision and seed."""
    ignored = {"trainer.precision", "seed"}
    keys = [key for key in dict.fromkeys([*settings, *expected]) if key not in ignored]
    return [key for key in keys if settings.get(key) != expected.get(key)]


def sentences(
    different: Collection[str],
    settings: Mapping[str, Any],
    expected: Mapping[str, Any],
    groups: Collection[str] = PROTOCOL,
) -> list[str]:
    """Return deviations from a protocol as sentences; if another option was chosen, that alone."""
    chosen = [group for group in groups if f"{group}.name" in different]
    keys = [f"{group}.name" for group in chosen]
    keys += [key for key in different if key.partition(".")[0] in groups and key.partition(".")[0] not in chosen]
    said = [tuple("null" if each.get(key) is None else each[key] for each in (settings, expected)) for key in keys]
    return [f"{key.removesuffix('.name')} is {ours}, not {its}" for key, (ours, its) in zip(keys, said, strict=True)]


def _table(dataset: str, backbone: str, attention: str) -> Reported:
    """Return a row of the study's main table."""
    content, note = study(), notes(backbone, attention)
    figures = content["rows"][backbone][attention]
    accuracy = content["corrected"].get(f"{backbone} {attention}", {}).get(dataset, figures[dataset])
    if accuracy != figures[dataset]:
        note += (
            f" That one scored {accuracy:.2f} %, which stands here in place of the printed {figures[dataset]:.2f} %."
        )
    note = f"{note} {content['selection'].get(dataset, '')}".strip()
    return Reported(
        figures["params_m"],
        figures["total"],
        figures["trainable"],
        accuracy,
        content["test_n"][dataset],
        note,
        best_of=content["best_of"].get(dataset, 1),
    )


def _ablation(
    settings: Mapping[str, Any], different: list[str], varied: Collection[str], row: tuple[str, str, str]
) -> tuple[Reported | None, str]:
    """Return the figures of an ablation, and the prefix of its settings, if a network differs from the table's in that
    setting alone; else ``None`` and an empty text.
    """
    content = study()
    for each in content["ablations"].values():
        setting, values = each["setting"], each["values"]
        begins = setting.removesuffix("name") if setting.endswith(".name") else f"{setting}."
        others = [key for key in different if not f"{key}.".startswith(begins) and _of_network(key)]
        here = (each["dataset"], each["backbone"], each["attention"]) == row and not others
        value = settings.get(setting)
        if here and (setting in different or setting in varied) and value in values:
            params = each.get("params_m", {}).get(value)
            note = f"From the study's ablation of {setting}."
            of = content["best_of"].get(row[0], 1)
            return Reported(params, None, None, values[value], content["test_n"][row[0]], note, best_of=of), begins
    return None, ""


BEST_OF_THREE = 0.5595
"""The variance of the best of three normal values, relative to that of one (H. J. Godwin, Annals of Mathematical
Statistics 20 (1949) 279–285, table 1)."""


def expected_range(accuracy: Mean, n: int, figures: Reported) -> tuple[float, float] | None:
    """Return the range in which the reported accuracy is expected with 95 %, had the study's runs been like ours.

    mean ± √(t² s² (1 + 1/k) + 1.96² · p(1 - p) · (1/n + 1/m)), with s the standard deviation over k seeds, t the
    quantile of Student's distribution with k - 1 degrees of freedom, and p the accuracy (Agresti and Coull's: two more
    hits and misses). The second term, for other images, is left out if the study tested on as many images as we did,
    which are then the same; its validation images differ. The range of a best of three is centred on the mean best of
    three of ours, with the spread of such.

    Returns:
        ``None`` with fewer than `MIN_SEEDS` seeds, which say too little about the spread of runs.
    """
    from scipy.stats import t

    assert figures.best_of in (1, 3), "only the spread of a best of three is known"
    k = accuracy.n
    if accuracy.sd is None or k < MIN_SEEDS:
        return None
    p, m = (accuracy.mean * n + 2) / (n + 4), figures.n
    same = m == n and figures.part == "test"
    images = 0.0 if same else p * (1 - p) * (1 / n + 1 / m)
    best = figures.best_of == 3
    centre, spread = (best_of(accuracy.values, 3), BEST_OF_THREE * (1 + 3 / k)) if best else (accuracy.mean, 1 + 1 / k)
    half = (1.96**2 * images + (float(t.ppf(0.975, k - 1)) * accuracy.sd) ** 2 * spread) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def verdict(figures: Reported, accuracy: Mean, n: int, protocol: tuple[str, ...]) -> Verdict:
    """Judge a reported accuracy by ours over ``n`` images of the same part, test or validation.

    ``within``: the reported figure lies in `expected_range`; ``above`` or ``below``: ours is higher or lower;
    ``too few seeds`` for a range; ``cannot be right``: the figure is no multiple of 1 / n of its own test set, neither
    rounded nor truncated.
    """
    possible, calculation = multiple_of(figures.accuracy_percent, figures.n)
    if not possible:
        return Verdict("cannot be right", f"{calculation}: neither rounded nor cut off.", not protocol)
    on = "" if figures.part == "test" else f" on {figures.part}, ours {100 * accuracy.mean:.2f} %"
    reported = f"Reported {figures.accuracy_percent:.2f} %{on}"
    kept, value = expected_range(accuracy, n, figures), figures.accuracy_percent / 100
    if kept is None:
        seeds = "one seed" if accuracy.n == 1 else f"{accuracy.n} seeds"
        kind, sentence = "too few seeds", f"{reported}; {seeds} cannot say whether it holds: it takes {MIN_SEEDS}."
    else:
        low, high = kept
        kind = "within" if low <= value <= high else "above" if value < low else "below"
        what = "a single run" if figures.best_of == 1 else f"the best of {figures.best_of} runs"
        sentence = f"{reported}; {what} here is expected in {100 * low:.2f} to {100 * high:.2f} % ({accuracy.n} seeds)."
    if protocol:
        sentence += f" Not comparable: {'; '.join(protocol)}."
    return Verdict(kind, sentence, not protocol)
