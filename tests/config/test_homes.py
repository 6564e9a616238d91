"""``~`` in the paths of configuration files, and homes of users who do not exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from fersweep import build
from fersweep.cli import main as cli
from fersweep.config import compose, options
from fersweep.config.command_line import check_command_line
from fersweep.config.compose import compose_config
from fersweep.config.typed import PATHS, expand_homes
from fersweep.data.sources.folder import Folder
from fersweep.errors import UserError
from fersweep.inference import trained
from fersweep.inference.export import weights
from fersweep.training import checkpoint


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``local(key, …)`` sets paths below ``~`` for this machine, and returns the override that finds the file."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FERSWEEP_LOCAL", "mine")
    monkeypatch.setattr(options, "_added", [])

    def write(*keys: str) -> str:
        file = tmp_path / "conf" / "local" / "mine.yaml"
        file.parent.mkdir(parents=True)
        content: Any = OmegaConf.create()
        for key in keys:
            OmegaConf.update(content, key, f"~/some where/{key}")
        file.write_text(f"# @package _global_\n{OmegaConf.to_yaml(content)}")
        return f"hydra.searchpath=[{tmp_path / 'conf'}]"

    return write


def test_paths_in_files_may_begin_with_a_tilde(local: Callable[..., str], tmp_path: Path) -> None:
    cfg = compose_config([local(*PATHS)])
    for key in PATHS:
        assert OmegaConf.select(cfg, key) == f"{tmp_path}/home/some where/{key}"


@pytest.mark.parametrize("key", PATHS)
def test_the_home_of_nobody_in_a_file_is_one_sentence(key: str) -> None:
    cfg = OmegaConf.create()
    OmegaConf.update(cfg, key, "~nobody-here/x")
    sentence = rf"^{key}=~nobody-here/x does not exist: this machine has no user nobody-here; write"
    with pytest.raises(UserError, match=sentence):
        expand_homes(cfg)


def test_a_sweep_is_written_to_the_home_that_a_file_names(local: Callable[..., str], tmp_path: Path) -> None:
    found = local("outputs")
    checked = check_command_line(["-m", found, "sweep=a b", "seed=1,2"])
    assert (tmp_path / "home" / "some where" / "outputs" / "a b").is_dir()
    options._added.clear()
    cfg = compose._composed([each for each in checked if each not in ("-m", "seed=1,2")], return_hydra_config=True)
    assert cfg.hydra.sweep.dir == f"{tmp_path}/home/some where/outputs/a b"


def test_other_paths_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = OmegaConf.create({"outputs": "~/out", "cache": "${oc.env:HOME}/c", "weights": None})
    expand_homes(cfg)
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "outputs": f"{tmp_path}/out",
        "cache": f"{tmp_path}/c",
        "weights": None,
    }


@pytest.mark.parametrize(
    "call",
    [
        lambda path: checkpoint.load(Path(path)),
        lambda path: trained.load_all(Path(path)),
        lambda path: weights.load(Path(path)),
        lambda path: Folder(path).load(),
        lambda path: build.cache_dir(compose_config([f"cache='{path}'"])),
        lambda path: compose_config([f"hydra.searchpath=['file://{path}']"]),
    ],
)
def test_the_home_of_nobody_is_one_sentence(call: Callable[[str], Any]) -> None:
    with pytest.raises(UserError, match=r"^(cache=)?~nobody-here/x (cannot be accessed|does not exist).*no.* user"):
        call("~nobody-here/x")


def test_an_unexpected_error_shows_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(_: Any) -> float:
        raise RuntimeError("cannot read \x1b[2J\x07.png")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fersweep"])
    monkeypatch.setattr("fersweep.run.run", fail)
    assert cli.main(["train", "seed=1"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith("RuntimeError: cannot read \\x1b[2J\\x07.png\n")
    assert all(each.isprintable() or each == "\n" for each in told)
