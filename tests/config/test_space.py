"""The space of a search, from Hydra's grammar."""

from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fersweep.config.options import options, parse
from fersweep.config.space import Space
from fersweep.errors import UserError


def space(*overrides: str, **settings: Any) -> Space:
    return Space(parse(overrides), settings.get("zip"), settings.get("exclude"), settings.get("where"))


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("a=1,2", CategoricalDistribution(["1", "2"])),
        ("a=choice(none,[1,2],'b c')", CategoricalDistribution(["none", "[1,2]", "b\\ c"])),
        ("a=interval(0, 1)", FloatDistribution(0, 1)),
        ("a=tag(log, interval(0.003, 0.3))", FloatDistribution(0.003, 0.3, log=True)),
        ("a=int(interval(2, 9))", IntDistribution(2, 9)),
        ("a=tag(log, int(interval(2, 90)))", IntDistribution(2, 90, log=True)),
        ("a=tag(int, interval(2, 9))", IntDistribution(2, 9)),
        ("a=range(1, 10, 3)", IntDistribution(1, 7, step=3)),
        ("a=range(0, 1, 0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("a=range(3, 0, -1)", IntDistribution(1, 3)),
        ("attention=glob(*)", CategoricalDistribution(options("attention"))),
    ],
)
def test_each_form_is_a_distribution(override: str, distribution: Any) -> None:
    (parameter,) = space(override).parameters
    assert parameter.distribution == distribution
    assert parameter.name == override.partition("=")[0]


def test_fixed_settings_stay_in_their_place() -> None:
    made = space("a=1", "b=interval(0.5,1)", "c=choice(true)", "d=x,y", "+e=null")
    assert [each.name for each in made.parameters] == ["b", "d"]
    assert list(made.first().items()) == [("a", "1"), ("b", "0.5"), ("c", "True"), ("d", "x"), ("+e", "null")]


def test_numbers_have_six_digits_within_the_interval() -> None:
    (parameter,) = space("lr=interval(0.1234567, 0.9876543)").parameters
    assert parameter.values(0.33333333) == {"lr": "0.333333"}
    assert parameter.values(0.1234567) == {"lr": "0.123457"}
    assert parameter.values(0.9876543) == {"lr": "0.987654"}
    (narrow,) = space("lr=interval(0.10000004, 0.2)").parameters
    assert narrow.values(0.10000004) == {"lr": "0.10000004"}  # not below
    (whole,) = space("n=int(interval(1,9))").parameters
    assert whole.values(3) == {"n": "3"}


def test_pairs_conditions_and_exclusions() -> None:
    made = space(
        "ratio=4,8",
        "backbone=resnet50,vgg19",
        "lr=0.1,0.01",
        "attention=none,se",
        zip=["backbone", "lr"],
        where={"ratio": {"attention": "se"}},
        exclude={"backbone": "vgg19", "attention": ["se"]},
    )
    assert [each.name for each in made.parameters] == ["backbone,lr", "attention", "ratio"]
    grid = made.grid()
    assert len(grid) == 2 * (1 + 2)
    assert {json.dumps(each) for each in grid} >= {'{"backbone,lr": "vgg19, 0.01", "attention": "none"}'}
    assert made.excludes({"backbone": "vgg19", "lr": "0.01", "attention": "se"})
    assert not made.excludes({"backbone": "vgg19", "lr": "0.01", "attention": "none"})


@pytest.mark.parametrize(
    ("overrides", "settings", "sentence"),
    [
        (["a=1"], {}, "nothing to choose from"),
        (["a=interval(1, 0)"], {}, "is empty"),
        (["a=tag(log, interval(0, 1))"], {}, "has no logarithm"),
        (["a=tag(log, range(1, 9, 2))"], {}, "logarithmic scale cannot have"),
        (["a=1,2", "b=1,2"], {"where": {"c": {"a": 1}}}, "where names c, which has no values"),
        (["a=1,2", "b=1,2"], {"where": {"b": {"c": 1}}}, "b depends on c, which is not given"),
        (["a=1,2", "b=1,2"], {"where": {"b": {"a": 1}, "a": {"b": 1}}}, "in a circle"),
        (["a=1,2", "b=1,2"], {"where": "a"}, "is no condition"),
        (["a=1,2", "b=1,2"], {"exclude": [{"bb": 1}]}, "exclude names bb"),
        (["a=1,2", "b=1,2,3"], {"zip": ["a", "b"]}, "different numbers of values"),
        (["a=1,2", "b=interval(0,1)"], {"zip": ["a", "b"]}, "lists no values to try"),
        (["a=1,2"], {"zip": ["a", "c"]}, "zip names c"),
    ],
)
def test_a_malformed_space_is_refused(overrides: list[str], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        space(*overrides, **settings)


def test_a_grid_lists_no_interval_and_is_not_endless() -> None:
    with pytest.raises(UserError, match="a is an interval, which a grid cannot list"):
        space("a=interval(0,1)").grid()
    with pytest.raises(UserError, match="The grid has 40,000 combinations, more than 10,000"):
        space("a=range(0,200)", "b=range(0,200)").grid()
