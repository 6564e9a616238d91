"""A run's hash: stable across versions, equal for equal runs, and a good name for a folder."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import plain, quickly_composed
from omegaconf import MISSING, OmegaConf

from fersweep.config import targets
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir, options
from fersweep.config.schema import GROUPS, NAMED, Config, section
from fersweep.runs.collect import settings_of
from fersweep.runs.identity import identity, run_dir, run_hash, slug

KNOWN = json.loads((Path(__file__).parents[1] / "golden" / "identity.json").read_text())
"""``hashes`` of runs by their overrides, ``defaults`` of every class that ``conf`` names and of the schema.

Recorded once; entries are added and never changed.
"""


def config(*overrides: str) -> dict[str, Any]:
    return plain(quickly_composed(*overrides))


@pytest.mark.parametrize("overrides", KNOWN["hashes"])
def test_the_hash_of_given_settings_never_changes(overrides: str) -> None:
    """Were this to fail, every finished run on every disk would be forgotten."""
    settings = config(*overrides.split())
    assert run_hash(settings) == KNOWN["hashes"][overrides]
    assert run_hash(dict(reversed(settings.items()))) == KNOWN["hashes"][overrides]


def schema_defaults(schema: type, above: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and defaults of the settings that are part of a run's identity."""
    for each in fields(schema):
        inner = section(each)
        if inner is not None:
            yield from schema_defaults(inner, f"{above}{each.name}.")
        elif each.metadata.get("identity", True) and each.default is not REQUIRED and each.default != MISSING:
            yield f"{above}{each.name}", each.default


