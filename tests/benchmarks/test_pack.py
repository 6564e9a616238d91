"""Packages for a machine without a package registry."""

from __future__ import annotations

from benchmarks.pack import missing

LOCK = """\
hydra-core==1.3.8 \\
    --hash=sha256:00
audioop-lts==0.2.2 ; python_full_version >= '3.13' \\
    --hash=sha256:00
nvidia-nccl-cu12==2.27.3 ; sys_platform == 'linux' \\
    --hash=sha256:00
torch==2.9.0 \\
    --hash=sha256:00
typing_extensions==4.15.0 \\
    --hash=sha256:00
"""


def test_what_is_missing_is_what_the_machine_lacks_and_its_python_needs() -> None:
    assert missing(LOCK, "", "3.12") == ["hydra-core==1.3.8", "typing_extensions==4.15.0"]
    assert missing(LOCK, "Typing-Extensions==4.1\nhydra_core @ file:///x\n", "3.12") == []
    assert missing(LOCK, "hydra-core==1.3.2\ntyping-extensions==4.1", "3.13") == ["audioop-lts==0.2.2"]
