"""Kinds of input: what is damaged, where it is put, and the commands that read it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from benchmarks.fuzzing import damage
from benchmarks.fuzzing.commands import as_yaml, lines, option_files
from benchmarks.fuzzing.damage import Rng, pick
from benchmarks.fuzzing.judge import Trial
from benchmarks.fuzzing.material import TINY, Material
from fersweep.errors import UserError
from fersweep.training import checkpoint


def _read(dataset: str, root: Path, rng: Rng, *more: str) -> list[list[str]]:
    """Return one of two commands that read a dataset: the audit, or a run that begins."""
    cache = (root if root.is_dir() else root.parent).parent / "cache"
    begins = ["train", *TINY, f"dataset={dataset}", f"dataset.root={root}", *more, f"cache={cache}"]
    audits = ["data", dataset, "--root", str(root), *pick(rng, ((), ("--json",)))]
    return [pick(rng, (begins, audits))]


def images(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a picture: alone for the commands that take pictures, or in a dataset."""
    suffix, data = pick(rng, material.pictures)
    for name in ("angry", "sad"):
        shutil.copytree(material.folder / "happy", place / "faces" / name)
    path = place / "faces" / "sad" / f"x{pick(rng, (suffix, suffix, suffix, '.png', '.jpg'))}"
    path.write_bytes(damage.raw(rng, data))
    commands = {
        "predict": [["predict", str(material.run), str(path), "-o", str(place / "t.csv"), "--detector", "none"]],
        "faces": [["faces", str(path), str(place / "cut"), "--detector", "none"]],
        "explain": [["explain", str(material.run), str(path), "-o", str(place / "o"), "--detector", "none"]],
        "read": _read("folder", place / "faces", rng, "split=random"),
    }
    return Trial(commands[pick(rng, ("predict", "predict", "faces", "read", "read", "explain"))])