def named_targets() -> set[str]:
    """Every ``_target_`` of this project in ``conf``."""

    def below(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            if "_target_" in node:
                yield node["_target_"]
            for each in node.values():
                yield from below(each)

    files = config_dir().rglob("*.yaml")
    found = {target for file in files for target in below(OmegaConf.to_container(OmegaConf.load(file), resolve=False))}
    return {target for target in found if target.startswith("fersweep.")}


def test_defaults_never_change() -> None:
    """What is at its default is no part of a run's identity: another default would be another run of the same name."""
    found: dict[str, Any] = {"": dict(schema_defaults(Config, ""))}
    found |= {targets.identity_of(name): targets.defaults(name) for name in named_targets()}
    for name, defaults in KNOWN["defaults"].items():
        for argument, value in defaults.items():
            assert found[name][argument] == (tuple(value) if isinstance(value, list) else value), (name, argument)


def test_names_that_count_are_unique() -> None:
    named = sorted(named_targets())
    assert len({targets.identity_of(target) for target in named}) == len(named) > 20


def test_bases_say_what_the_schema_does() -> None:
    """A value in a base file that is not the schema's default would count in every run that leaves it as it is."""
    bases = sorted(config_dir().rglob("_base.yaml"))
    assert [file.parent.name for file in bases] == ["dataset", "recipe", "trainer"]
    known = {each.name: each for each in fields(Config)}
    for file in bases:
        group = section(known[file.parent.name])
        assert group is not None
        for key, value in yaml.safe_load(file.read_text()).items():
            setting = next(each for each in fields(group) if each.name == key)
            inner = section(setting)
            made = inner or (setting.default_factory if setting.default_factory is not REQUIRED else None)
            default = setting.default if made is None else made()  # type: ignore[operator]
            assert value == (vars(default) if inner else default), f"{file.parent.name}.{key}"


def test_the_project_can_grow_without_renaming_a_run(tmp_path: Path) -> None:
    """With one more of everything in ``conf`` and in the classes it names, the known runs keep their hashes."""
    grown = tmp_path / "grown"
    shutil.copytree(Path(__file__).parents[2] / "src", grown / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(config_dir(), grown / "conf")
    for group in ("attention", "activation", "backbone", "dataset", "split", "recipe", "augmentation", "fidelity"):
        file = grown / "conf" / group / f"{options(group)[0]}.yaml"
        (file.parent / "another.yaml").write_text(file.read_text().replace(f"name: {file.stem}", "name: another"))
    _insert(grown / "conf/fidelity/code.yaml", "attention:\n", "  another:\n    _target_: torch.nn.Identity\n")
    _insert(grown / "conf/fidelity/code.yaml", "backbone:\n", "  another_family:\n    bias: true\n")
    _insert(grown / "conf/attention/cbam.yaml", "kernel_size: 7", "\nanother: false  # ")
    _insert(grown / "conf/recipe/_base.yaml", "test_crops: 1", "\nanother: null  # ")
    _insert(grown / "conf/backbone/resnet50.yaml", "  pooling: avg", "\n  another: 3  # ")
    _insert(grown / "conf/dataset/_base.yaml", "preprocessing:", "  # more\n  another: false")
    _insert(grown / "conf/train.yaml", "seed: 1", "\nanother: null  # ")
    package = grown / "src" / "fersweep"
    _insert(package / "config/schema.py", "    test_crops: int = 1\n", "    another: float | None = None\n")
    _insert(package / "config/schema.py", "    min_variance: float = 0.0\n", "    another: bool = False\n")
    _insert(package / "config/schema.py", "    seed: int = 1\n", "    another: str | None = None\n")
    cbam = "class CBAM(nn.Module):"
    attention = (package / "models" / "attention.py").read_text()
    head, tail = attention.split(cbam)
    tail = tail.replace("kernel_size: int = 7)", "kernel_size: int = 7, another: bool = False)", 1)
    (package / "models" / "attention.py").write_text(head + cbam + tail)
    _insert(package / "models" / "resnet.py", '        pooling: str = "avg",\n', "        another: int = 3,\n")
    code = (
        "import json, sys\n"
        "from fersweep.config.compose import compose_config\n"
        "from fersweep.config.schema import to_dict\n"
        "from fersweep.config.options import options\n"
        "from fersweep.runs.identity import run_hash\n"
        "assert 'another' in options('attention')\n"
        "known = json.load(sys.stdin)\n"
        "found = {each: run_hash(to_dict(compose_config(each.split()))) for each in known}\n"
        "used = to_dict(compose_config(['attention.another=true', 'backbone.model.another=4', 'recipe.another=1']))\n"
        "print(json.dumps([found, run_hash(used)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(KNOWN["hashes"]),
        env={**os.environ, "PYTHONPATH": str(grown / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, used = json.loads(done.stdout)
    assert found == KNOWN["hashes"]
    assert used not in found.values()


def _insert(file: Path, after: str, text: str) -> None:
    content = file.read_text()
    assert content.count(after) >= 1, f"{file}: {after!r}"
    file.write_text(content.replace(after, after + text, 1))


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name, content in (
        ("a.ckpt", b"one"),
        ("b.ckpt", b"one"),
        ("c.ckpt", b"two"),
        ("run/checkpoints/best.ckpt", b"one"),
    ):
        (tmp_path / name).write_bytes(content)
    first, same, other, run = (
        run_hash(config(f"weights={tmp_path / name}")) for name in ("a.ckpt", "b.ckpt", "c.ckpt", "run")
    )
    assert first == same == run
    assert len({first, other, run_hash(config())}) == 3


def test_equal_numbers_are_the_same_run() -> None:
    hashes = {run_hash(config("attention=eca", f"attention.gamma={value}")) for value in ("2", "2.0")}
    others = {run_hash(config("attention=eca", f"attention.gamma={value}")) for value in ("3", "3.0")}
    assert len(hashes) == len(others) == 1
    assert hashes != others


def test_a_default_that_is_spelt_out_is_the_same_run() -> None:
    assert run_hash(compose_config_plain("+recipe.optimizer.betas=[0.9,0.999]", "recipe=study")) == run_hash(
        config("recipe=study")
    )
    assert run_hash(compose_config_plain("+recipe.optimizer.betas=[0.8,0.999]", "recipe=study")) != run_hash(
        config("recipe=study")
    )


def compose_config_plain(*overrides: str) -> dict[str, Any]:
    return plain(compose_config(list(overrides)))


def test_the_batch_size_of_a_dataset_counts_where_a_recipe_uses_it() -> None:
    one, other = (config("recipe=study", f"dataset.batch_size={size}") for size in (8, 16))
    assert run_hash(one) != run_hash(other)


def test_a_network_that_is_not_built_is_none_of_the_identity() -> None:
    """With fidelity=code these backbones' own settings describe nothing that is built."""
    settings = config("backbone=drf_msam", "fidelity=code")
    other = copy.deepcopy(settings)
    other["backbone"]["model"]["size"] = "base"
    assert run_hash(other) == run_hash(settings)
    paper = config("backbone=drf_msam")
    assert run_hash(config("backbone=drf_msam", "backbone.model.size=base")) != run_hash(paper)


def test_a_variant_of_msff_cnn_is_another_run() -> None:
    own = ("backbone=msff_cnn", "fidelity=code", "recipe=notebook")
    variant = "fidelity.backbone.msff_cnn.dropout=0.3"
    overrides = ((), (variant,), ("recipe.convolution_l2=1e-3",), ("backbone.epochs=7",))
    assert len({run_hash(config(*own, *each)) for each in overrides}) == 4


def test_callbacks_and_arguments_of_the_trainer_count() -> None:
    assert "callbacks" not in identity(config())
    assert run_hash(config("callbacks=summary")) != run_hash(config())
    settings = config()
    settings["trainer"]["lightning"] = {"deterministic": True}
    assert run_hash(settings) != run_hash(config())


def test_a_library_may_tell_one_epoch_from_all_of_them() -> None:
    one, other = config(), config()
    for settings, amount in ((one, 1), (other, 1.0)):
        settings["callbacks"] = {"x": {"_target_": "pytorch_lightning.callbacks.ModelPruning", "amount": amount}}
    assert run_hash(one) != run_hash(other)


def test_the_directory_is_readable_safe_and_without_a_time() -> None:
    settings = config("sweep=table_1", "outputs=/data/out", "backbone=resnetv2_50", "seed=12")
    directory = run_dir(settings)
    assert directory == Path("/data/out/table_1") / f"{slug(settings)}-{run_hash(settings)}"
    assert slug(settings) == "resnetv2_50-cbam-elu-paper-synthetic-official-flip_zoom-quick-s12"
    assert re.fullmatch(r"[a-z0-9_-]+", directory.name)
    assert len(directory.name.encode()) < 200
    assert re.fullmatch(r"[0-9a-f]{10}", run_hash(settings))
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d-\d\d-\d\d|\d\d:\d\d", str(directory))
    assert run_dir(config("sweep=table_1", "outputs=/data/out", "backbone=resnetv2_50", "seed=12")) == directory
    assert set(NAMED) < set(GROUPS)


def test_a_class_may_move() -> None:
    now = config("recipe=study")
    assert now["recipe"]["optimizer"]["_target_"] == "fersweep.training.optim.KerasAdam"
    earlier = copy.deepcopy(now)
    earlier["recipe"]["optimizer"]["_target_"] = "fersweep.optim.KerasAdam"
    assert run_hash(earlier) == run_hash(now)
    assert settings_of(earlier) == settings_of(now)
    assert targets.find("fersweep.optim.KerasAdam") is targets.find("fersweep.training.optim.KerasAdam")
