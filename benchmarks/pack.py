"""Collect the packages that a machine without a package registry lacks: ``python benchmarks/pack.py FOLDER``.

There, ``python -m pip freeze > have.txt`` lists what it has, torch among it. Here, the wheels of the other packages of
requirements.lock are downloaded. There again::

    python -m pip install --no-index --no-deps --target site FOLDER/*.whl
    PYTHONPATH=site:src python -m benchmarks gpu
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).parents[1] / "requirements.lock"

ON_A_GPU = {"torch", "torchvision", "triton"}
"""Packages that fit the machine's driver, and are there."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_5_x86_64")


def normalised(name: str) -> str:
    """Return the name of a package as the registry compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(lock: str, have: str, python: str) -> list[str]:
    """Return ``name==version`` of each package of a lock that a list of installed packages lacks; CUDA's are left out.

    Args:
        lock: ``requirements.lock``.
        have: output of ``pip freeze``.
        python: version of Python, such as ``3.12``; the machine has Linux on x86-64.
    """
    machine = {"python_version": python, "python_full_version": f"{python}.9", "implementation_name": "cpython"}
    machine |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    there = {normalised(re.split(r"[=@ ]", line)[0]) for line in have.splitlines() if line.strip()}
    pinned = [Requirement(line.rstrip("\\ ")) for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return [
        f"{each.name}{each.specifier}"
        for each in pinned
        if normalised(each.name) not in there | ON_A_GPU
        and not each.name.startswith(("nvidia-", "cuda-"))
        and (each.marker is None or each.marker.evaluate(machine))
    ]


def main() -> int:
    """Download the wheels and print their size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the wheels")
    parser.add_argument("--have", type=Path, required=True, help="output of pip freeze on that machine")
    parser.add_argument("--python", default="3.12", help="its version of Python; default: %(default)s")
    asked = parser.parse_args()
    wanted = missing(LOCK.read_text(encoding="utf-8"), asked.have.read_text(encoding="utf-8"), asked.python)
    failed = [name for name in wanted if not (download(name, asked) or build(name, asked))]
    wheels = list(asked.folder.glob("*.whl"))
    print(f"{len(wheels)} wheels, {sum(wheel.stat().st_size for wheel in wheels) / 2**20:.0f} MiB")
    if failed:
        print(f"error: no wheel for Python {asked.python}: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def download(name: str, asked: argparse.Namespace) -> bool:
    """Download a wheel for that machine; return whether there is one."""
    platforms = [f"--platform={each}" for each in PLATFORMS]
    python = (f"--python-version={asked.python}", "--only-binary=:all:")
    return pip("download", *python, *platforms, f"--dest={asked.folder}", name)


def build(name: str, asked: argparse.Namespace) -> bool:
    """Build the wheel of a package that is published as source only; return whether it suits every machine."""
    with tempfile.TemporaryDirectory() as folder:
        if not pip("wheel", f"--wheel-dir={folder}", name):
            return False
        suitable = list(Path(folder).glob("*-none-any.whl"))
        for wheel in suitable:
            shutil.copy(wheel, asked.folder)
        return bool(suitable)


def pip(*arguments: str) -> bool:
    """Run pip, without dependencies; return whether it succeeds."""
    command = ["uvx", "pip", arguments[0], "--quiet", "--no-deps", *arguments[1:]]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
