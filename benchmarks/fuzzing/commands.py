"""Command lines, and files of a user's own options, as people type and write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzzing import damage
from benchmarks.fuzzing.damage import Rng, pick
from benchmarks.fuzzing.judge import Trial
from benchmarks.fuzzing.material import TINY, Material

LINES = (
    *(
        "train attention=se seed=3 sweep=x",
        "train -m attention=se,eca seed=range(1,3) sweep=a",
        "train experiment=debug_batch",
    ),
    *("train recipe.optimizer.lr=0.01 recipe.max_epochs=3", "train logger=wandb logger.tags=[a,b] logger.mode=offline"),
    *("train dataset=folder dataset.root=ROOT split=random", "train +trainer.lightning.gradient_clip_val=1 --cfg job"),
    *("train backbone.model.widths=[8,8,8] weights=CKPT", "train -m hydra/launcher=slurm hydra.launcher.n_jobs=2"),
    *("train ~augmentation seed=1", "train --config-dir=ROOT seed=1", "train --help", "train plugins=[json] seed=1"),
    *("data folder --root ROOT dataset.source.classes=[happy,sad]", "data synthetic --json dataset.source.size=70"),
    *("collect RUNS --csv", "report RUNS -o OUT --time", "params --fidelity code --json", "clean RUNS"),
    *("predict CKPT ROOT/happy/0.png --detector none --choose largest", "faces ROOT OUT --detector none --size 32"),
    *("export CKPT -o OUT/x.safetensors", "explain CKPT ROOT/happy/0.png -o OUT --detector none", "wandb sync RUNS"),
)
"""Commands as people type them, with places in capitals."""


def lines(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a command line: other words, characters, values and orders."""
    places = {
        **{"ROOT": str(material.folder), "CKPT": str(material.run), "OUT": str(place / "out")},
        "RUNS": str(material.run.parent),
    }
    first, *words = str(pick(rng, LINES)).split(" ")
    for name, path in places.items():
        words = [each.replace(name, path) for each in words]
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(words))) if words else 0
        words[at : at + 1] = _word(rng, words[at] if words else "x")
        words = words or ["x"]
    safe = [each for each in words if not each.startswith(("outputs=", "cache="))]
    if first == "train":
        safe += [f"outputs={place / 'outputs'}", f"cache={place / 'cache'}", *pick(rng, (TINY, ()))]
    return Trial([[first, *safe]])


def _word(rng: Rng, word: str) -> list[str]:
    """Return words in place of one."""
    kind, at = int(rng.integers(7)), int(rng.integers(len(word) + 1))
    key, equals, value = word.partition("=")
    if kind == 0:
        return [word, word]
    if kind == 1:
        return [word[:at] + word[at + 1 :]]
    if kind == 2:
        return [word[:at] + pick(rng, damage.WORDS) + word[at:]]
    if kind == 3:
        return [pick(rng, damage.WORDS)]
    if equals:
        extreme = pick(rng, (*damage.WORDS, *map(str, damage.VALUES[:-1])))
        return [f"{key}={pick(rng, (extreme, f'[{value}]', f'{{{key}:{value}}}', value[::-1], f'{value},{extreme}'))}"]
    return pick(rng, ([], [word[::-1]], [word.upper()], [f"{word}={pick(rng, damage.WORDS)}"], [f"--{word}"]))


GLOBAL = "# @package _global_\n"
FULL = ("backbone=resnet50", "backbone.model.depths=[1,1,1,1]", "trainer=cpu", "dataset.image_size=32")

OPTIONS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "local/fuzz.yaml": (
        GLOBAL,
        {"dataset": {"root": "ROOT"}, "cache": "OUT", "outputs": "OUT", "plugins": []},
        (*TINY, "dataset=folder", "split=random"),
    ),
    "experiment/mine.yaml": (GLOBAL, {"recipe": {"max_epochs": 1}, "seed": 3}, (*TINY, "experiment=mine")),
    "recipe/mine.yaml": (
        "",
        {"defaults": ["quick", "_self_"], "name": "mine", "optimizer": {"lr": 0.1}},
        (*TINY, "recipe=mine"),
    ),
    "attention/mine.yaml": (
        "",
        {"name": "mine", "title": "M", "_target_": "fersweep.models.attention.SqueezeExcitation", "reduction": 4},
        (*FULL, "attention=mine"),
    ),
    "callbacks/mine.yaml": (
        "",
        {"stop": {"_target_": "pytorch_lightning.callbacks.Timer", "duration": "00:01:00:00"}},
        (*TINY, "callbacks=mine"),
    ),
}
"""Files of a user's own options: beginning, values, and the overrides that choose them."""


def option_files(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a file of a user's own options: its values, lines or bytes; every 20th stays as it is, and must pass."""
    os.environ["FERSWEEP_LOCAL"] = "fuzz"
    name = pick(rng, tuple(OPTIONS))
    beginning, values, chosen = OPTIONS[name]
    node = json.loads(json.dumps(values).replace("ROOT", str(material.folder)).replace("OUT", str(place / "outputs")))
    whole, kind = as_yaml(node), int(rng.integers(20))
    if kind < 5:
        whole = damage.raw(rng, whole)
    elif kind < 10:
        whole = damage.text(rng, whole.decode(), ":")
    elif kind < 19:
        whole = as_yaml(damage.structured(rng, node))
    path = place / "conf" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(beginning.encode() + whole)
    drawn = [] if name.startswith("local") else ["dataset.source.size=70", f"cache={material.cache}"]
    return Trial([["train", f"hydra.searchpath=[{place / 'conf'}]", *chosen, *drawn]], passes=kind == 19)


def as_yaml(node: Any) -> bytes:
    """Return a configuration as the bytes of its file."""
    return yaml.safe_dump(node, sort_keys=False, allow_unicode=True).encode(errors="surrogateescape")
