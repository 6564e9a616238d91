"""The command line: mistakes are answered in one sentence before anything starts, and paths are read as typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fersweep.config.command_line import check_command_line
from fersweep.config.compose import compose_config, sweep_values
from fersweep.config.options import parse, quoted
from fersweep.config.typed import expanded_flags, readable
from fersweep.errors import UserError

GRID = "-m backbone=vgg16,vgg19 seed=1,2"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "attention=cbma",
            r"^attention=cbma is not known \(did you mean cbam\?\); choices: .*cbam, .*none, ",
        ),
        ("attention=null", "^attention=null is not known"),
        ("attention=[se,eca]", "is not known"),
        ("experiment=debug_btach", r"\(did you mean debug_batch\?\); choices: ablation_.*, debug_batch, debug_overfit"),
        ("atention=se", r"^There is no setting atention \(did you mean attention\?\); settings: backbone, attention"),
        ("recip.max_epochs=3", r"^There is no setting recip.max_epochs \(did you mean recipe.max_epochs\?\)"),
        (
            "recipe.max_epoch=3",
            r"^There is no setting recipe.max_epoch \(did you mean recipe.max_epochs\?\); .*batch_size",
        ),
        (
            "backbone=vgg19 attention=eca attention.gama=3",
            r"attention.gama \(did you mean attention.gamma\?\); .*: name, title, kernel_size, gamma, beta",
        ),
        ("recipe.optimizer.lrr=1", r"recipe.optimizer.lrr \(did you mean recipe.optimizer.lr\?\)"),
        ("sweep=null", "^sweep=null is not possible: give it a value.$"),
        ("recipe.max_epochs=null", "^recipe.max_epochs=null is not possible: give it a value.$"),
        ("recipe.max_epochs=many", "^recipe.max_epochs=many: 'many' is not an integer.$"),
        ("backbone.name=mine", "^backbone.name follows from the choice: set backbone=aer_cnn, "),
        ("dataset.root=/a=b", "^'dataset.root=/a=b' cannot be parsed: .* \"dataset.root='VALUE'\"\\.$"),
        ("seed", "^'seed' cannot be parsed: write key=value"),
    ],
)
def test_unknown_settings_and_options_get_suggestions(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        compose_config(overrides.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-m attention=se,cbma", "attention=cbma is not known (did you mean cbam?)"),
        ("-m seed=1,2 attention=choice(se,cbma)", "attention=cbma is not known"),
        (
            "--multirun seed=range(1,4) recipe.max_epoch=2",
            "There is no setting recipe.max_epoch (did you mean recipe.max_epochs?)",
        ),
        ("attention=se,eca", "attention=se,eca has several values: add -m for a sweep."),
        ("hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs=2 has no effect on a single run: add -m"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm has no effect on a single run: add -m"),
        ("-m hydra/sweeper=serch", "hydra/sweeper=serch is not known (did you mean search?)"),
        ("-m hydra/launcher=slrum", "hydra/launcher=slrum is not known (did you mean slurm?)"),
        (
            "-m hydra.launcher.njobs=2",
            "There is no setting hydra.launcher.njobs (did you mean hydra.launcher.n_jobs?); settings of ",
        ),
        ("atention=se", "There is no setting atention (did you mean attention?)"),
        ("max_epochs=3", "There is no setting max_epochs (did you mean recipe.max_epochs?); settings: backbone, "),
        ("lr=0.01", "There is no setting lr (did you mean recipe.optimizer.lr?)"),
        ("batch_size=8", "There is no setting batch_size (did you mean recipe.batch_size?)"),
        ("num_workers=2", "There is no setting num_workers (did you mean trainer.workers?)"),
        ("optimizer=adam", "There is no setting optimizer (did you mean recipe/optimizer?)"),
        (
            "recipe.optimizer=adam",
            "recipe.optimizer is a group: write recipe/optimizer=adam.",
        ),
        (
            "recipe.optimizer=nadam",
            "recipe.optimizer is a group: choose one of its options with recipe/optimizer=",
        ),
        ("epochs=3", "There is no setting epochs (did you mean recipe.max_epochs?)"),
        ("LR=0.1", "There is no setting LR (did you mean recipe.optimizer.lr?)"),
        ("trainer.epochs=3", "There is no setting trainer.epochs (did you mean recipe.max_epochs?)"),
        ("learning_rate=1", "There is no setting learning_rate (did you mean recipe.optimizer.lr?)"),
        ("gpus=2", "There is no setting gpus (did you mean trainer.devices?)"),
        ("Model=vgg16", "There is no setting Model (did you mean backbone?)"),
        ("momentum=0.9", "(did you mean recipe.optimizer.momentum, with recipe/optimizer=sgd"),
        ("attention=SE", "attention=SE is not known (did you mean se?)"),
        ("dataset=FER2013", "dataset=FER2013 is not known (did you mean fer2013?)"),
        ("a=b -m c=d", "There is no setting a; settings: "),
        ("=3", "'=3' cannot be parsed: write key=value"),
        (f"recipe.warmup_epochs={'1' * 400}", "recipe.warmup_epochs is a number of 400 digits, which is too large"),
        (f"-m seed=1,{'1' * 5000}", "seed is a number of 5000 digits, which is too large"),
        ("recipe.optimizer.lr=interval(0.1,0.2)", "recipe.optimizer.lr=interval(0.1,0.2) lists no values to try"),
        ("-m seed=range(1,1)", "seed=range(1,1) has no values, so there is nothing to run."),
        ("-m backbone=glob(z*)", "backbone=glob(z*) has no values, so there is nothing to run; choices: aer_cnn, "),
        (
            "hydra.run.dir=x",
            "hydra.run.dir=x has no effect: the folder of a run follows from its settings, set",
        ),
        ("-m seed=1,2 hydra.sweep.dir=x", "hydra.sweep.dir=x has no effect: the folder of a run follows"),
        ("-m seed=1,2 hydra.sweep.subdir=x", "hydra.sweep.subdir=x has no effect"),
        ("hydra.job.chdir=true", "hydra.job.chdir=true has no effect: a run keeps the working directory"),
        ("hydra.mode=MULTIRUN seed=1", "hydra.mode=MULTIRUN has no effect: add -m for a sweep."),
        ("hydra.output_subdir=x", "hydra.output_subdir=x has no effect"),
        ("-m --run", "--run and --multirun exclude each other: give one of them."),
        ("--info all -m", "--multirun and --info exclude each other: give one of them."),
        ("--cfg job -m", "--cfg shows the configuration of one run: omit -m"),
        ("--cfg jib", "argument --cfg/-c: invalid choice: 'jib'"),
        ("--package recipe", "--package has no effect without --cfg: add --cfg job."),
        ("--resolve", "--resolve has no effect without --cfg: add --cfg job."),
        ("--cfg job --package nope", "--package nope is no section of the configuration"),
        ("--experimental-rerun x", "--experimental-rerun is not supported: start the same command again"),
        ("-sc install=cmd", "--shell-completion takes install=SHELL or uninstall=SHELL, with bash, zsh or fish."),
        ("--mutlirun", "unrecognized argument '--mutlirun': --help shows what can be given."),
        (
            "dataset=folder dataset.root=~nobody-here/x",
            "~nobody-here/x does not exist: this machine has no user",
        ),
        ("attention=CBAM", "attention=CBAM is not known (did you mean cbam?)"),
        ("+trainer.max_epochs=3", "There is no setting trainer.max_epochs (did you mean recipe.max_epochs?)"),
        (
            "-m seed=1,2 recipe.optimizer={lr:range(1,3)}",
            "has several values inside a list or mapping: write each of these",
        ),
        (f"--config-dir={'x' * 300}", "x does not exist: name one with subfolders such as recipe/."),
        ("-m seed=1,2 +recipe.lr=1", "There is no setting recipe.lr (did you mean recipe.optimizer.lr?)"),
        ("++recipe.max_epoch=3", "There is no setting recipe.max_epoch (did you mean recipe.max_epochs?)"),
        ("+dataset.num_workers=2", "There is no setting dataset.num_workers (did you mean trainer.workers?)"),
        ("+ckpt_path=x", "There is no setting ckpt_path; settings: backbone, "),
        ("+logger.tag=x", "There is no setting logger.tag; settings of logger: name."),
        (
            "-m recipe.optimizer.lr=interval(0.001,0.1)",
            "recipe.optimizer.lr=interval(0.001,0.1) lists no values to try",
        ),
        (
            f"{GRID} hydra.sweeper.exclude=backbon:vgg16",
            "hydra.sweeper.exclude names backbon, which this sweep does not set (did you mean backbone?); it sets ",
        ),
        (
            f"{GRID} hydra.sweeper.exclude=backbone:vgg91,seed:1",
            "hydra.sweeper.exclude names backbone:vgg91, which this sweep does not try (did you mean vgg19?)",
        ),
        (f"{GRID} hydra.sweeper.exclude=seed:[1,2]", "hydra.sweeper.exclude leaves none of the 4 combinations"),
        (
            f"{GRID} hydra.sweeper.exclude=[backbone:vgg16] hydra.sweeper.exclude=[seed:1]",  # as bash expands braces
            "hydra.sweeper.exclude lists 'backbone:vgg16', which is not settings with values: write ",
        ),
        (f"{GRID} hydra.sweeper.exclude=3", "hydra.sweeper.exclude lists 3, which is not settings with values: write "),
        (
            f"{GRID} hydra.sweeper.zip=backbone,attention",
            "hydra.sweeper.zip names attention, which this sweep does not set; it sets backbone and seed.",
        ),
        (f"{GRID} hydra.sweeper.zip=backbone", "hydra.sweeper.zip=['backbone'] is not a list of two or more settings"),
        (f"{GRID} hydra.sweeper.zip=3", "hydra.sweeper.zip=[3] is not a list of two or more settings"),
        (f"{GRID} hydra.sweeper.zip=[[seed,backbone],[seed,backbone]]", "hydra.sweeper.zip names seed twice"),
        (
            "-m backbone=vgg16,vgg19 seed=1,2,3 hydra.sweeper.zip=backbone,seed",
            "hydra.sweeper.zip pairs settings with different numbers of values: backbone has 2 values, seed has 3",
        ),
        ("hydra.sweeper.zip=backbone,seed", "hydra.sweeper.zip=[backbone,seed] has no effect on a single run: add -m"),
        ("--dry-run --cfg job", "--cfg and --dry-run exclude each other: give one of them."),
        (
            f"{GRID} hydra/sweeper=basic --dry-run",
            "--dry-run is for sweeps over all combinations, not for hydra/sweeper=",
        ),
        ("fidelity=published", "fidelity=published is now called fidelity=code."),
        ("-m split=second_source,official", "split=second_source is now called split=notebook."),
        ("recipe=published", "recipe=published is now called recipe=study."),
        ("hydra=1", "hydra is a section, not a setting: set a key in it, such as hydra.launcher.n_jobs=2"),
        ("local=mine", "local has no options: local/none.yaml is always read"),
        ("-m experiment=glob(table*)", "is not one experiment: name one at a time"),
        (
            "-m experiment=table_second_source",
            "experiment=table_second_source is now called experiment=table_notebook.",
        ),
        ("recipe=_base", "recipe=_base is not known; choices: "),
        ("--config-name other", "--config-name is not supported: add your own options with --config-dir."),
    ],
)
def test_mistakes_on_the_command_line_get_one_sentence(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        check_command_line(arguments.split())
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {message}") or message in captured.err
    assert captured.err.count("\n") == 1


def test_good_command_lines_pass() -> None:
    assert check_command_line(["-m", "backbone=vgg16,vgg19", "seed=1", "backbone.model.batch_norm=true"]) == [
        "-m",
        "backbone=vgg16,vgg19",
        "seed=1",
        "backbone.model.batch_norm=choice(true)",  # Hydra would look for it in the default backbone, which has none
    ]
    for line in ("", "attention=none seed=3", "-m backbone=vgg16,vgg19 seed=1,2", "-m backbone=glob(vgg*)", "--help"):
        check_command_line(line.split())
    check_command_line(["dataset=folder", "dataset.root='/a=b/c d'"])
    check_command_line(["-m", "seed=1,2", "dataset=folder", "dataset.root='/a=b/c,d'"])
    assert check_command_line(["seed=1", "-m", "attention=se,eca"]) == ["-m", "seed=1", "attention=se,eca"]
    assert check_command_line(["trainer.lightning.deterministic=true"]) == ["++trainer.lightning.deterministic=true"]


def test_exclusions_and_pairs_need_no_brackets() -> None:
    both = ["hydra.sweeper.exclude=backbone:vgg16,seed:1", "hydra.sweeper.exclude=seed:[2],backbone:vgg19"]
    joined = "hydra.sweeper.exclude=[{backbone:vgg16,seed:1},{seed:[2],backbone:vgg19}]"
    assert check_command_line([*GRID.split(), *both]) == [*GRID.split(), joined]
    assert check_command_line([*GRID.split(), joined])[-1] == joined
    paired = "hydra.sweeper.zip=[backbone,seed]"
    assert check_command_line([*GRID.split(), "hydra.sweeper.zip=backbone,seed"])[-1] == paired
    impossible = "backbone=drf_msam,resnet50 attention=cbam,none"  # in its first combination
    check_command_line(["-m", *impossible.split(), "hydra.sweeper.exclude=backbone:drf_msam,attention:cbam"])


@pytest.mark.parametrize(
    "name",
    ["été", "表情", "faces (1)", "it's", "x=y", "faces, more", "a#b", "a&b", "a{b}", "[x]", "${x}", "a\\b", "~x"],
)
def test_paths_are_taken_as_the_shell_passes_them(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["dataset=folder", f"dataset.root={tmp_path}/{name}", "split=random", f"outputs={tmp_path}/{name}"]
    cfg = compose_config(check_command_line(arguments))
    plain_cfg = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain_cfg, dict)
    assert (plain_cfg["dataset"]["root"], plain_cfg["outputs"]) == (f"{tmp_path}/{name}",) * 2
    monkeypatch.setenv("HOME", str(tmp_path))
    (root,) = (each for each in check_command_line(["dataset=folder", f"dataset.root=~/{name}"]) if "root" in each)
    assert root.startswith(f"dataset.root='{tmp_path}/")
    assert check_command_line(["-m", "dataset=folder", "seed=1,2", "dataset.root=~/x"])[-1].startswith(
        "dataset.root='/"
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("typed", "single", "several"),
    [
        ("sweep=true", "true", ["true"]),
        ("sweep=1e5", "1e5", ["1e5"]),
        ("sweep=1_000,1e5", None, ["1_000", "1e5"]),
        ("sweep=first try (été)", "first try (été)", ["first try (été)"]),
        ("sweep=it's", "it's", ["it's"]),
        ("sweep='a,b'", "a,b", ["a,b"]),
        ("backbone.title=Été", "Été", ["Été"]),
        ("dataset.root=~/a,~/b", "/home/me/a,~/b", ["/home/me/a", "/home/me/b"]),
        ("dataset.root=faces(1)", "faces(1)", ["faces(1)"]),
        ("hydra.launcher.constraint=a100,1e3", None, ["a100", "1e3"]),
        ("recipe.max_epochs=3", 3, [3]),
        ("seed=choice(1,2)", None, ["1", "2"]),
        ("logger.tags=baseline", ["baseline"], [["baseline"]]),
        ("logger.tags=a b,1e5,été", ["a b", "1e5", "été"], [["a b", "1e5", "été"]]),
        ("logger.tags=[a b,'x,y',true]", ["a b", "x,y", "true"], [["a b", "x,y", "true"]]),
        ("hydra.searchpath=~/é", ["/home/me/é"], [["/home/me/é"]]),
    ],
)
def test_free_text_stays_as_typed(
    typed: str, single: object, several: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (alone,) = parse([readable(typed, multirun=False)])
    assert (None if alone.is_sweep_override() else alone.value()) == single
    (swept,) = parse([readable(typed, multirun=True)])
    values = [each.strip("'").replace("\\'", "'") for each in sweep_values(swept)]
    assert (values if swept.is_sweep_override() else [swept.value()]) == several


@pytest.mark.parametrize(
    "text", ["a", "a'b", "a\\", "a\\'b", "a\\\\'", "a\\b", "'", "\\", "a\nb", "a\n", "", '"', "'\\"]
)
def test_quoted_text_is_read_verbatim(text: str) -> None:
    assert parse([f"x={quoted(text)}"])[0].value() == text


def test_a_flag_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["--config-dir=~/mine", "-cd=~/mine", "dataset.root=~/x"]
    assert expanded_flags(arguments) == ["--config-dir=/home/me/mine", "-cd=/home/me/mine", "dataset.root=~/x"]


@pytest.mark.parametrize(
    ("typed", "twice"),
    [
        ("+x={a:1,b:2,a:3}", "a"),
        ("+x=[{a:1},{'b,c':[1,{d:1,d:2}]}]", "d"),
        ("hydra.sweeper.finals_overrides=split:official,split:random", "split"),
        ("hydra.sweeper.exclude=backbone:vgg19,backbone:resnet50", "backbone"),
        ("+x={a:{b:1},b:{a:1,b:2}}", None),
        ("+x=[{a:1},{a:2},a,a]", None),
        ("+x={a:'b:1,b:2',c:'a:'}", None),
        ("sweep={a:1,a:2}", None),
    ],
)
def test_a_mapping_with_a_key_twice_is_refused(typed: str, twice: str | None) -> None:
    if twice is None:
        assert readable(typed, multirun=True)
        return
    with pytest.raises(UserError, match=f"has {twice} twice: give it one value"):
        readable(typed, multirun=True)
