"""The study's figures (``study.yaml``), and how a run's settings stand to its protocol."""

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

NETWORK = ("backbone", "attention", "activation", "fidelity", "dataset.image_size", "dataset.channels")
"""The parts of a configuration that make a run another row than one of the study's table where they differ."""

PROTOCOL = ("dataset", "split", "augmentation", "recipe", "weights", "trainer")
"""Those that make it the same row under other conditions."""

DETECTOR = "yolo5face"
"""What the study found faces with, where it cut them out: YOLO5Face, above a confidence of 0.5."""

PRECISION = "32-true"
"""What both sources computed in, by Lightning's name."""


@cache
def study() -> dict[str, Any]:
    """The content of ``study.yaml``."""
    import yaml

    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def rows() -> list[tuple[str, str]]:
    """Backbone and attention of the 32 rows, in the table's order."""
    return [(backbone, attention) for backbone, options in study()["rows"].items() for attention in options]


def notes(backbone: str, attention: str) -> str:
    """What is known to be wrong with a row of the study's table; empty where nothing is."""
    return str(study()["notes"].get(f"{backbone} {attention}", ""))


def titled(group: str, option: str) -> str:
    """How a person reads an option."""
    from fersweep.config.options import option_file

    return str(option_file(group, option).get("title") or option)


def title(backbone: str, attention: str) -> str:
    """A row of the study's table in words."""
    return titled("backbone", backbone) + ("" if attention == "none" else f" + {titled('attention', attention)}")


@cache
def _composed(dataset: str) -> dict[str, Any]:
    """The configuration of a run on ``dataset`` as the study trained (0.1 s)."""
    from fersweep.config.compose import compose_config
    from fersweep.config.schema import to_dict

    chosen = [f"dataset={dataset}", "dataset.root=anywhere", "activation=elu", "augmentation=flip_zoom"]
    return to_dict(compose_config(["experiment=table_attention", *chosen]))


def _protocol(dataset: str, backbone: str, attention: str, fidelity: str) -> dict[str, Any]:
    """The settings of a row of the study's table, in either form, with dotted names."""
    from fersweep.config.options import option_file

    options = {"backbone": backbone, "attention": attention, "fidelity": fidelity}
    chosen = {group: option_file(group, option) for group, option in options.items()}
    return integral(completed(settings_of(_composed(dataset) | chosen)))


def reported(settings: Mapping[str, Any], varied: Collection[str] = ()) -> tuple[Reported | None, tuple[str, ...]]:
    """What the study prints for a run, and where the run's protocol is another.

    Args:
        settings: of a run, see `fersweep.runs.collect.settings_of`.
        varied: settings that differ between the rows of a report. Where the study has an ablation of one, its figure is
            taken, also at the value that the main table has.

    Returns:
        The figures of the study's table or of one of its ablations, ``None`` where neither has this network on this
        dataset; and sentences such as ``"recipe.max_epochs is 3, not 200"``, none where all is as in the study.
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
    told = sentences([key for key in left if not _of_network(key)], settings, expected)
    if settings.get("dataset.faces") == "none" != expected["dataset.faces"]:
        told = [each for each in told if not each.startswith(("dataset.faces", "dataset.face_crop"))]
        told.insert(0, f"dataset.faces is none, not {DETECTOR}: the study cut the faces out")
    return figures, tuple(told)


def deviations(
    figures: Reported, protocol: tuple[str, ...], settings: Mapping[str, Any], results: Collection[Any], n: int
) -> tuple[Reported, tuple[str, ...]]:
    """What else the runs of a row did otherwise than a source, as their results tell.

    Another number of images is another part of the data: it joins the sentences of ``protocol``, unless these say so
    already. The precision that was computed in, and a detector other than the study's, leave the comparison as it is:
    they are named in the note on the figures.

    Args:
        figures, protocol: as `reported`, or the notebook's, returned them.
        settings: of the runs.
        results: their ``result.json``.
        n: images that the figures are compared over.
    """
    told = protocol
    if n != figures.n and not any(each.startswith(("split", "dataset.source")) for each in protocol):
        told = (*protocol, f"the {figures.part} part has {n:,} images, not {figures.n:,}")
    precisions = sorted({str(each.get("environment", {}).get("precision", PRECISION)) for each in results})
    named = [f"trainer.precision is {each}, not {PRECISION}" for each in precisions if each != PRECISION]
    cut_out = settings.get("dataset.faces", "none") != "none"
    if cut_out and settings["dataset.faces"] != DETECTOR and not any("dataset.faces" in each for each in protocol):
        named.append(f"faces are found by {settings['dataset.faces']}, not by {DETECTOR}")
    note = f"{figures.note} Also different from the source: {'; '.join(named)}.".strip() if named else figures.note
    return replace(figures, note=note), told


def _of_network(key: str) -> bool:
    return key in NETWORK or key.partition(".")[0] in NETWORK


def _same_crop(key: str, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether a setting of the detector leaves the study's crop what it is: it may be MTCNN, or the study's own."""
    faces = settings.get("dataset.faces")
    if expected["dataset.faces"] == "none" or faces == "none":
        return False
    own = {"dataset.faces": DETECTOR, "dataset.face_crop.confidence": 0.5}
    return faces == DETECTOR and (key == "dataset.face_crop.weights" or own.get(key, ()) == settings.get(key))


