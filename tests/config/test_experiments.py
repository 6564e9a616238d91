"""Experiments of the study: their sweeps, the figures in their comments, and runs of parts of them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import FACES, SHALLOW
from omegaconf import OmegaConf

from fersweep import build
from fersweep.cli.main import main as fersweep
from fersweep.config.checks import validate
from fersweep.config.command_line import check_command_line, swept_by_experiment
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir
from fersweep.config.schema import to_dict
from fersweep.errors import UserError
from fersweep.faces.crop import Crop
from fersweep.models import flops
from fersweep.report.notebook import figures as notebook
from fersweep.report.study import study
from fersweep.runs.identity import run_hash
from fersweep.training.attempt import prepare

SWEEPS = {
    "table_attention": 3 * 32,
    "table_baseline": 3 * 8,
    "ablation_activation": 9,
    "ablation_pooling": 6,
    "ablation_se_ratio": 12,
    "ablation_eca_kernel": 18,
    "ablation_cbam_ratio": 12,
    "ablation_vgg_position": 9,
    "ablation_batch_size": 12,
    "ablation_optimizer": 48,
    "table_notebook": 9,
    "ablation_drf_msam": 12,
}
"""Number of runs per experiment."""

PROTOCOLS = {
    "table_notebook": ("code", "notebook", "notebook"),
    "ablation_drf_msam": ("paper", "modern", "official"),
}
"""Fidelity, recipe and split of experiments outside the study."""


def head(experiment: str) -> str:
    """Return the comment at the top of an experiment's file."""
    lines = (config_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))


def runs_of(experiment: str, *typed: str) -> list[list[str]]:
    """Return the overrides of every run, as Hydra's sweeper combines them."""
    choices = [f"experiment={experiment}", "dataset.root=x", *typed]
    swept = [each.partition("=") for each in swept_by_experiment(choices, multirun=True)]
    values = [[f"{key}={value}" for value in listed.split(",")] for key, _, listed in swept]
    return [[*choices, *each] for each in itertools.product(*values)]


def test_every_experiment_that_is_a_sweep_is_counted() -> None:
    files = {path.stem for path in (config_dir() / "experiment").glob("[!_]*.yaml")}
    others = {"tuned_attention", "attention_modern", "best_drf_msam", "control_drf_msam", "record"}
    others |= {"debug_batch", "debug_overfit", "debug_profile"}
    assert files == {*SWEEPS, *others}


@pytest.mark.parametrize("experiment", SWEEPS)
def test_every_run_of_an_experiment_can_be_built(experiment: str) -> None:
    runs = runs_of(experiment)
    assert len(runs) == SWEEPS[experiment]
    for overrides in runs:
        if "seed=1" in overrides:
            cfg = compose_config(overrides)
            validate(cfg)
            if experiment.startswith("ablation_"):  # other tests build the 32 networks of the tables
                build.check(cfg, num_classes=7)
            protocol = (cfg.fidelity.name, cfg.recipe.name, cfg.split.name)
            assert protocol == PROTOCOLS.get(experiment, ("code", "study", "study"))
            assert cfg.sweep == experiment


def test_the_studys_experiments_crop_as_it_did() -> None:
    """FER2013's images are faces already; MTCNN can be replaced by another detector or by none."""
    runs = {name: compose_config(runs_of("table_attention", f"dataset={name}")[0]) for name in study()["test_n"]}
    assert {name: (cfg.dataset.faces, Crop.of(cfg.dataset.face_crop)) for name, cfg in runs.items()} == {
        "ckplus": ("mtcnn", Crop(clip=True, size=80, nearest=True)),
        "jaffe": ("mtcnn", Crop(clip=True, size=80, nearest=True, jpeg_image=100, jpeg_face=95)),
        "fer2013": ("none", Crop()),
    }
    own = ("dataset=ckplus", "dataset.faces=yolo5face", f"dataset.face_crop.weights={__file__}")
    whole = ("dataset=ckplus", "dataset.faces=none", "dataset.face_crop.clip=false")
    for typed, faces in ((own, "yolo5face"), (whole, "none")):
        cfg = compose_config(runs_of("table_attention", *typed)[0])
        validate(cfg)
        assert (cfg.dataset.faces, cfg.dataset.face_crop.size) == (faces, 80)
    for experiment in (each for each in SWEEPS if each not in PROTOCOLS):
        file = OmegaConf.load(config_dir() / "experiment" / f"{experiment}.yaml")
        assert "_study_crop" in file.defaults
        assert "dataset.faces=yolo5face dataset.face_crop.weights=" in head(experiment)


