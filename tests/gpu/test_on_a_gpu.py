"""Runs on a real GPU.

``FERSWEEP_REHEARSE=1`` has the CPU take its place, where that means something: so these tests are tried without one.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import plain
from omegaconf import DictConfig
from outcomes import end_of, history, interrupt, read_json, run_here
from sweeps import planned, sweep
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.sweep.plan import Planned
from fersweep.training.batch_norm import sync_batch_norm
from fersweep.training.module import FERModule

__all__ = ["planned"]

REHEARSED = os.environ.get("FERSWEEP_REHEARSE") == "1"
GPU = torch.cuda.device_count() > 0

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPU and not REHEARSED, reason="no CUDA device")]

needs_memory = pytest.mark.skipif(not GPU, reason="no memory of a GPU to run out of")

TRAINER = ("trainer=gpu" if GPU else "trainer=cpu", "trainer.precision=auto")

Small = Callable[..., DictConfig]


@pytest.fixture
def on_it(small: Small) -> Small:
    """As `small`, on the device."""
    narrow = ("backbone=aer_cnn", "attention=none", "backbone.model.widths=[8,8,8]")
    return lambda *overrides: small(*TRAINER, *narrow, *overrides)


def test_a_run_computes_in_bf16_where_the_device_can(on_it: Small) -> None:
    directory = run_here(on_it())
    result, capable = read_json(directory / "result.json"), GPU and torch.cuda.is_bf16_supported()
    if GPU:
        assert result["environment"]["device"] == torch.cuda.get_device_name()
        assert result["environment"]["precision"] == ("bf16-mixed" if capable else "32-true")
    assert np.isfinite(history(directory)["train/loss"]).all()
    probabilities = pd.read_parquet(directory / "predictions.parquet").select_dtypes("floating")
    assert np.isfinite(probabilities).to_numpy().all()


def test_a_process_group_of_one_computes_what_no_group_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL for tensors of the GPU and gloo for those of the CPU, as a run with several devices has them."""
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0"), ("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    device = torch.device("cuda" if GPU else "cpu")
    backend, images = "cpu:gloo,cuda:nccl" if GPU else "gloo", torch.rand(8, 1, 32, 32, device=device)
    alone = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()).to(device)
    whole = sync_batch_norm(copy.deepcopy(alone), device.type)
    alone(images).square().sum().backward()
    store = distributed.HashStore()
    distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(whole.to(device), device_ids=[0] if GPU else None)
        wrapped(images).square().sum().backward()
        for place in {torch.device("cpu"), device}:
            counted = torch.arange(3.0, device=place)
            distributed.all_reduce(counted)
            assert counted.tolist() == [0, 1, 2]
    finally:
        distributed.destroy_process_group()
    for one, other in zip(alone.parameters(), whole.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-3)


@needs_memory
def test_memory_that_runs_out_halves_the_microbatch(small: Small) -> None:
    free, total = torch.cuda.mem_get_info()
    settings = (
        "backbone=resnet50",
        "attention=se",
        "dataset.image_size=64",
        "dataset.source.size=2560",
        "recipe.batch_size=1024",
    )
    least = 2 * 2**30 / total
    torch.cuda.set_per_process_memory_fraction(min(least, free / total))
    try:
        directory = run_here(small(*TRAINER, *settings, "recipe.max_epochs=1", "trainer.auto_microbatch=true"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    result = read_json(directory / "result.json")
    assert result["microbatch"] < 1024
    assert "out of memory with microbatches of" in (directory / "train.log").read_text()
    assert np.isfinite(history(directory)["train/loss"]).all()


def test_two_runs_of_a_sweep_share_the_device(planned: Callable[..., Planned]) -> None:
    runs = [planned(*TRAINER, f"seed={seed}", "recipe.max_epochs=3") for seed in (1, 2)]
    outcomes = sweep(runs, n_jobs=2, gpus_per_run=0.5 if GPU else None)
    assert [outcome.error for outcome in outcomes] == [None, None]
    times = [read_json(run.directory / "status.json") for run in runs]
    assert max(each["started"] for each in times) < min(each["finished"] for each in times)
    devices = {read_json(run.directory / "result.json")["environment"]["device"] for run in runs}
    assert devices == {torch.cuda.get_device_name() if GPU else "cpu"}


def test_a_resumed_run_is_close_to_an_uninterrupted_one(on_it: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit on one CPU; kernels of GPUs add in changing order."""
    whole = run_here(on_it("recipe.max_epochs=4", "sweep=whole"))
    cfg = on_it("recipe.max_epochs=4")
    original = FERModule.on_train_epoch_start

    def third(self: FERModule) -> None:
        original(self)
        if self.current_epoch == 2:
            interrupt()

    end_of(cfg, SystemExit, monkeypatch, on_train_epoch_start=third)
    run_one(cfg)
    tables = [history(each) for each in (whole, run_dir(plain(cfg)))]
    for column in ("train/loss", "val/loss"):
        assert tables[0][column].to_numpy() == pytest.approx(tables[1][column].to_numpy(), rel=0.1 if GPU else 0), (
            column
        )
    assert tables[0]["lr"].equals(tables[1]["lr"])
