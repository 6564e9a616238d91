"""Combinations of swept settings: products, pairs and exclusions, against lists written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from fersweep.config.combinations import combinations
from fersweep.config.options import parse
from fersweep.errors import UserError


def runs(typed: str, zipped: Any = None, exclude: Any = None) -> list[str]:
    found = combinations(parse(typed.split()), OmegaConf.create({"": zipped})[""], OmegaConf.create({"": exclude})[""])
    return [" ".join(f"{key}={value}" for key, value in each.items()) for each in found]


def test_without_settings_the_product_is_hydras() -> None:
    assert runs("a=1,2 b=x c=u,v") == ["a=1 b=x c=u", "a=1 b=x c=v", "a=2 b=x c=u", "a=2 b=x c=v"]
    assert runs("a=1,2 +b=range(0,2) a=3") == ["a=3 +b=0", "a=3 +b=1"]


def test_pairs_are_one_axis_at_the_place_of_their_first() -> None:
    assert runs("a=1,2 b=x,y c=u,v", ["a", "c"]) == ["a=1 b=x c=u", "a=1 b=y c=u", "a=2 b=x c=v", "a=2 b=y c=v"]
    assert runs("a=1,2 b=x,y c=u,v d=5,6", [["c", "a"], ["d", "b"]]) == [
        f"a={a} b={b} c={c} d={d}" for a, c in (("1", "u"), ("2", "v")) for b, d in (("x", "5"), ("y", "6"))
    ]
    assert runs("a=1 c=u", ["a", "c"]) == ["a=1 c=u"]  # an experiment of which one pair is typed


def test_exclusions_need_all_their_values() -> None:
    assert runs("a=1,2 b=x,y", exclude=[{"a": 1, "b": "y"}]) == ["a=1 b=x", "a=2 b=x", "a=2 b=y"]
    assert runs("a=1,2 b=x,y", exclude={"b": ["x", "z"]}) == ["a=1 b=y", "a=2 b=y"]
    assert runs("a=1,2 b=x,y", exclude=[{"a": 1, "b": "y"}, {"a": 2, "b": "x"}]) == ["a=1 b=x", "a=2 b=y"]
    paired = runs("a=1,2 b=x,y c=u,v", ["a", "b"], [{"b": "x", "c": "v"}])
    assert paired == ["a=1 b=x c=u", "a=2 b=y c=u", "a=2 b=y c=v"]


@pytest.mark.parametrize(
    ("typed", "value", "left"),
    [
        ("a=1e-3,0.1", 0.001, ["a=0.1"]),
        ("a=1,true", True, ["a=1"]),
        ("a=1,true", 1, ["a=True"]),
        ("a=null,none", None, ["a=none"]),
        ("a='x,y',z", "x,y", ["a=z"]),
        ("a=[1,2],[3]", [[3]], ["a=[1,2]"]),
    ],
)
def test_values_are_compared_as_hydra_reads_them(typed: str, value: Any, left: list[str]) -> None:
    assert runs(typed, exclude=[{"a": value}]) == left


def test_groups_by_glob_and_in_folders_can_be_excluded() -> None:
    assert runs("backbone=glob(vgg*)", exclude=[{"backbone": "vgg16"}]) == ["backbone=vgg19"]
    optimizers = "recipe/optimizer=adam,sgd recipe.optimizer.lr=0.1,0.01"
    exclude = [{"recipe/optimizer": "adam", "recipe.optimizer.lr": 0.1}]
    assert len(runs(optimizers, exclude=exclude)) == 3


def test_an_interval_has_no_combinations() -> None:
    with pytest.raises(UserError, match=r"^a=interval\(0,1\) lists no values to try: write them out"):
        runs("a=interval(0,1)")
