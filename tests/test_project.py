"""The project itself: dependencies, versions, the wheel, and rules for the sources."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.version import Version

import fersweep

REPOSITORY = Path(__file__).parents[1]
SOURCES = [REPOSITORY / "train.py", *(REPOSITORY / "src").rglob("*.py")]


def calls(file: Path) -> list[str]:
    """Return the names of all functions called in a file."""
    nodes = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    return [node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in nodes]


def test_instantiate_is_called_in_one_place() -> None:
    sites = [(file.name, name) for file in SOURCES for name in calls(file) if name == "instantiate"]
    assert sites == [("build.py", "instantiate")]


def test_nothing_evaluates_or_unpickles() -> None:
    forbidden = {"eval", "exec", "register_new_resolver", "extractall"}
    assert not [(file.name, name) for file in SOURCES for name in calls(file) if name in forbidden]
    assert not [
        file for file in SOURCES if re.search(r"weights_only=False|pickle\.loads?\(|pickle\.dump", file.read_text())
    ]


def test_train_py_is_short_and_has_no_globals() -> None:
    text = (REPOSITORY / "train.py").read_text()
    assert len(text.splitlines()) <= 30
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    assert not assigned


def test_train_py_says_how_to_run_it_where_nothing_is_installed(tmp_path: Path) -> None:
    bare = [sys.executable, "-I", "-S", str(REPOSITORY / "train.py")]  # without the packages of this environment
    done = subprocess.run(bare, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: fersweep is not installed in {sys.executable}: run it as uv run train.py.\n"


def test_torchvision_fits_torch() -> None:
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_ranges_are_bounded_and_exclude_what_is_known_to_be_bad() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ranges = {each.name: each.specifier for each in map(Requirement, project["dependencies"])}
    for name, specifier in ranges.items():
        assert any(each.operator in ("<", "==") for each in specifier), f"{name} has no upper bound"
    assert not ranges["pytorch-lightning"].contains("2.6.3")
    assert not ranges["hydra-core"].contains("1.4.0")
    assert not ranges["facenet-pytorch"].contains("2.6.0")
    assert not ranges["albumentations"].contains("3.0.0")


def test_the_lock_has_a_hash_for_everything_and_names_no_host() -> None:
    text = (REPOSITORY / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", text, flags=re.MULTILINE))
    assert Version(pinned["pytorch-lightning"]) >= Version("2.6.4")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.specifier.contains(pinned[requirement.name]), (
            f"{requirement.name} is pinned outside its range"
        )


def test_what_uv_installs_is_what_the_lock_pins() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    pinned = [line.rstrip("\\ ") for line in lock.splitlines() if line[:1].isalnum()]
    assert project["tool"]["uv"]["constraint-dependencies"] == pinned
    names = {Requirement(each).name for each in pinned}
    groups = [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    assert {Requirement(each).name for group in groups for each in group} <= names


def test_the_first_command_installs_only_pytest_beyond_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert "default-groups" not in project["tool"]["uv"]  # which is then `dev` alone
    assert "compile-bytecode" not in project["tool"]["uv"]
    assert {Requirement(each).name for each in project["dependency-groups"]["dev"]} == {
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
    }


def test_the_wheel_holds_the_package_and_its_options_alone(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{prefix}{path.relative_to(REPOSITORY / folder)}"
        for folder, prefix in (("src", ""), ("conf", "fersweep/conf/"))
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "local" not in path.relative_to(REPOSITORY).parts[1:2]
    }
    assert held == expected
    assert {"fersweep/conf/train.yaml", "fersweep/inference/export/templates/card.md.j2"} < held


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert next(each for each in headings if each != "Unreleased") == version


def test_modules_of_the_first_version_still_import() -> None:
    script = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from fersweep.compose import compose_config\n"
        "    import fersweep.sweep.identity as moved\n"
        "import fersweep.config.compose, fersweep.runs.identity\n"
        "assert compose_config is fersweep.config.compose.compose_config and moved is fersweep.runs.identity\n"
        "assert moved.__spec__.name == 'fersweep.runs.identity'\n"
        "print([str(each.message) for each in caught if each.category is DeprecationWarning])\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "fersweep.compose is now fersweep.config.compose." in printed
    assert "fersweep.sweep.identity is now fersweep.runs.identity." in printed
    for name, now in fersweep._MOVED.items():
        assert importlib.util.find_spec(f"fersweep.{now}"), name