def archives(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a zip or tar archive of class folders: its bytes, or its members."""
    name, data, members = pick(
        rng,
        (
            ("a.zip", material.zip, damage.zipped),
            ("a.zip", material.zip, damage.zipped),
            ("a.tar", material.tar, damage.tarred),
            ("a.tar.gz", material.tar, damage.tarred),
        ),
    )
    path = place / "data" / pick(rng, (name, name, name, "a.zip", "a.tar.xz"))
    path.parent.mkdir()
    changed = members(rng, data) if rng.random() < 0.5 else data
    path.write_bytes(damage.raw(rng, changed) if changed is data or rng.random() < 0.3 else changed)
    dataset = pick(rng, ("folder", "folder", "folder", "fer2013", "ckplus", "jaffe"))
    return Trial(_read(dataset, pick(rng, (path, path.parent)), rng, "split=random"))


def tables(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage FER2013's table: its cells and lines, or its bytes."""
    given = material.csv.replace(",", pick(rng, (",", ",", ";", "\t")))
    spoilt = damage.text(rng, given, pick(rng, (",", " "))) if rng.random() < 0.7 else damage.raw(rng, given.encode())
    path = place / "data" / pick(rng, ("fer2013.csv", "icml_face_data.csv"))
    path.parent.mkdir()
    path.write_bytes(spoilt)
    return Trial(_read("fer2013", path.parent, rng))


def runs(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a file of a finished run: its bytes, lines, values or columns."""
    run = place / "runs" / material.run.name
    run.mkdir(parents=True)
    for path in material.run.iterdir():
        if path.is_file() and path.suffix in (".json", ".yaml", ".csv", ".parquet", ".log"):
            shutil.copyfile(path, run / path.name)
    if pick(rng, (True, False)):
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.ckpt").hardlink_to(material.run / "checkpoints" / "best.ckpt")
    name = pick(rng, ("result.json", "result.json", "status.json", "config.yaml", "config.yaml", *TABLES))
    (run / name).write_bytes(_spoilt(rng, run / name))
    outputs, out = str(run.parent), str(place / "report")
    commands = [
        *(["report", outputs, "-o", out], ["report", outputs, "-o", out, "--time"], ["collect", outputs]),
        *(["collect", outputs, "--json"], ["collect", outputs, "--csv"], ["clean", outputs, "--cache"]),
        *(["wandb", "sync", outputs], ["predict", str(run), str(material.folder / "happy" / "0.png")]),
    ]
    return Trial([pick(rng, commands[: len(commands) if rng.random() < 0.5 else 3])])


TABLES = ("history.csv", "predictions.parquet")


def _spoilt(rng: Rng, path: Path) -> bytes:
    """Return the content of a run's file with damage of its own form or, in every third case, of its bytes."""
    data = path.read_bytes()
    if rng.random() < 0.3:
        return damage.raw(rng, data)
    if path.suffix == ".json":
        return json.dumps(damage.structured(rng, json.loads(data)), ensure_ascii=bool(rng.integers(2))).encode(
            errors="surrogateescape"
        )
    if path.suffix == ".yaml":
        return as_yaml(damage.structured(rng, yaml.safe_load(data)))
    if path.suffix == ".parquet":
        return _table(rng, pd.read_parquet(path)).to_parquet()
    return damage.text(rng, data.decode())


def _table(rng: Rng, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without a column or rows, with another column's values, another type, or rows twice."""
    name = str(pick(rng, list(table.columns)))
    kind = int(rng.integers(6))
    if kind == 0:
        return table.drop(columns=name)
    if kind == 1:
        return table.iloc[: int(rng.integers(0, 3))]
    if kind == 2:
        return pd.concat([table, table])
    if kind == 3:
        return table.rename(columns={name: pick(rng, ("id", "label", "x", ""))}).loc[
            :, lambda each: ~each.columns.duplicated()
        ]
    value = pick(rng, (None, 1, 0.5, float("nan"), "x", "\x1b[31m", b"\xff", True, 2**62))
    return table.assign(**{name: [value] * len(table)})


def checkpoints(material: Material, rng: Rng, place: Path) -> Trial:
    """Damage a checkpoint: its bytes, the headers of its zip, or its values. What loads has the content that it had."""
    good = material.run / "checkpoints" / pick(rng, ("best.ckpt", "last.ckpt"))
    path, data = place / "x.ckpt", good.read_bytes()
    kind = int(rng.integers(3))
    if kind == 0:
        path.write_bytes(damage.raw(rng, data))
    elif kind == 1:
        path.write_bytes(_header_flipped(rng, data))
    else:
        content = torch.load(good, weights_only=True)
        about = damage.structured(rng, content["fersweep"], (*damage.VALUES, torch.zeros(2)))
        state = damage.structured(rng, content["state_dict"], (1, "x", torch.zeros(2), torch.full((3,), float("nan"))))
        changed = pick(rng, ({"fersweep": about}, {"fersweep": about}, {"state_dict": state}))
        torch.save(content | changed, path)
    picture = str(material.folder / "happy" / "0.png")
    commands = (
        ["predict", str(path), picture, "--detector", "none"],
        ["export", str(path), "-o", str(place / "x.safetensors"), "-o", str(place / "x.md")],
        ["explain", str(path), picture, "-o", str(place / "o"), "--detector", "none"],
        ["train", *TINY, f"weights={path}", "dataset.source.size=70", f"cache={material.cache}"],
    )
    return Trial([pick(rng, commands)], None if kind == 2 else lambda: _changed(path, good))


def _header_flipped(rng: Rng, data: bytes) -> bytes:
    """Flip a bit in the zip's central directory, or in the first bytes of one of its members."""
    spoilt, begin = bytearray(data), data.rindex(b"PK\x01\x02")
    begin = data.index(b"PK\x01\x02", max(0, begin - 20_000))
    places = [*range(begin, len(data)), *range(0, 64)]
    spoilt[pick(rng, places)] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)


def _changed(path: Path, good: Path) -> str | None:
    """Return a fault if a checkpoint loads with another content than the one it was made from."""
    try:
        found = checkpoint.load(path)
    except UserError:
        return None
    same = _same(found, torch.load(good, weights_only=True))
    return None if same else "the checkpoint loads with changed content"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


KINDS: dict[str, Callable[[Material, Rng, Path], Trial]] = {
    "images": images,
    "archives": archives,
    "tables": tables,
    "runs": runs,
    "checkpoints": checkpoints,
    "lines": lines,
    "options": option_files,
}
"""All kinds by name."""


def trial(kind: str, number: int, seed: int, material: Material, place: Path) -> Trial:
    """Return one input of a kind, written below ``place``; equal for equal arguments."""
    place.mkdir(parents=True)
    return KINDS[kind](material, np.random.default_rng([seed, list(KINDS).index(kind), number]), place)
