"""Speed of a step: fused optimisers, cheap clipping, memory kept by the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fersweep import build
from fersweep.config.compose import compose_config
from fersweep.training import memory
from fersweep.training.optim import clip_gradients


@pytest.mark.parametrize(
    ("optimizer", "fused"), [("adam", True), ("adamw", True), ("sgd", True), ("keras_adam", True), ("rmsprop", False)]
)
def test_optimisers_with_a_fused_kernel_use_it_and_step_as_without(optimizer: str, fused: bool) -> None:
    cfg = compose_config([f"recipe/optimizer={optimizer}"])
    ours, plain = (nn.Linear(20, 30) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    made = build.optimizer_factory(cfg)(ours.parameters())
    assert bool(made.defaults.get("fused")) == fused
    other = build.make(cfg.recipe.optimizer)(plain.parameters())
    assert not other.defaults.get("fused")
    for step in range(3):
        x = torch.randn(8, 20, generator=torch.Generator().manual_seed(step))
        for network, each in ((ours, made), (plain, other)):
            each.zero_grad()
            network(x).square().mean().backward()
            each.step()
    torch.testing.assert_close(ours.weight, plain.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["foreach", "differentiable"])
def test_an_explicit_kernel_is_used(kernel: str) -> None:
    cfg = compose_config(["recipe/optimizer=adamw", f"+recipe.optimizer.{kernel}=true"])
    made = build.optimizer_factory(cfg)([nn.Parameter(torch.zeros(2))])
    assert not made.defaults["fused"]
    assert made.defaults[kernel]


def test_an_optimiser_without_fused_kernels_resumes_with_them() -> None:
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    old = torch.optim.AdamW(weights[:1])
    new = build.optimizer_factory(compose_config(["recipe/optimizer=adamw"]))(weights[1:])
    for each in (old, new):
        if each is new:
            each.load_state_dict(old.state_dict())
        for parameter in weights:
            parameter.grad = torch.ones(3)
        each.step()
    assert float(new.state[weights[1]]["step"]) == 2


@pytest.mark.parametrize("size", [0.1, 1.0, 7.0, float("nan")])
def test_clipping_equals_torchs(size: float) -> None:
    ours, theirs = ([nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(2, 3))] for _ in range(2))
    for parameters in (ours, theirs):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, size / 11**0.5)
    without = nn.Parameter(torch.ones(1))
    clip_gradients([*ours, without], 1.0)
    nn.utils.clip_grad_norm_(theirs, 1.0)
    for own, other in zip(ours, theirs, strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert torch.equal(own.grad, other.grad) or size != size
        assert own.grad.isnan().all() == (size != size)


@pytest.mark.parametrize(
    ("limit", "expected"), [("max\n", None), ("1073741824\n", 2**30), (f"{2**62}\n", None), (None, None)]
)
def test_memory_is_the_machines_or_the_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int | None
) -> None:
    if limit is not None:
        (tmp_path / "limit").write_text(limit)
    monkeypatch.setattr(memory, "CONTAINER", tmp_path / "limit")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.there() == (expected or machine)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_freed_memory_is_not_faulted_in_again() -> None:
    program = """
import resource, sys
import torch
from fersweep.training import memory
if sys.argv[1] == "kept":
    memory.keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = [torch.zeros(2**25 + 2**20, dtype=torch.uint8) for _ in range(2)]  # more than glibc ever keeps by itself
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(20)))
"""
    faults = {}
    for kind in ("kept", "usual"):
        command = [sys.executable, "-c", program, kind]
        faults[kind] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 4 * faults["kept"] < faults["usual"]
