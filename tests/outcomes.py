"""What tests of whole runs look at: a run's files, and whether two runs came out the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import plain
from omegaconf import DictConfig

from fersweep.run import run_one
from fersweep.runs.identity import run_dir
from fersweep.training.module import FERModule


def read_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{path} holds {constant}")

    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return content


def run_here(cfg: DictConfig) -> Path:
    run_one(cfg)
    return run_dir(plain(cfg))


def end_of(cfg: DictConfig, error: type[BaseException], monkeypatch: pytest.MonkeyPatch, **hooks: Any) -> BaseException:
    """Start a run whose `FERModule` has other hooks, and return the error that it ends with."""
    with monkeypatch.context() as patch:
        for name, hook in hooks.items():
            patch.setattr(FERModule, name, hook)
        with pytest.raises(error) as caught:
            run_one(cfg)
    return caught.value


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def history(directory: Path) -> pd.DataFrame:
    return pd.read_csv(directory / "history.csv")


def weights(directory: Path, which: str = "best") -> dict[str, torch.Tensor]:
    path = directory / "checkpoints" / f"{which}.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_same_outcome(one: Path, other: Path) -> None:
    """Weights, predictions and history are equal bit by bit; times are not looked at."""
    for which in ("best", "last"):
        left, right = weights(one, which), weights(other, which)
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []
    predictions = [pd.read_parquet(directory / "predictions.parquet") for directory in (one, other)]
    pd.testing.assert_frame_equal(*predictions, check_exact=True)
    tables = [history(directory).drop(columns="seconds") for directory in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    results = [read_json(directory / "result.json") for directory in (one, other)]
    for key in ("metrics", "best_epoch", "epochs", "data_digest", "training_flops"):
        assert results[0][key] == results[1][key]
