"""``fersweep params KEY=VALUE``: parameters, operations and controls of any networks; the widths of the experiment."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from omegaconf import OmegaConf
from rich.console import Console

from fersweep import build
from fersweep.cli.main import main
from fersweep.config.checks import validate
from fersweep.config.combinations import combinations
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir, option_file, options, parse
from fersweep.config.schema import to_dict
from fersweep.models.common import parameter_counts
from fersweep.report.compare import EQUAL
from fersweep.report.sizes import Control, Size, control, show, without_attention
from fersweep.runs.identity import run_hash

SMALL = ("backbone=resnet18", "backbone.model.stem=small", "backbone.model.width=16", "activation=relu")
PAGE = (REPOSITORY / "docs" / "reference" / "models.md").read_text(encoding="utf-8")
SHOWN = {
    attention: (parameters, float(gflop), own, float(its))
    for attention, parameters, gflop, own, its in re.findall(
        r"^\| (\w+) \| ([\d,]+) \| ([\d.]+) \| ([\d,]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    )
}
"""Parameters and GFLOP of ResNet-50 and of the small ResNet-18 with each attention, as the page has them."""


def parameters(cfg: Any) -> int:
    with torch.device("meta"):
        return parameter_counts(build.model(cfg, 7))["params_trainable"]


def test_sizes_and_controls_of_named_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--flops", "--match", "--json", *SMALL, "attention=none,bam"]) == 0
    none, bam = json.loads(capsys.readouterr().out)
    assert (none["settings"]["attention"], none["parameters"], none["control"]) == ("none", 700_791, None)
    assert (f"{bam['parameters']:,}", bam["forward_gflop"]) == SHOWN["bam"][2:]
    assert bam["control"] == {"width": 16.125, "parameters": 713_490}
    show([Size(**{**bam, "control": Control(**bam["control"])})], Console(width=150))
    out = capsys.readouterr().out
    assert SHOWN["bam"][2] in out
    assert "+0.10%" in out


def test_the_page_has_the_sizes_that_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--flops", "--json", "backbone=resnet50", "attention=coordinate,triplet"]) == 0
    for found in json.loads(capsys.readouterr().out):
        shown = SHOWN[found["settings"]["attention"]]
        assert (f"{found['parameters']:,}", found["forward_gflop"]) == shown[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--match", "--match needs a network"),
        ("--fidelity paper attention=se", "--fidelity is for the study's networks: write fidelity=paper"),
        ("attention=sse backbone=vgg16", "attention=sse is not known"),
        ("backbone=resnet18 backbone.model.breadth=3", "breadth"),
        ("dataset.image_size=0 --flops", "dataset.image_size=0 is out of range: 32 to 512 pixels"),
        ("dataset.image_size=7", "dataset.image_size=7 is out of range"),
        ("dataset.channels=5", "dataset.channels=5 is not known"),
        ("attention=se hydra.sweeper.order=listed", "hydra.sweeper.order=listed has no effect on the size"),
        ("attention=se,none hydra.sweeper.zip=attention,seed", "hydra.sweeper.zip names seed"),
        ("--match backbone=resnet18 attention=none", "--match needs a network with attention"),
    ],
)
def test_mistakes_are_one_sentence(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_control_that_is_not_equal_is_remarked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["params", "--match", "--json", *SMALL, "attention=none,gct,bam"]
    assert main([*arguments, "backbone.model.width=1"]) == 0
    remark = capsys.readouterr().err
    assert re.search(r"differs by more than 1% .*attention=gct \([+-]\d+\.\d%\); .*attention=bam \(", remark)
    assert "attention=none" not in remark
    assert remark.count("\n") == 1
    assert main([*arguments[:-1], "attention=gct"]) == 0
    assert capsys.readouterr().err == ""


def test_networks_are_those_of_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    paired = ["attention=se,none", "backbone.model.width=16,17"]
    zipped = "hydra.sweeper.zip=attention,backbone.model.width"
    excluded = ["attention:se,backbone.model.width:16", "attention:none,backbone.model.width:17"]
    found = {}
    for name, more in {
        "all": ["seed=1,2"],
        "zip": [zipped],
        "exclude": [f"hydra.sweeper.exclude={each}" for each in excluded],
    }.items():
        assert main(["params", "--json", *SMALL, *paired, *more]) == 0
        rows = [each["settings"] for each in json.loads(capsys.readouterr().out)]
        found[name] = [(each["attention"], each["backbone.model.width"]) for each in rows]
    assert len(found["all"]) == 4
    assert found["zip"] == [("se", "16"), ("none", "17")]
    assert found["exclude"] == [("none", "16"), ("se", "17")]


def test_an_experiment_adds_its_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    """Its pairs stay, and its three seeds are one network."""
    settings = [
        "attention=se,bot",
        "backbone.attention_position=before_addition,last_stage",
        "backbone.model.width=8,9",
    ]
    assert main(["params", "--json", "experiment=attention_modern", *settings]) == 0
    rows = [each["settings"] for each in json.loads(capsys.readouterr().out)]
    names = ("attention", "backbone.attention_position", "backbone.model.width")
    assert [tuple(each[name] for name in names) for each in rows] == [
        ("se", "before_addition", "8"),
        ("bot", "last_stage", "9"),
    ]


def test_each_network_of_the_modern_table_has_a_control_of_equal_parameters() -> None:
    """The experiment has every attention module, and without any the widths that `control` finds."""
    file = OmegaConf.to_container(OmegaConf.load(config_dir() / "experiment" / "attention_modern.yaml"))
    assert isinstance(file, dict)
    sweeper = file["hydra"]["sweeper"]
    swept = [f"{key}={value}" for key, value in sweeper["params"].items()]
    points = [each for each in combinations(parse(swept), sweeper["zip"]) if each["seed"] == "1"]
    base = compose_config(["experiment=attention_modern", "dataset.root=x"])
    counts: dict[str, list[tuple[float, int]]] = {}
    hashes = set()
    for point in points:
        cfg = OmegaConf.create(OmegaConf.to_container(base))
        cfg.attention = option_file("attention", point["attention"])
        cfg.backbone.attention_position = point["backbone.attention_position"]
        cfg.backbone.model.width = float(point["backbone.model.width"])
        hashes.add(run_hash(to_dict(cfg)))
        counts.setdefault(point["attention"], []).append((cfg.backbone.model.width, parameters(cfg)))
        if point["attention"] in ("cbam", "bot"):
            validate(cfg)
            found = control(cfg)
            assert (found.width, found.parameters) in counts["none"]
    assert len(hashes) == len(points) == 14
    assert set(counts) == set(options("attention"))
    controls = {number for _, number in counts.pop("none")}
    for attention, ((width, number),) in counts.items():
        assert width == 16
        assert min(abs(each - number) for each in controls) <= EQUAL * number, attention
        assert f"{number:,}" == SHOWN[attention][2]
    text = (config_dir() / "experiment" / "attention_modern.yaml").read_text()
    assert all(f"({number:,})" in text for number in controls)


def test_a_control_is_at_the_backbones_own_position() -> None:
    cfg = compose_config([*SMALL, "attention=nonlocal", "backbone.attention_position=last_stage"])
    plain = without_attention(cfg)
    assert (plain.attention.name, plain.backbone.attention_position) == ("none", "before_addition")
    assert control(cfg) == Control(16.75, 769_589)
    assert cfg.backbone.model.width == 16
