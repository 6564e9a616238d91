"""Settings and combinations that cannot work or would have no effect are refused in one sentence."""

from __future__ import annotations

from inspect import signature

import pytest
import pytorch_lightning as pl
from conftest import quickly_composed

from fersweep.build import make
from fersweep.config.checks import CHOICES, validate
from fersweep.config.compose import compose_config
from fersweep.errors import UserError
from fersweep.training.attempt import prepare
from fersweep.training.trainer_arguments import OWNED


@pytest.mark.parametrize("key", [key for key in CHOICES if key != "dataset.faces"])  # synthetic has faces only
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
        ("recipe.crop=31", r"recipe.crop=31 is out of range: null \(whole images\) or 32 pixels to dataset.image_size"),
        ("recipe.crop=60", "recipe.crop=60 is larger than the images of dataset.image_size=48: lower it, or set it to"),
        ("recipe.crop=48", "recipe.crop=48 has no effect with dataset.image_size=48: set it to null, or lower it"),
        ("recipe.max_epochs=0", "recipe.max_epochs=0 is out of range: 1 or more"),
        ("recipe.batch_size=1", "recipe.batch_size=1 is out of range: 2 or more"),
        ("recipe.optimizer.lr=0", "recipe.optimizer.lr=0 is out of range: a positive number"),
        ("recipe.optimizer.lr=nan", "recipe.optimizer.lr=nan is out of range"),
        ("recipe.optimizer.lr=[1,2]", r"recipe.optimizer.lr=\[1, 2\] is out of range"),
        ("recipe.warmup_epochs=999", "recipe.warmup_epochs=999.0 is out of range: 0 to recipe.max_epochs"),
        ("recipe.warmup_epochs=-1", "recipe.warmup_epochs=-1.0 is out of range"),
        ("recipe.label_smoothing=1", "recipe.label_smoothing=1.0 is out of range: 0 to below 1"),
        ("recipe.mixup=-0.1", r"recipe.mixup=-0.1 is out of range: 0 \(off\) or a positive alpha"),
        ("recipe.cutmix=-1", r"recipe.cutmix=-1.0 is out of range: 0 \(off\) or a positive alpha"),
        ("recipe.cutmix=1 recipe.class_weights=balanced", "recipe.cutmix and recipe.class_weights cannot be combined"),
        (
            "recipe.step_epochs=5",
            "recipe.step_epochs has no effect with recipe.schedule=cosine: set recipe.schedule=step",
        ),
        (
            "recipe.schedule=step recipe.step_epochs=0",
            "recipe.step_epochs=0.0 is out of range: a positive number of epochs",
        ),
        ("recipe.schedule=step recipe.step_factor=2", "recipe.step_factor=2.0 is out of range: above 0 to 1"),
        (
            "recipe.gradient_clip=null recipe.gradient_clip_mode=value",
            "recipe.gradient_clip_mode has no effect with recipe.gradient_clip=null: set a limit",
        ),
        ("recipe.teacher_weight=0.3", "recipe.teacher_weight has no effect without recipe.teacher: name a run"),
        ("recipe.teacher=x recipe.teacher_temperature=0", "teacher_temperature=0.0 is out of range: a positive number"),
        ("recipe.mixup=nan", "recipe.mixup=nan is out of range"),
        ("recipe.ema_decay=1", r"recipe.ema_decay=1.0 is out of range: null \(off\) or between 0 and 1"),
        ("recipe.gradient_clip=0", r"recipe.gradient_clip=0.0 is out of range: null \(off\) or positive"),
        ("recipe.early_stopping_patience=0", "recipe.early_stopping_patience=0 is out of range: null"),
        ("trainer.devices=0", "trainer.devices=0 is out of range: 1 or more"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0 is out of range: 1 or more"),
        ("trainer.devices=2", "trainer=auto uses one device, not 2: choose trainer=ddp"),
        ("trainer=ddp_cpu trainer.devices=8 recipe.batch_size=4", "recipe.batch_size=4 is the total over all devices"),
        ("trainer=ddp trainer.auto_microbatch=true", "trainer.auto_microbatch works on one device"),
        ("trainer.workers=-1", "trainer.workers=-1 is out of range: auto or a number of processes"),
        ("trainer.workers=some", "trainer.workers=some is out of range: auto or"),
        ("trainer.limit_batches=0", "trainer.limit_batches=0 is out of range: null or 1 or more"),
        ("trainer.overfit_batches=-1", r"trainer.overfit_batches=-1 is out of range: 0 \(off\) or more"),
        ("dataset.root=/data", "dataset=synthetic is generated, not read: omit dataset.root"),
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
            "Set dataset.root or dataset.download=true, not both",
        ),
        (
            "backbone=vgg16 attention=none backbone.attention_position=every_conv",
            "backbone.attention_position=every_conv has no effect with attention=none",
        ),
        ("trainer.overfit_batches=2", "trainer.overfit_batches needs augmentation=none"),
        (
            "recipe=notebook",
            "recipe=notebook has no schedule for backbone=resnet50: choose a backbone with one, such as aer_cnn",
        ),
        ("recipe.convolution_l2=-1", r"recipe.convolution_l2=-1.0 is out of range: 0 \(off\) or positive"),
        ("dataset.preprocessing.min_variance=20000", "min_variance=20000.0 is out of range: 0 .off. to 16256.25"),
        (
            "dataset.preprocessing.equalize=true dataset.channels=3",
            "dataset.preprocessing.equalize needs grey images: set dataset.channels=1",
        ),
        (
            "dataset=jaffe dataset.root=x split=notebook",
            "split=notebook is not possible with dataset=jaffe: choose split=study, subjects, random",
        ),
        (
            "trainer.overfit_batches=2 augmentation=none trainer.limit_batches=2",
            "Set trainer.overfit_batches or trainer.limit_batches, not both",
        ),
        ("recipe.mixup=0.2 recipe.class_weights=balanced", "recipe.mixup and recipe.class_weights cannot be combined"),
        ("~attention", "Settings without a value: attention"),
        ("~recipe", "Settings without a value: recipe.batch_size, recipe.max_epochs, recipe.name, recipe.optimizer"),
        ("recipe.batch_size=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("trainer.precision=16", r"trainer.precision=16 is not known \(did you mean bf16\?\)"),
    ],
)
def test_settings_out_of_range_or_without_effect_are_refused(overrides: str, message: str) -> None:
    cfg = quickly_composed(*overrides.split())
    with pytest.raises(UserError, match=message) as error:
        validate(cfg)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("trainer.lightning.deterministc=true", r"no argument 'deterministc' \(did you mean deterministic\?\)"),
        (
            "trainer.lightning.max_epochs=3",
            "cannot be set, because fersweep controls it: set recipe.max_epochs instead",
        ),
        ("trainer.lightning.plugins=[]", r"trainer.lightning.plugins cannot be set, because fersweep controls it\.$"),
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
        ("logger=wandb logger.tags=baseline", r"logger.tags=baseline is not a list: write logger.tags=\[baseline\]"),
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
        ("dataset.splits=[[1]]", r"dataset.splits holds \[1\], which is not a name"),
        ("dataset.splits=[{a:1}]", "dataset.splits holds {'a': 1}, which is not a name"),
        ("dataset.splits=3", "dataset.splits=3: this is not a list"),
        ("logger=wandb logger.tags=[[1]]", r"logger.tags holds \[1\], which is not a name"),
        ("force=maybe", "force=maybe is not possible: set true or false"),
        ("dataset.source=[1]", r"dataset.source=\[1\]: a list is not possible"),
        ("callbacks=[1]", r"callbacks=\[1\] is not known; choices: none"),
        ("+callbacks=[1]", "callbacks"),
        ("+callbacks.x=[1]", "names no class: it needs a _target_"),
        ("+callbacks.x=5", "5 names no class: it needs a _target_"),
        ("+callbacks.x._target_=torch.nn.ReLU", "callbacks: ReLU is not a Lightning callback"),
        (
            "+callbacks.x._target_=pytorch_lightning.callbacks.Timer +callbacks.x.duration=xx",
            "callbacks.x cannot be built",
        ),
        (
            "activation.module._target_=fersweep.data.sources.folder.Folder ~activation.module.alpha",
            "is not allowed here: it must be",
        ),
        ("+fidelity.backbone.resnet=5", "5 in fidelity is not a mapping"),
        ("plugins=a,b", r"plugins=a,b has several values: write plugins=\[a,b\]"),
        ("+fidelity.backbone.vgg.dropout=0.1", "fidelity.backbone.vgg.dropout has no effect with backbone=resnet50"),
        ("backbone=vgg16 fidelity=code backbone.model.dropout=0.1", "backbone.model.dropout has no effect with"),
    ],
)
def test_impossible_settings_are_refused_before_a_run_starts(overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        prepare(compose_config(overrides.split()))
    assert "\n" not in str(error.value)


def test_every_argument_of_the_trainer_is_either_free_or_decided_here() -> None:
    """Fails for a new argument of Lightning's Trainer."""
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
