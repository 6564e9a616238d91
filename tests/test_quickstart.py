"""The quickstart notebook, run with the smallest settings, and the container files."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from conftest import FACES, REPOSITORY, SMALL
from fakes import write

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jupyter_client")
    from nbclient import NotebookClient

NOTEBOOK = REPOSITORY / "docs" / "tutorial" / "quickstart.ipynb"
NETWORK = ("backbone.model.depths=[1,1,1,1]", "backbone.model.width=8")


def cells(kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == kind]


def test_it_is_kept_without_outputs_and_names_no_address() -> None:
    assert all(not cell.outputs and cell.execution_count is None for cell in cells("code"))
    assert "://" not in NOTEBOOK.read_text(encoding="utf-8")


def test_the_documents_it_names_are_there() -> None:
    named = {name for cell in cells("markdown") for name in re.findall(r"`(docs/\S+?)`", cell.source)}
    assert "docs/how-to/data.md" in named
    assert not [name for name in named if not (REPOSITORY / name).is_file()]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_runs(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    small = [each for each in SMALL if not each.startswith("attention")] + ["recipe.max_epochs=1", FACES, *NETWORK]
    settings.source = (
        f"from pathlib import Path\noutputs = Path('outputs').resolve()\nsettings = {[*small, f'cache={cache}']}"
    )
    monkeypatch.setenv("FERSWEEP", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()

    text = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "done before: 1" in text  # the sweep trained the other run only
    assert "\x1b" not in text
    sweep = tmp_path / "outputs" / "quickstart"
    assert len(list(sweep.glob("*/result.json"))) == 2
    assert (sweep / "report" / "index.html").is_file()
    assert (sweep / "model.onnx").is_file()
    shown = [out.data for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert sum("image/png" in each for each in shown) == 3


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction in the Dockerfile, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.*)$", text, flags=re.MULTILINE)


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for line in instructions("COPY") for name in line.split()[:-1]]
    assert {"requirements.lock", "pyproject.toml", "train.py", "conf", "src"} <= set(copied)
    assert not [name for name in copied if not (REPOSITORY / name).exists() or f"!{name}" not in ignored]
    assert "*" in ignored
    metadata = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {metadata["readme"], *metadata["license-files"]} <= set(copied)  # needed to build the package


def test_the_image_runs_scripts_and_commands_as_nobody_special(tmp_path: Path) -> None:
    write(tmp_path / "show.py", "import sys; print(sys.argv[1:])")
    [entrypoint] = map(json.loads, instructions("ENTRYPOINT"))

    def printed(*command: str) -> str:
        return subprocess.check_output([*entrypoint, *command], cwd=tmp_path, text=True).strip()

    assert printed("show.py", "a b=1", "$HOME") == "['a b=1', '$HOME']"
    assert printed("echo", "a  b") == "a  b"
    stages = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    assert ["USER fersweep" in stage for stage in stages[1:]] == [False, True, True]  # base, jupyter, fersweep
    assert stages[-1].startswith("base AS fersweep")  # the default target


def test_compose_gives_gpus_and_keeps_jupyter_on_this_machine() -> None:
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
    targets = {line.split(" AS ")[1] for line in instructions("FROM")}
    for service in compose["services"].values():
        [gpus] = service["deploy"]["resources"]["reservations"]["devices"]
        assert gpus == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        assert service["build"]["target"] in targets
        assert "./outputs:/work/outputs" in service["volumes"]
    jupyter = compose["services"]["jupyter"]
    assert jupyter["ports"] == ["127.0.0.1:8888:8888"]
    assert jupyter["environment"] == ["JUPYTER_TOKEN"]  # passed on only if set: an empty token would admit everybody
