"""W&B runs, checked in their offline recordings, and the other loggers."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from wandb_files import content

from fersweep import tracking
from fersweep.errors import UserError
from fersweep.report.figures import confusion_matrix
from fersweep.run import run_one
from fersweep.tracking import mlflow_run

WANDB = {"name": "wandb", "project": "fersweep", "entity": None, "group": None, "tags": ["a tag"], "mode": "auto"}
SECRET = "5ecre7" * 6 + "beef"

SCRIPT = """
import sys
from pathlib import Path
from fersweep.tracking import finish, log_confusion_matrix, log_figures, log_summary, make_logger

out, cfg = Path(sys.argv[1]), {cfg}
for run, exit_code in (("aaaa1111", 1), ("bbbb2222", 0)):
    run_dir = out / run
    run_dir.mkdir()
    config = {{"seed": 42, "recipe": {{"name": "quick", "lr": 0.5}}}}
    logger = make_logger(cfg, run_dir, run, f"resnet50-{{run}}", "my-sweep", config)
    logger.log_metrics({{"val/accuracy": 0.25}}, step=1)
    log_figures(logger, {{"learning_curves": out / "figure.png"}})
    log_confusion_matrix(logger, [0, 1, 1], [0, 1, 0], ["angry", "happy"])
    log_summary(logger, {{"test/accuracy": 0.75}})
    finish(logger, exit_code)
"""


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a login, whatever the machine's own is."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))


def run_script(tmp_path: Path, cfg: dict[str, Any], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a failed and a finished run in one new process without a terminal."""
    confusion_matrix(np.eye(2, dtype=int), ("a", "b"), tmp_path / "figure.png", "t")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(cfg=cfg), str(tmp_path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
        cwd=tmp_path,
        timeout=120,
        check=False,
    )


@pytest.mark.usefixtures("no_credentials")
def test_two_offline_runs_in_one_process_record_all_and_call_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy"), address)
        done = run_script(
            tmp_path, {**WANDB, "mode": "offline"}, WANDB_API_KEY=SECRET, WANDB_BASE_URL=address, **proxies
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        callers, _, _ = select.select([server], [], [], 0)
        assert callers == []  # offline is offline

    for run, exit_code in (("aaaa1111", 1), ("bbbb2222", 0)):
        (path,) = (tmp_path / run).glob(f"wandb/offline-run-*/run-{run}.wandb")
        found = content(path)
        assert set(found["ids"]) == {run}
        assert (found["group"], found["name"], found["job"]) == ("my-sweep", f"resnet50-{run}", "train")
        assert found["tags"] == ["a tag"]
        assert found["config"]["seed"] == 42
        assert found["config"]["recipe"] == {"name": "quick", "lr": 0.5}
        assert found["history"]["val/accuracy"] == 0.25
        assert found["history"]["learning_curves/_type"] == "image-file"
        assert found["summary"]["test/accuracy"] == 0.75
        assert found["exit_code"] == exit_code
        assert list(path.parent.glob("files/media/images/learning_curves_*.png"))
        (table,) = path.parent.glob("files/media/table/confusion_matrix_table_*.json")
        assert ["angry", "happy", 0] in json.loads(table.read_text())["data"]

    assert [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


@pytest.mark.usefixtures("no_credentials")
def test_auto_goes_online_only_when_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    opened: list[dict[str, Any]] = []

    def refuse(**kwargs: Any) -> None:
        opened.append(kwargs)
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)

    def mode_of(cfg: dict[str, Any]) -> tuple[str, str | None]:
        with pytest.raises(UserError, match=r"run abc \(no route to host\).*logger.mode=offline"):
            tracking.make_logger(cfg, tmp_path, "abc", "name", "group", {})
        return opened[-1]["mode"], opened[-1]["resume"]

    assert mode_of(WANDB) == ("offline", None)
    assert mode_of({**WANDB, "mode": "disabled"})[0] == "disabled"
    with pytest.raises(UserError, match=r"wandb login.*logger.mode=offline"):
        tracking.make_logger({**WANDB, "mode": "online"}, tmp_path, "abc", "name", "group", {})
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert mode_of(WANDB) == ("online", "allow")
    assert mode_of({**WANDB, "mode": "offline", "group": "mine"})[0] == "offline"
    assert [kwargs["group"] for kwargs in opened[-2:]] == ["group", "mine"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert mode_of(WANDB)[0] == "offline"
    assert opened[-1]["settings"].finish_timeout == 600
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "5")
    assert mode_of(WANDB)[0] == "offline"
    assert opened[-1]["settings"].finish_timeout == 5
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "soon")
    with pytest.raises(UserError, match="WANDB_FINISH_TIMEOUT=soon is not a number of seconds"):
        tracking.make_logger(WANDB, tmp_path, "abc", "name", "group", {})
    assert opened[-1]["id"] == "abc"
    assert opened[-1]["dir"] == tmp_path