@pytest.mark.parametrize("experiment", SWEEPS)
def test_heads_give_command_cost_and_reported_figures(experiment: str) -> None:
    text = head(experiment)
    assert f"uv run train.py -m experiment={experiment} " in text
    assert f"uv run fersweep report outputs/{experiment}" in text
    assert "# Cost: " in text
    assert "# Reported" in text


def test_the_tables_heads_have_the_studys_figures() -> None:
    attention, baseline = head("table_attention"), head("table_baseline")
    for backbone, options in study()["rows"].items():
        (line,) = re.findall(rf"^#   {backbone} +(.*)$", attention, flags=re.MULTILINE)
        columns = [re.findall(r"\d+\.\d\d", part) for part in re.split(r"\s{2,}", line)]
        for dataset, printed in zip(("ckplus", "jaffe", "fer2013"), columns, strict=True):
            assert [float(each) for each in printed] == [figures[dataset] for figures in options.values()]
        (line,) = re.findall(rf"^#   {backbone} +(.*)$", baseline, flags=re.MULTILINE)
        none = options["none"]
        assert [float(each) for each in line.split()[:3]] == [none["ckplus"], none["jaffe"], none["fer2013"]]


def test_the_notebooks_head_has_its_figures() -> None:
    """It has no other figures, except those that its text gives and no log has."""
    text = head("table_notebook")
    for backbone, variants in notebook()["rows"].items():
        (line,) = re.findall(rf"^#   {backbone} +(.*)$", text, flags=re.MULTILINE)
        of_commits = [[row[commit] for row in variants if commit in row] for commit in ("accuracy", "earlier")]
        assert re.findall(r"\d+\.\d\d", line) == [f"{each:.2f}" for figures in of_commits for each in figures]
    assert len(re.findall(r"^#   [a-z_]+ +\d", text, flags=re.MULTILINE)) == len(notebook()["rows"]) == 3
    assert f"{notebook()['n']:,} validation images" in text
    variant = notebook()["rows"]["msff_cnn"][-1]
    assert f"fidelity.backbone.msff_cnn.dropout={variant['dropout']}" in text
    (penalty,) = re.findall(r"recipe\.convolution_l2=(\S+)", text)
    assert float(penalty) == variant["l2"]


def test_the_ablations_heads_have_the_studys_figures() -> None:
    for name, ablation in study()["ablations"].items():
        text = head("ablation_batch_size" if name.startswith("batch_size") else f"ablation_{name}")
        for value in ablation["values"].values():
            assert f"{value:.2f}" in text, f"{name}: {value}"


