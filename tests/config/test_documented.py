"""The commands and settings that README and docs show: each command passes the check, each setting is explained."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import plain, quickly_composed

from fersweep.cli.main import _parser
from fersweep.config.command_line import check_command_line
from fersweep.config.schema import dotted

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "results" / "README.md"]
START = r"(?:uv run |python )?(?P<program>train\.py|fersweep) "
ABSTRACT = (" ...", "[overrides]", " PRE", "$(", "--help")
"""Marks of a command that stands for several, or that prints help."""


def commands() -> dict[str, str]:
    """Return the commands of all indented blocks and their pages: overrides and arguments, without comments."""
    found = {}
    for page in PAGES:
        text = re.sub(r" *\\\n +", " ", page.read_text(encoding="utf-8"))
        for line in re.findall(r"^    (\S.*)$", text, flags=re.MULTILINE):
            command = re.split(r"  +#", line)[0].strip().replace("pip install uv && ", "")
            if re.match(START, command) and not any(mark in f"{command} " for mark in ABSTRACT):
                found[command] = page.name
    return found


COMMANDS = commands()
TRAIN = [each for each in COMMANDS if "train.py" in each]
VERBS = [each for each in COMMANDS if "train.py" not in each]


def test_the_documentation_shows_commands() -> None:
    assert len(TRAIN) >= 30
    assert len(VERBS) >= 15


@pytest.mark.parametrize("command", TRAIN)
def test_a_shown_command_passes_the_check(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command.partition("train.py")[2])
    checked = check_command_line(arguments)
    assert len(checked) >= len(arguments)


@pytest.mark.parametrize("command", VERBS)
def test_a_shown_verb_has_these_arguments(command: str) -> None:
    words = re.sub(r"<(\w+)>", r"\1", re.sub(r"\[(--[\w-]+)(?: [A-Z]+)?(?: \| --\w+)?\]|[\[\]]", "", command))
    parsed, rest = _parser().parse_known_args(shlex.split(words.partition("fersweep ")[2]))
    assert callable(parsed.run)
    assert all("=" in each for each in rest)


def test_no_shown_command_has_a_pattern_of_zsh_outside_quotes() -> None:
    """Unlike bash, zsh refuses a word with brackets or other marks of a pattern that matches no file."""
    fenced = [
        block for page in PAGES for block in re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    ]
    lines = "".join(fenced).splitlines()
    assert len(lines) > 3
    for command in (*TRAIN, *lines, *(each for each in VERBS if "<" not in each and "[" not in each)):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|outputs/runs/\S+-\*", "", command)  # the last is meant as a pattern
        assert re.findall(r"[?*()\[\]{}<>^#!$]|(?<!\S)=|(?<![=\s])~", bare) == [], command


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
def test_shells_pass_the_shown_arguments(shell: str, tmp_path: Path) -> None:
    """A word such as ``dataset.root=~/data`` reaches the program with its tilde, and nothing is expanded or dropped."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    lines = [each.partition("train.py")[2] for each in TRAIN]
    script = "".join(f"printf '%s\\n' {line.strip()} --end\n" for line in lines)
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    words = [each.split("\n")[:-1] for each in done.stdout.split("--end\n")[:-1]]
    assert words == [shlex.split(line) for line in lines]


def test_every_setting_is_explained() -> None:
    page = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./*]+)`", page)
    unexplained = []
    keys = [key for name in ("wandb", "mlflow") for key in dotted(plain(quickly_composed(f"logger={name}")))]
    for key in dict.fromkeys(keys):
        above = [f"{key[: dot.start()]}.*" for dot in re.finditer(r"\.", key)]
        if not any(each in named for each in (key, *above)) and not re.search(r"(^|\.)(name|title|_target_)$", key):
            unexplained.append(key)
    assert unexplained == []
