"""The published study's figures (``study.yaml``), and how a run's settings stand to its protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fersweep.report.contents import Mean, Published, Verdict
from fersweep.report.statistics import multiple_of
from fersweep.sweep.collect import settings_of

FILE = Path(__file__).with_name("study.yaml")

NETWORK = ("backbone", "attention", "activation", "dataset")
"""The parts of a configuration that make a run another row than one of the study's table where they differ."""

PROTOCOL = ("split", "augmentation", "recipe", "weights", "trainer")
"""Those that make it the same row under other conditions."""


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


@cache
def _composed(dataset: str) -> dict[str, Any]:
    """The settings of a run on ``dataset`` as the study trained, with dotted names (0.1 s)."""
    from fersweep.compose import compose_config
    from fersweep.config import to_dict

    chosen = [f"dataset={dataset}", "dataset.root=anywhere", "activation=elu", "augmentation=flip_zoom"]
    published = [f"{group}=published" for group in ("fidelity", "split", "recipe")]
    return settings_of(to_dict(compose_config([*chosen, *published])))


def _protocol(dataset: str, backbone: str, attention: str) -> dict[str, Any]:
    """The settings of a row of the study's table, with dotted names."""
    import yaml

    from fersweep.compose import config_dir

    settings = _composed(dataset)
    for group, option in (("backbone", backbone), ("attention", attention)):
        file = yaml.safe_load((config_dir() / group / f"{option}.yaml").read_text(encoding="utf-8"))
        others = {key: value for key, value in settings.items() if not key.startswith(f"{group}.")}
        settings = others | settings_of(file, f"{group}.")
    return settings


def published(settings: Mapping[str, Any]) -> tuple[Published | None, tuple[str, ...]]:
    """What the study prints for a run, and where the run's protocol is another.

    Args:
        settings: of a run, see `fersweep.sweep.collect.settings_of`.

    Returns:
        The figures of the study's table or of one of its ablations, ``None`` where neither has this network on this
        dataset; and sentences such as ``"recipe.max_epochs is 3, not 200"``, none where all is as in the study.
        Fidelity, seed and precision may be any.
    """
    dataset, backbone, attention = (str(settings[f"{group}.name"]) for group in ("dataset", "backbone", "attention"))
    if dataset not in study()["test_n"] or (backbone, attention) not in rows():
        return None, ()
    expected = _protocol(dataset, backbone, attention)
    ignored = {"backbone.model.dropout", "trainer.precision"}  # the first follows from fidelity
    different = [key for key in settings if key not in ignored and settings[key] != expected.get(key)]
    figures, varied = _ablation(settings, different, (dataset, backbone, attention))
    left = [key for key in different if not any(f"{key}.".startswith(each) for each in varied)]
    if figures is None and not any(key.partition(".")[0] in NETWORK for key in left):
        figures = _table(dataset, backbone, attention)
    return figures, tuple(_sentences(left, settings, expected))


def _sentences(different: list[str], settings: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """What is otherwise than in the study's protocol; where another option was chosen, that alone."""
    chosen = [group for group in PROTOCOL if f"{group}.name" in different]
    keys = [f"{group}.name" for group in chosen]
    keys += [key for key in different if key.partition(".")[0] in PROTOCOL and key.partition(".")[0] not in chosen]
    return [f"{key.removesuffix('.name')} is {settings[key]}, not {expected.get(key)}" for key in keys]


def _table(dataset: str, backbone: str, attention: str) -> Published:
    """A row of the study's main table."""
    content, note = study(), notes(backbone, attention)
    figures = content["rows"][backbone][attention]
    accuracy = content["corrected"].get(f"{backbone} {attention}", {}).get(dataset, figures[dataset])
    if accuracy != figures[dataset]:
        note += (
            f" That one scored {accuracy:.2f} %, which stands here in place of the printed {figures[dataset]:.2f} %."
        )
    return Published(
        figures["params_m"], figures["total"], figures["trainable"], accuracy, content["test_n"][dataset], note
    )


def _ablation(
    settings: Mapping[str, Any], different: list[str], row: tuple[str, str, str]
) -> tuple[Published | None, tuple[str, ...]]:
    """The figures of an ablation, where the network differs from the table's in its setting alone; what it varies."""
    content = study()
    for each in content["ablations"].values():
        setting, values = each["setting"], each["values"]
        varied = f"{setting.removesuffix('name')}." if not setting.endswith(".name") else setting.removesuffix("name")
        others = [key for key in different if not f"{key}.".startswith(varied) and key.partition(".")[0] in NETWORK]
        here = (each["dataset"], each["backbone"], each["attention"]) == row and not others
        if here and setting in different and settings[setting] in values:
            value = settings[setting]
            params = each.get("params_m", {}).get(value)
            note = f"From the study's ablation of {setting}."
            return Published(params, None, None, values[value], content["test_n"][row[0]], note), (varied,)
    return None, ()


def expected_range(accuracy: Mean, n: int) -> tuple[float, float]:
    """Where one more run's accuracy on ``n`` images is expected, with 95 %: mean ± 1.96 √(p(1 - p)/n + s²(1 + 1/k)).

    s is the standard deviation over the k seeds; with one seed its part is unknown and left out.
    """
    p, k = accuracy.mean, accuracy.n
    variance = p * (1 - p) / n + (0.0 if accuracy.sd is None else accuracy.sd**2 * (1 + 1 / k))
    half = 1.96 * variance**0.5
    return p - half, p + half


def verdict(figures: Published | None, accuracy: Mean, n: int, protocol: tuple[str, ...]) -> Verdict:
    """Whether a published accuracy holds up against ours over ``n`` images.

    ``within`` where the published figure lies in `expected_range`, ``above`` or ``below`` where ours is higher or lower
    than that, ``cannot be right`` where it is no multiple of 1 / n of its own test set.
    """
    if figures is None:
        return Verdict("none", "", not protocol)
    possible, arithmetic = multiple_of(figures.accuracy_percent, figures.n)
    if not possible:
        return Verdict("cannot be right", f"{arithmetic}.", not protocol)
    low, high = expected_range(accuracy, n)
    value = figures.accuracy_percent / 100
    kind = "within" if low <= value <= high else "above" if value < low else "below"
    seeds = "one seed, so without the spread of training" if accuracy.sd is None else f"{accuracy.n} seeds"
    sentence = (
        f"Published {figures.accuracy_percent:.2f} %; a single run here is expected in {100 * low:.2f} to "
        f"{100 * high:.2f} % ({seeds})."
    )
    if protocol:
        sentence += f" Not comparable: {'; '.join(protocol)}."
    return Verdict(kind, sentence, not protocol)