def test_what_is_typed_takes_the_place_of_what_an_experiment_sweeps() -> None:
    runs = runs_of("table_attention", "dataset=jaffe", "backbone=resnet50", "seed=1")
    assert len(runs) == 4
    cfg = compose_config(runs[-1])
    assert (cfg.dataset.name, cfg.backbone.name, cfg.attention.name, cfg.recipe.batch_size) == (
        "jaffe",
        "resnet50",
        "cbam",
        4,
    )
    arguments = check_command_line(["-m", "experiment=table_attention", "backbone=resnet50", "attention=se,cbam"])
    assert arguments == ["-m", "experiment=table_attention", "backbone=resnet50", "attention=se,cbam", "seed=1,2,3"]
    arguments = check_command_line(["-m", "experiment=table_baseline", "backbone.attention_position=x"])
    assert "backbone.attention_position=choice(x)" in arguments  # the backbone is swept, by the experiment


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("experiment=table_attention", "experiment=table_attention is a sweep: add -m."),
        (
            "-m experiment=table_attention,table_baseline",
            "experiment=table_attention is itself a sweep: name one experiment at a time.",
        ),
        ("-m experiment=table_atention", "experiment=table_atention is not known (did you mean"),
        ("-m recipe/optimizer=sdg", "recipe/optimizer=sdg is not known (did you mean sgd?)"),
    ],
)
def test_mistakes_get_one_sentence(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        check_command_line(arguments.split())
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_settings_without_effect_are_refused() -> None:
    for overrides, message in (
        (["recipe=study", "augmentation=none"], "recipe.augment_validation=true has no effect"),
        (
            ["attention=eca", "attention.kernel_size=3", "attention.beta=2"],
            "attention.gamma and attention.beta have no",
        ),
        (["attention=eca", "attention.kernel_size=4"], "attention.kernel_size=4 must be odd"),
        (["attention=eca", "attention.kernel_size=100000001"], "attention.kernel_size=100000001 must be odd"),
        (["fidelity=code", "fidelity.norm.epsilon=0"], "fidelity.norm.epsilon=0 must be positive"),
        (["backbone=drf_msam", "fidelity=code", "backbone.model.parts=drf"], "backbone.model.parts has no effect with"),
        (
            ["backbone=aer_cnn", "fidelity=code", "fidelity.backbone.msff_cnn.dropout=0.3"],
            "fidelity.backbone.msff_cnn.dropout has no effect",
        ),
        (["+fidelity.dropout=0.3"], "There is no setting fidelity.dropout"),
        (
            ["backbone=vgg16", "+fidelity.backbone.resnet.bias=true"],
            "fidelity.backbone.resnet.bias has no effect with backbone=vgg16",
        ),
        (["backbone.family=vgg"], "backbone.family follows from the choice"),
        (["experiment=null"], "experiment=null is not known"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(compose_config(overrides))


@pytest.mark.parametrize("name", ["adam", "adamw", "keras_adam", "sgd", "rmsprop", "adagrad"])
def test_every_optimiser_can_be_chosen(name: str) -> None:
    file = OmegaConf.load(config_dir() / "recipe" / "optimizer" / f"{name}.yaml")
    for recipe in ("quick", "study"):
        cfg = compose_config([f"recipe={recipe}", f"recipe/optimizer={name}"])
        assert cfg.recipe.optimizer._target_ == file._target_
        build.check(cfg, num_classes=7)


def test_a_part_of_a_table_runs_and_is_reported(
    run_train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user would, but with synthetic faces, a network of four blocks and one epoch."""
    small = ("recipe.max_epochs=1", "dataset=synthetic", FACES, "dataset.image_size=32", SHALLOW, "trainer=cpu")
    part = ("backbone=resnet50", "attention=none,se", "seed=1", "backbone.model.width=16")
    code = run_train("-m", "experiment=table_attention", *part, *small, "recipe.batch_size=16")
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "2 runs: 2 done" in out
    assert fersweep(["report", "outputs/table_attention"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "2 finished runs in 2 rows, 0 not done" in out
    table = (tmp_path / "outputs" / "table_attention" / "report" / "table.md").read_text(encoding="utf-8")
    assert "\n| SE | " in table
    result = next((tmp_path / "outputs").rglob("result.json"))
    assert json.loads(result.read_text())["choices"]["recipe"] == "study"


def test_drf_msam_is_trained_on_either_split_and_its_control_differs_in_the_network_alone() -> None:
    """The control has as many parameters and operations; the hash is that of the run in results/."""
    study = compose_config(["experiment=best_drf_msam", "dataset.root=x", "split=study", "recipe.max_epochs=50"])
    assert run_hash(to_dict(study)) == "0724c55903"
    ours, control = (
        to_dict(compose_config([f"experiment={name}_drf_msam", "dataset.root=x"])) for name in ("best", "control")
    )
    counted = []
    for cfg in map(OmegaConf.create, (ours, control)):
        validate(cfg)
        with torch.device("meta"):
            network = build.model(cfg, 7)
        parameters = sum(each.numel() for each in network.parameters())
        counted.append((parameters, flops.count(network, 1, 48).forward))
    (parameters, operations), (of_control, its_operations) = counted
    assert of_control == pytest.approx(parameters, rel=0.005)
    assert its_operations == pytest.approx(operations, rel=0.03)
    assert ours.pop("backbone") != control.pop("backbone")
    assert ours == control


def test_the_record_is_the_runs_in_results() -> None:
    kept = sorted((config_dir().parent / "results").glob("fer2013_record*/runs/*/result.json"))
    expected = {}
    for typed in ("seed=1", "seed=2", "seed=3", "recipe.mixup=0.4", "split=study"):
        cfg = compose_config(["experiment=record", "dataset.root=x", typed])
        validate(cfg)
        assert cfg.sweep == "record"
        expected[run_hash(to_dict(cfg))] = typed
    assert {json.loads(path.read_text())["run"] for path in kept} == set(expected)
    build.check(cfg, num_classes=7)