@pytest.mark.usefixtures("no_credentials")
def test_only_rank_zero_opens_and_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    from pytorch_lightning.utilities import rank_zero_only

    def never(**_: Any) -> None:
        raise AssertionError("a rank other than zero opened a run")

    monkeypatch.setattr(wandb, "init", never)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = tracking.make_logger({**WANDB, "mode": "offline"}, tmp_path, "abc", "name", "group", {})
    assert logger is not None
    logger.log_metrics({"val/accuracy": 0.5}, step=1)
    logger.log_hyperparams({"seed": 1})
    logger.experiment.log({"val/accuracy": 0.5})  # what Lightning's callbacks may touch
    logger.save()
    logger.finalize("success")
    tracking.log_summary(logger, {"test/accuracy": 0.5})
    tracking.log_figures(logger, {"missing": tmp_path / "missing.png"})
    tracking.log_confusion_matrix(logger, [0], [0], ["a"])
    tracking.log_per_class(logger, {"a": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 1}})
    tracking.log_predictions(logger, [])
    tracking.log_model(logger, tmp_path / "missing.ckpt", tmp_path / "missing.yaml", {})
    tracking.finish(logger, 0)
    assert wandb.run is None
    assert list(tmp_path.iterdir()) == []


OTHER_RANK = """
import sys
from pathlib import Path
from fersweep.tracking import finish, make_logger

cfg = {cfg}
logger = make_logger(cfg, Path("run"), "abc", "name", "group", {{}})
logger.experiment.log({{"val/accuracy": 0.5}})
logger.log_metrics({{"val/accuracy": 0.5}}, step=1)
finish(logger, 0)
print(logger.version, "wandb" in sys.modules)
"""


@pytest.mark.usefixtures("no_credentials")
def test_a_process_of_another_rank_does_not_even_import_wandb(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHER_RANK.format(cfg={**WANDB, "mode": "online"})],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "abc False\n", "")
    assert [path for path in tmp_path.rglob("*") if path.name == "run" or "wandb" in path.name] == []


