"""docs/how-to/extend.md: its files are written and used, its commands run; plugins and their checkpoints."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

from fersweep import build
from fersweep.cli.main import main
from fersweep.config import options as search
from fersweep.config import plugins
from fersweep.config.compose import compose_config
from fersweep.config.options import options
from fersweep.errors import UserError

PAGE = (REPOSITORY / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
FILES = [re.fullmatch(r"# (\S+)\n(.*)", text, re.DOTALL) for kind, text in BLOCKS if kind in ("python", "yaml")]
SWEEP = "fersweep train -m plugins=mylab backbone=resnet50,vgg19 attention=none,cbam,spatial"
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, and a dataset for its class."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "mylab").mkdir()
    (folder / "mylab" / "__init__.py").touch()
    for file in FILES:
        assert file is not None, "a block of code begins with the name of its file"
        path = folder / file[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file[2])
    (folder / "faces").mkdir()
    draw = np.random.default_rng(0)
    lines = []
    for number in range(140):
        name = f"{'train' if number < 105 else 'test'}_{number:05d}.jpg"
        Image.fromarray(draw.integers(0, 255, (20, 20), np.uint8)).save(folder / "faces" / name)
        lines.append(f"{name} {1 + number % 7}\n")
    (folder / "faces" / "labels.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def here(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the commands, and no plugin in use before or after."""
    monkeypatch.chdir(lab)
    monkeypatch.setattr(plugins, "_used", {})
    monkeypatch.setattr(search, "_added", [])
    path = list(sys.path)
    yield lab
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mylab"]:
        del sys.modules[name]


