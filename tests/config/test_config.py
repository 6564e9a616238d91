"""The configuration: every file under ``conf`` composes and means what its name says; mistakes get one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from pathlib import Path

import pytest
import pytorch_lightning as pl
from conftest import plain, quickly_composed, train_process
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from fersweep.build import check, make
from fersweep.config.checks import CHOICES, validate
from fersweep.config.command_line import check_command_line
from fersweep.config.compose import compose_config
from fersweep.config.options import config_dir, options
from fersweep.config.schema import GROUPS, choices_of, register
from fersweep.errors import UserError
from fersweep.training.attempt import prepare
from fersweep.training.fit import OWNED

FILES = sorted(path.relative_to(config_dir()).as_posix() for path in config_dir().rglob("*") if path.is_file())
CHOSEN = [file.removesuffix(".yaml") for file in FILES if "/" in file and "/_" not in file]
BASES = [file for file in FILES if "/_" in file]


@cache
def composed(file: str) -> tuple[DictConfig, frozenset[str]]:
    """The configuration with one file chosen and defaults elsewhere, and the files of ``conf`` that are part of it."""
    group, _, option = file.rpartition("/")
    overrides = [f"{group}={option}"]
    if group == "dataset" and option != "synthetic":
        overrides += ["dataset.root=somewhere", "split=random"]
    if file == "recipe/notebook":
        overrides += ["backbone=aer_cnn"]
    if option.startswith(("table_", "ablation_", "best_")):
        overrides += ["dataset.root=somewhere"]
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = compose("train", overrides, return_hydra_config=True)
    chosen = OmegaConf.to_container(whole.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    used = {f"{group}/{option}.yaml" for group, option in chosen.items()} | {"train.yaml"}
    return OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"]), frozenset(used & set(FILES))


@pytest.mark.parametrize("file", CHOSEN)
def test_every_file_composes_validates_and_bears_its_name(file: str) -> None:
    cfg, used = composed(file)
    assert f"{file}.yaml" in used
    validate(cfg)
    group, _, option = file.rpartition("/")
    if group in GROUPS:
        assert choices_of(plain(cfg))[group] == option
    if group in ("backbone", "attention", "activation", "fidelity"):
        check(cfg, num_classes=7)
    make(cfg.split.function)
    make(cfg.augmentation.transform)(image_size=48)
    make(cfg.recipe.optimizer)


def test_no_file_is_left_out() -> None:
    reached = frozenset[str]().union(*(composed(file)[1] for file in CHOSEN))
    assert sorted([*reached, *BASES]) == FILES
    for file in BASES:
        group = Path(file).parent
        users = [each for each in FILES if Path(each).parent == group and each != file]
        naming = [each for each in users if Path(file).stem in (config_dir() / each).read_text()]
        assert naming == users if file.endswith("/_base.yaml") else naming, file


def test_the_groups_are_those_of_the_contract() -> None:
    assert {Path(file).parts[0] for file in CHOSEN} == {*GROUPS, "callbacks", "experiment", "hydra"}
    cfg = compose_config([])
    assert choices_of(plain(cfg)) == {
        "backbone": "resnet50",
        "attention": "cbam",
        "activation": "elu",
        "fidelity": "paper",
        "dataset": "synthetic",
        "split": "official",
        "augmentation": "flip_zoom",
        "recipe": "quick",
        "trainer": "auto",
        "logger": "csv",
    }
    assert list(plain(cfg))[:10] == list(GROUPS)


@pytest.mark.parametrize(("dataset", "size"), [("fer2013", 64), ("ckplus", 16), ("jaffe", 4), ("folder", 64)])
def test_the_study_recipe_takes_the_batch_size_of_the_dataset(dataset: str, size: int) -> None:
    cfg = compose_config(["recipe=study", f"dataset={dataset}", "dataset.root=x"])
    assert cfg.recipe.batch_size == size
    recipe = cfg.recipe
    assert (recipe.optimizer._target_, recipe.optimizer.lr, recipe.optimizer.eps) == (
        "fersweep.training.optim.KerasAdam",
        1e-4,
        1e-7,
    )
    assert recipe.augment_validation
    assert (recipe.max_epochs, recipe.early_stopping_patience, recipe.schedule) == (200, 15, "constant")


def test_the_modern_recipe_brings_its_augmentation_which_can_still_be_chosen() -> None:
    assert compose_config(["recipe=modern"]).augmentation.name == "standard"
    assert compose_config(["recipe=modern", "augmentation=none"]).augmentation.name == "none"


@pytest.mark.parametrize("key", CHOICES)
def test_a_setting_with_choices_takes_these_and_names_them(key: str) -> None:
    for choice in CHOICES[key]:
        validate(quickly_composed(f"{key}={'null' if choice is None else choice}"))
    wrong = "7" if isinstance(CHOICES[key][0], int) else "colour"
    with pytest.raises(UserError, match=rf"^{key}={wrong} is not known") as error:
        validate(quickly_composed(f"{key}={wrong}"))
    for choice in CHOICES[key]:
        assert ("null" if choice is None else str(choice)) in str(error.value).partition("choices:")[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed=-1", "seed=-1 is out of range: 0 to 4294967295"),
        ("seed=4294967296", "seed=4294967296 is out of range"),
        ("dataset.image_size=31", "dataset.image_size=31 is out of range: 32 to 512 pixels"),
        ("dataset.image_size=513", "dataset.image_size=513 is out of range"),
        ("recipe.max_epochs=0", "recipe.max_epochs=0 is out of range: 1 or more"),
        ("recipe.batch_size=1", "recipe.batch_size=1 is out of range: 2 or more"),
        ("recipe.optimizer.lr=0", "recipe.optimizer.lr=0 is out of range: a positive number"),
        ("recipe.optimizer.lr=nan", "recipe.optimizer.lr=nan is out of range"),
        ("recipe.optimizer.lr=[1,2]", r"recipe.optimizer.lr=\[1, 2\] is out of range"),
        ("recipe.warmup_epochs=999", "recipe.warmup_epochs=999.0 is out of range: 0 to recipe.max_epochs"),
        ("recipe.warmup_epochs=-1", "recipe.warmup_epochs=-1.0 is out of range"),
        ("recipe.label_smoothing=1", "recipe.label_smoothing=1.0 is out of range: 0 to below 1"),
        ("recipe.mixup=-0.1", r"recipe.mixup=-0.1 is out of range: 0 \(off\) or a positive alpha"),
        ("recipe.mixup=nan", "recipe.mixup=nan is out of range"),
        ("recipe.ema_decay=1", r"recipe.ema_decay=1.0 is out of range: null \(off\) or between 0 and 1"),
        ("recipe.gradient_clip=0", r"recipe.gradient_clip=0.0 is out of range: null \(off\) or positive"),
        ("recipe.early_stopping_patience=0", "recipe.early_stopping_patience=0 is out of range: null"),
        ("trainer.devices=0", "trainer.devices=0 is out of range: 1 or more"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0 is out of range: 1 or more"),
        ("trainer.devices=2", "trainer=auto uses one device, not 2: choose trainer=ddp"),
        ("trainer=ddp_cpu trainer.devices=8 recipe.batch_size=4", "recipe.batch_size=4 counts all devices together"),
        ("trainer=ddp trainer.auto_microbatch=true", "trainer.auto_microbatch works on one device"),
        ("trainer.workers=-1", "trainer.workers=-1 is out of range: auto or a number of processes"),
        ("trainer.workers=some", "trainer.workers=some is out of range: auto or"),
        ("trainer.limit_batches=0", "trainer.limit_batches=0 is out of range: null or 1 or more"),
        ("trainer.overfit_batches=-1", r"trainer.overfit_batches=-1 is out of range: 0 \(off\) or more"),
        ("dataset.root=/data", "dataset=synthetic is drawn, not read: leave dataset.root out"),
        ("dataset=fer2013", r"dataset=fer2013 needs dataset.root=PATH .* or dataset.download=true"),
        ("dataset=jaffe", r"dataset=jaffe needs dataset.root=PATH \(its archive or folder\)\.$"),
        ("dataset.download=true", "dataset.download=true is not possible with dataset=synthetic"),
        (
            "dataset=ckplus split=random dataset.download=true",
            "dataset.download=true is not possible with dataset=ckplus",
        ),
        (
            "dataset=jaffe dataset.root=x",
            "split=official is not possible with dataset=jaffe: choose split=study, subj",
        ),
        ("dataset=fer2013 dataset.root=x split=subjects", "split=subjects is not possible with dataset=fer2013"),
        (
            "dataset=fer2013 dataset.download=true dataset.root=x",
            "Give dataset.root or dataset.download=true, not both",
        ),
        (
            "backbone=vgg16 attention=none backbone.attention_position=every_conv",
            "backbone.attention_position=every_conv has no effect with attention=none",
        ),
        ("trainer.overfit_batches=2", "trainer.overfit_batches needs augmentation=none"),
        (
            "recipe=notebook",
            "recipe=notebook has no schedule for backbone=resnet50: choose a backbone that has one, such as aer_cnn",
        ),
        ("recipe.convolution_l2=-1", r"recipe.convolution_l2=-1.0 is out of range: 0 \(off\) or positive"),
        ("dataset.preprocessing.min_variance=20000", "min_variance=20000.0 is out of range: 0 .off. to 16256.25"),
        (
            "dataset.preprocessing.equalize=true dataset.channels=3",
            "dataset.preprocessing.equalize works on grey images: set dataset.channels=1",
        ),
        (
            "dataset=jaffe dataset.root=x split=notebook",
            "split=notebook is not possible with dataset=jaffe: choose split=study, subjects, random",
        ),
        (
            "trainer.overfit_batches=2 augmentation=none trainer.limit_batches=2",
            "Give trainer.overfit_batches or trainer.limit_batches, not both",
        ),
        ("recipe.mixup=0.2 recipe.class_weights=balanced", "recipe.mixup and recipe.class_weights cannot be combined"),
        ("~attention", "Settings without a value: attention"),
        ("~recipe", "Settings without a value: recipe.batch_size, recipe.max_epochs, recipe.name, recipe.optimizer"),
        ("recipe.batch_size=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("trainer.precision=16", r"trainer.precision=16 is not known \(did you mean bf16\?\)"),
    ],
)
def test_what_cannot_work_or_has_no_effect_is_refused(overrides: str, message: str) -> None:
    cfg = quickly_composed(*overrides.split())
    with pytest.raises(UserError, match=message) as error:
        validate(cfg)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "attention=cbma",
            r"^attention=cbma is no choice of attention \(did you mean cbam\?\); choices: .*cbam, .*none, ",
        ),
        ("attention=null", "^attention=null is no choice of attention"),
        ("attention=[se,eca]", "is no choice of attention"),
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
        ("recipe.max_epochs=many", "^recipe.max_epochs=many: 'many' is no whole number.$"),
        ("backbone.name=mine", "^backbone.name follows from the choice: set backbone=aer_cnn, "),
        ("dataset.root=/a=b", "^'dataset.root=/a=b' cannot be read: .* \"dataset.root='VALUE'\"\\.$"),
        ("seed", "^'seed' cannot be read: write key=value"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        compose_config(overrides.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-m attention=se,cbma", "attention=cbma is no choice of attention (did you mean cbam?)"),
        ("-m seed=1,2 attention=choice(se,cbma)", "attention=cbma is no choice"),
        (
            "--multirun seed=range(1,4) recipe.max_epoch=2",
            "There is no setting recipe.max_epoch (did you mean recipe.max_epochs?)",
        ),
        ("attention=se,eca", "attention=se,eca names several runs: add -m for a sweep."),
        ("hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs=2 is of sweeps and has no effect on a single run: add -m"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm is of sweeps and has no effect on a single run: add -m"),
        ("-m hydra/launcher=slrum", "hydra/launcher=slrum is no choice of hydra/launcher (did you mean slurm?)"),
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
            "recipe.optimizer is a group: choose one of its options with recipe/optimizer=adagrad",
        ),
        ("attention=CBAM", "attention=CBAM is no choice of attention (did you mean cbam?)"),
        ("+trainer.max_epochs=3", "There is no setting trainer.max_epochs (did you mean recipe.max_epochs?)"),
        ("-m seed=1,2 +recipe.lr=1", "There is no setting recipe.lr (did you mean recipe.optimizer.lr?)"),
        ("++recipe.max_epoch=3", "There is no setting recipe.max_epoch (did you mean recipe.max_epochs?)"),
        ("+dataset.num_workers=2", "There is no setting dataset.num_workers (did you mean trainer.workers?)"),
        ("+ckpt_path=x", "There is no setting ckpt_path; settings: backbone, "),
        ("+logger.tag=x", "There is no setting logger.tag; settings of logger: name."),
        (
            "-m recipe.optimizer.lr=interval(0.001,0.1)",
            "recipe.optimizer.lr=interval(0.001,0.1) names no single values",
        ),
        ("fidelity=published", "fidelity=published is now called fidelity=code."),
        ("-m split=second_source,official", "split=second_source is now called split=notebook."),
        ("recipe=published", "recipe=published is now called recipe=study."),
        ("hydra=1", "hydra is a section of settings: name one, such as hydra.launcher.n_jobs=2"),
        ("local=mine", "local is no group to choose from: local/default.yaml is read wherever it lies"),
        ("-m experiment=glob(table*)", "names no single one: name one experiment at a time"),
        (
            "-m experiment=table_second_source",
            "experiment=table_second_source is now called experiment=table_notebook.",
        ),
        ("recipe=_base", "recipe=_base is no choice of recipe; choices: "),
        ("--config-name other", "--config-name is not supported: add options of your own with --config-dir."),
    ],
)
def test_the_command_line_is_read_before_anything_starts(
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


@pytest.mark.parametrize(
    "name",
    ["été", "表情", "faces (1)", "it's", "x=y", "faces, more", "a#b", "a&b", "a{b}", "[x]", "${x}", "a\\b", "~x"],
)
def test_a_path_is_taken_as_the_shell_hands_it_over(
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
    ("overrides", "message"),
    [
        ("trainer.lightning.deterministc=true", r"no argument 'deterministc' \(did you mean deterministic\?\)"),
        ("trainer.lightning.max_epochs=3", "cannot be set, fersweep decides it: set recipe.max_epochs instead"),
        ("trainer.lightning.plugins=[]", r"trainer.lightning.plugins cannot be set, fersweep decides it\.$"),
        (
            "+callbacks.a._target_=pytorch_lightning.callbacks.ModelCheckpoint",
            "fersweep brings its own ModelCheckpoint",
        ),
        (
            "+callbacks.a._target_=pytorch_lightning.callbacks.EarlyStopping +callbacks.a.monitor=val/loss",
            "fersweep brings its own EarlyStopping; set recipe.early_stopping_patience",
        ),
        ("+callbacks.a._target_=os.system", "_target_=os.system is not allowed"),
        ("split.fold=2", "split.fold has no effect with split=official: choose split=subjects"),
        ("backbone.lr=0.1", "backbone.lr has no effect with recipe=quick"),
        ("backbone=drf_msam recipe=modern backbone.lr=0.5", "backbone.lr has no effect with recipe=modern"),
        ("logger=wandb logger.tags=baseline", r"logger.tags=baseline is no list: write logger.tags=\[baseline\]"),
        ("+backbone.model.poling=avg", r"ResNet has no argument 'poling' \(did you mean pooling\?\)"),
        ("~backbone.model._target_", "backbone=resnet50 names no class: write _target_ below model in its file"),
        ("~attention._target_", "attention=cbam names no class: write _target_ in its file"),
        (
            "backbone=aer_cnn attention=none backbone.model._target_=torch.nn.Flatten",
            "torch.nn.Flatten has no argument",
        ),
        (
            "attention._target_=torch.nn.Flatten ~attention.reduction ~attention.kernel_size",
            "backbone=resnet50 attention=cbam cannot take images of shape .2, 1, 48, 48.: ",
        ),
        ("recipe.mixup=inf", "recipe.mixup=inf is out of range"),
        ("~seed", "seed cannot be deleted: give it a value"),
        ("+backbone.model.num_classes=5", "num_classes of fersweep.models.resnet.ResNet is given by the program"),
        ("+dataset.source.image_size=99", "image_size of fersweep.data.sources.synthetic.Synthetic is given by"),
        ("+augmentation.transform.image_size=99", "image_size of fersweep.data.augment.flip_zoom is given by"),
        ("attention=none +attention.foo=3", "torch.nn.Identity has no argument 'foo'"),
        ("+backbone.model._convert_=all", "fersweep.models.resnet.ResNet has no argument '_convert_'"),
        ("+callbacks.x=5", "5 names no class: it needs a _target_"),
        ("+callbacks.x._target_=torch.nn.ReLU", "callbacks: ReLU is no callback of Lightning"),
        (
            "+callbacks.x._target_=pytorch_lightning.callbacks.Timer +callbacks.x.duration=xx",
            "callbacks.x cannot be built",
        ),
        (
            "activation.module._target_=fersweep.data.sources.folder.Folder ~activation.module.alpha",
            "is not allowed here: it must be",
        ),
        ("+fidelity.backbone.resnet=5", "5 in fidelity is no entry"),
        ("plugins=a,b", r"plugins=a,b names several: write plugins=\[a,b\]"),
        ("+fidelity.backbone.vgg.dropout=0.1", "fidelity.backbone.vgg.dropout has no effect with backbone=resnet50"),
        ("backbone=vgg16 fidelity=code backbone.model.dropout=0.1", "backbone.model.dropout has no effect with"),
    ],
)
def test_what_a_run_cannot_be_given_is_refused_before_it_starts(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        prepare(compose_config(overrides.split()))
    assert "\n" not in str(error.value)


def test_every_argument_of_the_trainer_is_either_free_or_decided_here() -> None:
    """A new version of Lightning with another argument shows here."""
    known = set(signature(pl.Trainer.__init__).parameters) - {"self"}
    assert set(OWNED) < known
    assert known - set(OWNED) == {
        "deterministic",
        "benchmark",
        "detect_anomaly",
        "enable_autolog_hparams",
        "model_registry",
    }


def test_targets_outside_the_package_are_refused() -> None:
    for target in (
        "os.system",
        "fersweep.runs.status.write_json",  # of this package, but writes files
        "fersweep.data.augment.os.system",  # an allowed module only imports it
        "torch.nn.functional.torch.load",
        "fersweep.data.sources.fer2013.download",  # a function that fetches data
        "fersweep.data.sources.folder.Folder.load",  # a method
    ):
        for node in ({"_target_": target}, {"_target_": "torch.nn.ELU", "alpha": {"_target_": target}}):
            with pytest.raises(UserError, match="is not allowed: it must be defined in"):
                make(node)
    with pytest.raises(UserError, match=r"_target_=torch\.nn\.Nothing does not exist"):
        make({"_target_": "torch.nn.Nothing"})
    with pytest.raises(UserError, match=r"^torch\.nn\.ELU has no argument 'beta'; it takes alpha, inplace\.$"):
        make({"_target_": "torch.nn.ELU", "beta": 1})
    assert make({"_target_": "torch.nn.ELU", "alpha": 0.5}).alpha == 0.5


def test_options_lists_what_lies_in_the_folder() -> None:
    assert {"cbam", "eca", "none", "se"} <= set(options("attention"))
    assert "_base" not in options("recipe")
    assert options("nothing") == ()


def test_help_and_the_config_can_be_read(tmp_path: Path) -> None:
    helped = train_process(tmp_path, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    lines = helped.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("backbone: ", "experiment: "))) <= 120
    assert len(lines) < 40
    for group in GROUPS:
        (line,) = (line for line in lines if line.startswith(f"{group}: "))
        assert line.partition(": ")[2].split(", ") == list(options(group))
    shown = train_process(tmp_path, "--cfg", "job", "attention=eca", "recipe.max_epochs=3")
    assert (shown.returncode, shown.stderr) == (0, "")
    cfg = OmegaConf.create(shown.stdout)
    assert (cfg.attention, cfg.recipe.max_epochs) == (plain(compose_config(["attention=eca"]))["attention"], 3)
    assert list(cfg)[:10] == list(GROUPS)
    assert list(tmp_path.iterdir()) == []


def test_configurations_do_not_share_state(small: Callable[..., DictConfig]) -> None:
    one = small("seed=2")
    assert small().seed == 1
    assert one.seed == 2


@pytest.mark.parametrize("name", ["debug_batch", "debug_overfit", "debug_profile"])
def test_the_debug_ladder_can_be_climbed_again(name: str) -> None:
    cfg = compose_config([f"experiment={name}"])
    assert cfg.force
    assert cfg.sweep == "debug"