def test_csv_needs_no_logger(tmp_path: Path) -> None:
    logger = tracking.make_logger({"name": "csv"}, tmp_path, "abc", "name", "group", {})
    assert logger is None
    tracking.log_figures(logger, {"missing": tmp_path / "missing.png"})
    tracking.log_confusion_matrix(logger, [0], [0], ["a"])
    tracking.log_summary(logger, {"test/accuracy": 0.5})
    tracking.finish(logger, 1)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_writes_scalars_images_and_config(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    confusion_matrix(np.eye(2, dtype=int), ("a", "b"), tmp_path / "figure.png", "t")
    for _ in range(2):  # a resumed run adds a second file
        logger = tracking.make_logger(
            {"name": "tensorboard"}, tmp_path, "abc", "name", "group", {"recipe": {"lr": 0.5}}
        )
        assert logger is not None
        logger.log_metrics({"val/accuracy": 0.25}, step=3)
        tracking.log_figures(logger, {"confusion_matrix": tmp_path / "figure.png"})
        tracking.finish(logger, 0)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/accuracy")] == [(3, 0.25)] * 2
    assert events.Images("confusion_matrix")[0].width > 400
    assert "lr: 0.5" in (tmp_path / "tensorboard" / "hparams.yaml").read_text()


def test_unknown_names_list_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wanbd does not exist \(did you mean wandb\?\); choose csv, wandb, tensorb"):
        tracking.make_logger({"name": "wanbd"}, tmp_path, "abc", "name", "group", {})
    with pytest.raises(UserError, match="choose auto, online, offline, disabled"):
        tracking.make_logger({**WANDB, "mode": "of"}, tmp_path, "abc", "name", "group", {})


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ({"tags": None}, None, r"^logger.tags=null is not a list: write logger.tags=\[\]\.$"),
        ({"tags": "baseline"}, None, r"^logger.tags=baseline is not a list: write logger.tags=\[baseline\]\.$"),
        ({"tags": ["a", "b" * 65]}, None, "^logger.tags: a tag has 1 to 64 characters, and 'b+' has 65 characters.$"),
        ({"tags": [""]}, None, "^logger.tags: a tag has 1 to 64 characters, and '' has 0 characters.$"),
        ({"mode": "Offline"}, None, r"^logger.mode=Offline does not exist \(did you mean offline\?\); choose auto, "),
        ({"project": "faces/2"}, None, "^logger.project=faces/2 is not possible: at most 128 characters, none of "),
        ({"project": "p" * 129}, None, "is not possible: at most 128 characters"),
        ({}, "Offline", r"^WANDB_MODE=Offline does not exist \(did you mean offline\?\); choose online, offline, "),
        ({"mode": "offline"}, "of", "^WANDB_MODE=of does not exist"),
        (
            {"log_model": "bset"},
            None,
            r"^logger.log_model=bset does not exist \(did you mean best\?\); choose best, or nu",
        ),
        ({"log_model": True}, None, "^logger.log_model=True does not exist; choose best, or null for none.$"),
        ({"log_images": -1}, None, "^logger.log_images=-1 is not possible: give 0 "),
        ({"log_images": "many"}, None, "^logger.log_images=many is not possible: give 0 "),
    ],
)
def test_what_the_service_would_refuse_is_refused_before_a_run_begins(
    settings: dict[str, Any], environment: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    with pytest.raises(UserError, match=message):
        tracking.check({**WANDB, **settings})
    tracking.check({**WANDB, "name": "csv", **settings})
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking.check({**WANDB, "tags": ["b" * 64], "project": "p" * 128})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log_model": "bset"}, r"^logger.log_model=bset does not exist \(did you mean best\?\); choose best, or null"),
        ({"experiment_name": None}, "^logger.experiment_name is empty: give the name of an experiment in MLflow.$"),
        (
            {"tracking_uri": "https://me:5ecret@host"},
            r"^logger.tracking_uri has a password or token, which would be writ",
        ),
        ({"tracking_uri": "https://5ecret@host"}, "^logger.tracking_uri has a password or token"),
    ],
)
def test_what_mlflow_cannot_use_is_refused_without_its_package(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = {"name": "mlflow", "tracking_uri": None, "experiment_name": "faces", "log_model": None}
    monkeypatch.setattr(mlflow_run, "find_spec", lambda _: object())
    with pytest.raises(UserError, match=message) as raised:
        tracking.check({**mlflow, **settings})
    assert "5ecret" not in str(raised.value)
    tracking.check({**mlflow, "tracking_uri": "postgresql://me@host/runs"})
    monkeypatch.setattr(mlflow_run, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"^logger=mlflow needs mlflow-skinny: uv sync --inexact --extra mlflow \(or pip install '"
    ):
        tracking.check(mlflow)


def test_a_run_with_a_wrong_tag_is_never_begun(small: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = small("logger=wandb")
    cfg.logger.tags = ["a" * 70]
    with pytest.raises(UserError, match="a tag has 1 to 64 characters"):
        run_one(cfg)
    assert not (tmp_path / "outputs").exists()