def different(settings: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The settings in which a run differs from a protocol, but for what belongs to no protocol."""
    ignored = {"trainer.precision", "seed"}
    keys = [key for key in dict.fromkeys([*settings, *expected]) if key not in ignored]
    return [key for key in keys if settings.get(key) != expected.get(key)]


def sentences(
    different: Collection[str],
    settings: Mapping[str, Any],
    expected: Mapping[str, Any],
    groups: Collection[str] = PROTOCOL,
) -> list[str]:
    """What is otherwise than in the study's protocol; where another option was chosen, that alone."""
    chosen = [group for group in groups if f"{group}.name" in different]
    keys = [f"{group}.name" for group in chosen]
    keys += [key for key in different if key.partition(".")[0] in groups and key.partition(".")[0] not in chosen]
    said = [tuple("null" if each.get(key) is None else each[key] for each in (settings, expected)) for key in keys]
    return [f"{key.removesuffix('.name')} is {ours}, not {its}" for key, (ours, its) in zip(keys, said, strict=True)]


def _table(dataset: str, backbone: str, attention: str) -> Reported:
    """A row of the study's main table."""
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
    """The figures of an ablation, where a network differs from the table's in its setting alone, and what that begins
    with; else ``None`` and nothing.
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
"""The variance of the best of three normal values, in those of one (H. J. Godwin, Annals of Mathematical Statistics 20
(1949) 279–285, table 1)."""


def expected_range(accuracy: Mean, n: int, figures: Reported) -> tuple[float, float] | None:
    """Where a figure like the reported one is expected, with 95 %, had the study's runs been like ours.

    mean ± √(t² s² (1 + 1/k) + 1.96² · p(1 - p) · (1/n + 1/m)), with s the standard deviation over k seeds, t the
    quantile of Student's distribution with k - 1 degrees of freedom, and p the accuracy (Agresti and Coull's: two more
    hits and misses). The second part, of other images, is left out where the study tested on as many images as we: they
    are the same; it validated on others. Of a best of three, the mean best of three of ours stands in the middle, with
    the spread of such.

    Returns:
        ``None`` with fewer than `MIN_SEEDS` seeds, which say too little of how much runs differ.
    """
    from scipy.stats import t

    assert figures.best_of in (1, 3), "the spread of other bests is not known here"
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
    """Whether a reported accuracy holds up against ours over ``n`` images of the same part, test or validation.

    ``within`` where the reported figure lies in `expected_range`, ``above`` or ``below`` where ours is higher or lower
    than that, ``too few seeds`` where there is none, ``cannot be right`` where it is no multiple of 1 / n of its own
    test set, neither rounded nor cut off.
    """
    possible, arithmetic = multiple_of(figures.accuracy_percent, figures.n)
    if not possible:
        return Verdict("cannot be right", f"{arithmetic}: neither rounded nor cut off.", not protocol)
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