def test_the_page_has_an_example_of_each_kind() -> None:
    assert [file and file[1] for file in FILES] == [
        "mylab/spatial.py",
        "mylab/conf/attention/spatial.yaml",
        "mylab/convnet.py",
        "mylab/conf/backbone/convnet.yaml",
        "mylab/listed.py",
        "mylab/conf/dataset/listed.yaml",
        "mine/recipe/short.yaml",
    ]
    assert len(COMMANDS) == 6


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "choice", ["backbone=convnet attention=spatial", "backbone=resnet50 attention=spatial", "backbone=convnet"]
)
def test_networks_of_the_page_learn(choice: str) -> None:
    cfg = compose_config(["plugins=[mylab]", *choice.split(), "dataset.image_size=32"])
    network = build.model(cfg, 7)
    logits = network(torch.rand(2, 1, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert choice.endswith("spatial") == any(type(each).__name__ == "SpatialExcitation" for each in network.modules())


@pytest.mark.usefixtures("here")
def test_the_dataset_of_the_page_is_read(cache: Path) -> None:
    choices = ["dataset=listed", "dataset.root=faces", "split=random", f"cache={cache}"]
    samples = build.samples(compose_config(["plugins=[mylab]", *choices]))
    assert samples.images.shape == (140, 48, 48)
    names = [samples.class_names[label] for label in samples.labels[:7]]
    assert names == ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]


def test_every_command_of_the_page_works(
    here: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = here
    for command in COMMANDS:
        monkeypatch.setattr(plugins, "_used", {})
        monkeypatch.setattr(search, "_added", [])
        if " -m " in command:  # a sweep of full size
            assert command == SWEEP
            continue
        words = [
            word
            for each in shlex.split(command)[1:]
            for word in (sorted(map(str, lab.glob(each))) if "*" in each else [each])
        ]
        code = main([words[0], *([f"cache={cache}"] if words[0] == "train" else []), *words[1:]])
        assert code == 0, f"{command}\n{capsys.readouterr()}"
    runs = sorted(path.parent.name for path in (lab / "outputs" / "runs").glob("*/result.json"))
    assert [name.rpartition("-")[0] for name in runs] == [
        "convnet-none-elu-paper-listed-random-flip_zoom-quick-s1",
        "convnet-none-elu-paper-synthetic-official-flip_zoom-short-s1",
        "convnet-spatial-elu-paper-synthetic-official-flip_zoom-quick-s1",
    ]
    assert (lab / "convnet.onnx").stat().st_size > 1000

    spatial = next((lab / "outputs" / "runs").glob("convnet-spatial-*"))
    assert json.loads((spatial / "result.json").read_text())["title"] == "ConvNet + sSE, ELU"
    _a_checkpoint_needs_its_plugin(lab, spatial)


def _a_checkpoint_needs_its_plugin(lab: Path, run: Path) -> None:
    """Reading a checkpoint imports no plugin that it names."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom fersweep import Predictor\nfrom fersweep.inference import trained\n"
        "from fersweep.errors import UserError\n"
        f"run = Path({str(run)!r})\n"
        "try:\n    trained.load(run)\nexcept UserError as error:\n    print(error)\n"
        "assert 'mylab' not in sys.modules\n"
        "print(Predictor(run, plugins=['mylab']).title)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=lab, capture_output=True, text=True, check=True)
    refused, title = done.stdout.splitlines()
    assert "needs the plugin mylab, which is code: if you trust it, name it with --plugin mylab" in refused
    assert title == "ConvNet + sSE, ELU, synthetic faces"


@pytest.mark.usefixtures("here")
def test_checks_and_hints_know_the_options_of_a_plugin() -> None:
    assert "spatial" not in options("attention")
    with pytest.raises(UserError, match="attention=spatial is not known; choices: bam, bot, cbam"):
        compose_config(["attention=spatial"])
    cfg = compose_config(["plugins=mylab", "attention=spatial"])
    assert (list(cfg.plugins), cfg.attention.title) == (["mylab"], "sSE")
    assert {"spatial", "cbam"} < set(options("attention"))
    with pytest.raises(UserError, match=r"attention=spatail is not known \(did you mean spatial\?\)"):
        compose_config(["plugins=[mylab]", "attention=spatail"])
    with pytest.raises(UserError, match=r"attention.strat \(did you mean attention.start\?\)"):
        compose_config(["plugins=[mylab]", "attention=spatial", "attention.strat=3"])


def test_errors_of_plugins(here: Path) -> None:
    (here / "broken.py").write_text("import nothing_of_that_name\n")
    (here / "raises.py").write_text("1 / 0\n")
    for name, sentence in (
        ("nolab", "The plugin nolab is not found: start in the folder that holds nolab.py or nolab/"),
        ("mylab.nothing", "The plugin mylab.nothing is not found"),
        ("broken", "The plugin broken cannot be imported: the module nothing_of_that_name does not exist"),
        ("raises", "The plugin raises cannot be imported .ZeroDivisionError"),
    ):
        with pytest.raises(UserError, match=sentence):
            compose_config([f"plugins=[{name}]"])


def test_folders_of_options(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["--config-dir", "mine"], ["hydra.searchpath=[mine]"], [f"hydra.searchpath=[file://{here}/mine]"]):
        monkeypatch.setattr(search, "_added", [])
        assert main(["train", *words, "recipe=short", "--cfg", "job"]) == 0
        assert "max_epochs: 2" in capsys.readouterr().out
    monkeypatch.setattr(search, "_added", [])
    assert main(["train", "--config-dir", "mine", "--help"]) == 0
    assert re.search(r"^recipe: .*, quick, .*short, study$", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setattr(search, "_added", [])
    assert main(["train", "--config-dir", "nowhere", "recipe=short"]) == 2
    assert "The folder of options nowhere does not exist" in capsys.readouterr().err
    assert main(["train", "hydra.searchpath=[pkg://nolab.conf]"]) == 2
    assert "the package nolab.conf does not exist" in capsys.readouterr().err


def test_local_settings_may_name_plugins(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``local/default.yaml``, or what the environment names, is read on the search path, before an experiment."""
    assert search.machine() == "none"  # in tests, whose results must not depend on ``conf/local`` of this checkout
    monkeypatch.delenv("FERSWEEP_LOCAL")
    assert search.machine() == "default"
    monkeypatch.setenv("FERSWEEP_LOCAL", "cluster")
    (here / "site" / "local").mkdir(parents=True)
    (here / "site" / "local" / "cluster.yaml").write_text(
        "# @package _global_\noutputs: /scratch/runs\nplugins: [mylab]\nlogger:\n  name: csv\n"
    )
    assert main(["train", "--config-dir", "site", "attention=spatial", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "outputs: /scratch/runs" in shown
    assert "_target_: mylab.spatial.SpatialExcitation" in shown


def test_a_checkpoint_can_name_only_what_a_plugin_defines(here: Path) -> None:
    (here / "mylab" / "shell.py").write_text("import os\nfrom os import system\n")
    compose_config(["plugins=[mylab]"])
    from fersweep.build import make

    for target in ("mylab.shell.system", "mylab.shell.os.system", "other.thing"):
        with pytest.raises(UserError, match="is not allowed: it must be defined in"):
            make({"_target_": target})
    assert plugins.used() == ("mylab",)
