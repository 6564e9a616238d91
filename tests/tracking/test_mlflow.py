"""Runs in MLflow: what they record, that a resumed run continues, and that a lost server costs no training."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from omegaconf import DictConfig

from fersweep import tracking
from fersweep.errors import UserError
from fersweep.training.attempt import attempt, prepare

pytest.importorskip("mlflow", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SETTINGS = {"name": "mlflow", "tracking_uri": None, "experiment_name": "faces", "log_model": None}


class Fails(pl.Callback):
    """Fails at the end of the first epoch, after its checkpoint."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise ArithmeticError("on purpose")


@pytest.fixture(autouse=True)
def _no_server_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # files are quicker to set up than a database
    monkeypatch.chdir(tmp_path)  # where MLflow would put artifacts


def client(address: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(address)


@pytest.mark.usefixtures("tiny_network")
def test_a_run_that_failed_continues_in_the_same_run(
    tmp_path: Path, small: Callable[..., DictConfig], capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ("logger=mlflow", "logger.log_model=best", "recipe.max_epochs=2", "sweep=table")
    cfg = small(*asked)
    config, directory = prepare(cfg)
    with pytest.raises(ArithmeticError):
        attempt(cfg, config, directory, [Fails()], console=False)
    note = json.loads((directory / "mlflow.json").read_text())
    reader = client(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    assert reader.get_run(note["run_id"]).info.status == "FAILED"

    cfg = small(*asked, "trainer.workers=0")  # no part of the identity, and MLflow changes no parameter
    config, again = prepare(cfg)
    assert again == directory
    attempt(cfg, config, directory, [], console=False)
    assert json.loads((directory / "mlflow.json").read_text()) == note
    run, result = reader.get_run(note["run_id"]), json.loads((directory / "result.json").read_text())
    assert run.info.status == "FINISHED"
    assert (run.data.tags["hash"], run.data.tags["sweep"], run.data.tags["seed"]) == (result["run"], "table", "1")
    assert (run.data.params["backbone.name"], run.data.params["recipe.max_epochs"]) == ("resnet50", "2")
    for metric in ("train/loss", "val/accuracy"):
        assert len(reader.get_metric_history(note["run_id"], metric)) == 2  # one per epoch
    assert run.data.metrics["test/accuracy"] == pytest.approx(result["metrics"]["test/accuracy"])
    assert run.data.metrics["best/val/accuracy"] == pytest.approx(result["metrics"]["val/accuracy"])
    assert run.data.metrics["test/recall/happy"] == pytest.approx(result["per_class"]["happy"]["recall"])
    kept = {each.path for folder in ("model", "figures") for each in reader.list_artifacts(note["run_id"], folder)}
    assert {"model/best.ckpt", "model/config.yaml", "figures/confusion_matrix.png"} <= kept
    assert not (tmp_path / "mlruns").exists()
    assert len(reader.search_runs([run.info.experiment_id])) == 1
    assert "mlflow" not in capfd.readouterr().err.lower()


def files_of(run_dir: Path) -> str:
    """The address of MLflow's files of a test; MLflow keeps its view of an address, so that each test needs its own."""
    return f"file:{run_dir.parents[2] / 'mlruns'}"


def opened(run_dir: Path, **settings: Any) -> Any:
    run_dir.mkdir(parents=True, exist_ok=True)
    config = {"seed": 1, "recipe": {"lr": 0.5}}
    settings = {"tracking_uri": files_of(run_dir), **settings}
    return tracking.make_logger({**SETTINGS, **settings}, run_dir, "aaaa1111", "a name", run_dir.parent.name, config)


def test_a_server_that_is_lost_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mlflow.exceptions import MlflowException

    logger = opened(tmp_path / "outputs" / "s" / "r-aaaa1111")

    def refuse(**_: Any) -> None:
        raise MlflowException("https://me:secret@host is gone\nand more")

    logger.experiment.log_batch = refuse
    for epoch in (1, 2):
        logger.log_metrics({"val/accuracy": 0.5}, step=epoch)
    tracking.log_summary(logger, {"test/accuracy": 0.5})
    tracking.log_model(logger, tmp_path / "missing.ckpt", tmp_path / "missing.yaml", {})
    tracking.finish(logger, 0)
    (warning,) = [each.getMessage() for each in caplog.records if "MLflow" in each.getMessage()]
    assert warning == "MLflow records no more of this run (https://host is gone); its own files are complete"


def test_the_address_of_the_repository_is_recorded_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking.context.git_context import GitRunContext

    monkeypatch.setattr(GitRunContext, "in_context", lambda _: True)
    monkeypatch.setattr(GitRunContext, "tags", lambda _: {"mlflow.source.git.repoURL": "https://me:5ecret@host/faces"})
    run_dir = tmp_path / "outputs" / "s" / "r-aaaa1111"
    tags = client(files_of(run_dir)).get_run(opened(run_dir).run_id).data.tags
    assert tags["mlflow.source.git.repoURL"] == "https://host/faces"
    assert (tags["hash"], tags["mlflow.runName"]) == ("aaaa1111", "a name")


def test_without_its_note_or_after_a_deletion_a_run_is_recorded_anew(tmp_path: Path) -> None:
    run_dir = tmp_path / "outputs" / "s" / "r-aaaa1111"
    first = opened(run_dir).run_id
    assert opened(run_dir).run_id == first
    client(files_of(run_dir)).delete_run(first)
    second = opened(run_dir).run_id
    assert second != first
    (run_dir / "mlflow.json").unlink()  # as with force=true
    assert opened(run_dir).run_id not in (first, second)


@pytest.mark.parametrize(
    "uri", ["http://[x", "http://h:port", "http://", "5", 5, "/proc/x", "file:x", "ftp://h", "x y"]
)
def test_an_address_that_cannot_work_is_one_sentence(uri: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    with pytest.raises(UserError, match=r"^logger.tracking_uri=.* host|address.*: write http://HOST:PORT or https"):
        tracking.check({**SETTINGS, "tracking_uri": uri})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(uri))
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI="):
        tracking.check(SETTINGS)


@pytest.mark.parametrize(
    "uri", ["http://h:5000", "sqlite:///x.db", "postgresql+psycopg2://h/x", "databricks", "", None]
)
def test_other_addresses_pass(uri: str | None) -> None:
    tracking.check({**SETTINGS, "tracking_uri": uri})


def test_a_server_that_does_not_answer_is_one_sentence_at_once_and_no_secret_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(UserError, match=rf"^MLflow did not open a run at http://127.0.0.1:{port} \(.*\): check logger"):
        opened(tmp_path / "outputs" / "s" / "r-aaaa1111", tracking_uri=f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:5ecret@127.0.0.1:{port}")
    with pytest.raises(UserError) as raised:
        opened(tmp_path / "outputs" / "s" / "r-aaaa1111", tracking_uri=None)
    assert "5ecret" not in str(raised.value)
    assert time.monotonic() - begun < 30
    assert list((tmp_path / "outputs" / "s" / "r-aaaa1111").iterdir()) == []
