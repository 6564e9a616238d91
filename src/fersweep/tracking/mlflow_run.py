"""A run in MLflow, through Lightning's logger: its settings, opened on rank zero, resumed, closed.

The run's directory keeps the id of the MLflow run (``mlflow.json``), so that a resumed run continues it. A server that
stops answering costs no training: the run's own files are complete without it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import MLFlowLogger

from fersweep.config.schema import dotted
from fersweep.errors import UserError, extra
from fersweep.files import Field, read_json, write_json
from fersweep.text import did_you_mean, first_line
from fersweep.tracking import trial

log = logging.getLogger("fersweep")

FILE_NAME = "mlflow.json"
"""File in a run's directory with the address of the server and the id of the run there."""

MODELS = (None, "best")
"""Values of ``logger.log_model``."""

ADDRESS = "MLFLOW_TRACKING_URI"
"""Variable with the address of the server, unless ``logger.tracking_uri`` is set."""

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; MLflow's own are 120
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own are 7
}
"""Variables that are set unless they are."""

STATUS = {"done": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED", "failed": "FAILED"}
"""MLflow's status of a run by the state of its trial."""


class MlflowRun(MLFlowLogger):
    """Lightning's logger, which stops recording, with one warning, when the server refuses or does not answer.

    Args:
        experiment_name: in MLflow.
        settings: further arguments of Lightning's logger.
    """

    def __init__(self, experiment_name: str, **settings: Any) -> None:
        super().__init__(experiment_name, **settings)
        self.lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.attempt(lambda: super(MlflowRun, self).log_metrics(metrics, step))

    def finalize(self, status: str = "success") -> None:
        self.attempt(lambda: super(MlflowRun, self).finalize(status))

    def log_file(self, path: Path, folder: str) -> None:
        """Add a file to the artifacts of the run, in a folder there."""
        self.attempt(lambda: self.experiment.log_artifact(self.run_id, str(path), folder))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the run."""
        for name, value in tags.items():
            self.attempt(partial(self._set_tag, name, value))

    def _set_tag(self, name: str, value: object) -> None:
        self.experiment.set_tag(self.run_id, name, value)

    def attempt(self, act: Callable[[], object]) -> None:
        """Call MLflow, unless it has failed before."""
        if self.lost:
            return
        try:
            act()
        except (_mlflow().exceptions.MlflowException, OSError) as error:  # requests' errors are OSErrors
            self.lost = True
            why = without_secrets(first_line(error))
            log.warning("MLflow records no more of this run (%s); its own files are complete", why)


def check(logger_cfg: Mapping[str, Any]) -> None:
    """Raise UserError for settings that cannot work, or without the package; calls no server."""
    if find_spec("mlflow") is None:
        with extra("logger=mlflow"):
            raise ModuleNotFoundError(name="mlflow")
    chosen, uri = logger_cfg["log_model"], logger_cfg["tracking_uri"]
    if chosen not in MODELS:
        hint = did_you_mean(str(chosen), ("best", "null"))
        raise UserError(f"logger.log_model={chosen} does not exist{hint}; choose best, or null for none.")
    if not logger_cfg["experiment_name"]:
        raise UserError("logger.experiment_name is empty: give the name of an experiment in MLflow.")
    _check_address("logger.tracking_uri", uri)
    if uri is None:
        _check_address(ADDRESS, os.environ.get(ADDRESS))
    parts = urlsplit(str(uri or ""))
    if parts.password is not None or (parts.scheme.startswith("http") and parts.username is not None):
        raise UserError(
            "logger.tracking_uri has a password or token, which would be written to config.yaml: leave it out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )


SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc")
"""Kinds of addresses that MLflow brings."""


def _check_address(name: str, uri: object) -> None:
    """Raise UserError for an address of a kind that MLflow does not have, or that is none."""
    text = str(uri if uri is not None else "")
    advice = "write http://HOST:PORT or https://HOST of a server, or sqlite:///FILE.db, postgresql:// or mysql://"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"{name}={without_secrets(text)} is no address ({error}): {advice}.") from error
    kind = parts.scheme.partition("+")[0] or (text if text in SCHEMES else "")
    if kind in ("", "file") and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return
    others = {each.name for each in entry_points(group="mlflow.tracking_store")}
    if text and kind not in (*SCHEMES, *others):
        raise UserError(f"{name}={without_secrets(text)} is no address of a server or database of MLflow: {advice}.")
    if kind in ("http", "https") and not parts.hostname:
        raise UserError(f"{name}={without_secrets(text)} names no host: {advice}.")


def open_run(
    logger_cfg: Mapping[str, Any], run_dir: Path, run_id: str, name: str, group: str, config: Mapping[str, Any]
) -> MlflowRun:
    """Open or continue an MLflow run; see `fersweep.tracking.make_logger`.

    Raises:
        UserError: the server does not answer or refuses, or the database cannot be written.
    """
    check(logger_cfg)
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    outputs = run_dir.absolute().parents[len(Path(group).parts)]
    uri = logger_cfg["tracking_uri"] or os.environ.get(ADDRESS) or f"sqlite:///{outputs / 'mlflow.db'}"
    found = trial.of(run_dir)
    tags = {"hash": run_id, "sweep": group, "seed": str(config["seed"])}
    if found is not None:
        tags |= {trial.NUMBER: str(found.number), trial.STATE: "running"}
    settings = {"run_name": name, "tracking_uri": uri, "tags": tags}
    # MLflow puts the artifacts of a database into the working directory
    artifacts = (outputs / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
    before = os.environ.get(ADDRESS)
    try:
        logger = _opened(logger_cfg["experiment_name"], settings, artifacts, _known(run_dir, uri))
        _log_parameters(logger, config)
    except Exception as error:  # MLflow raises those of its server, its database and its packages
        where, why = without_secrets(uri), without_secrets(first_line(error))
        raise UserError(f"MLflow did not open a run at {where} ({why}): check logger.tracking_uri.") from error
    finally:  # MLflow sets it, and the next run of this process would find it
        os.environ.pop(ADDRESS, None) if before is None else os.environ.update({ADDRESS: before})
    write_json(run_dir / FILE_NAME, {"tracking_uri": without_secrets(uri), "run_id": logger.run_id})
    return logger


def close(logger: MlflowRun, exit_code: int, state: trial.State | None) -> None:
    """Close a run with the status of its training or, if a search started it, of its trial."""
    if state is not None:
        logger.set_tags({trial.STATE: state})
    logger.finalize(STATUS[state or ("done" if exit_code == 0 else "failed")])


def without_secrets(text: str) -> str:
    """Return a text without the users and passwords of the addresses in it."""
    return re.sub(r"(\w+://)[^\s/@]*@", r"\1", text)


def _known(run_dir: Path, uri: str) -> str | None:
    """Return the id of the MLflow run that an earlier attempt opened at the same address."""
    fields = dict.fromkeys(("tracking_uri", "run_id"), Field("a text", lambda value: isinstance(value, str)))
    found = read_json(run_dir / FILE_NAME, fields, "note of an MLflow run", "delete it to record a new one")
    return None if found is None or found["tracking_uri"] != without_secrets(uri) else str(found["run_id"])


def _opened(experiment: str, settings: dict[str, Any], artifacts: str | None, known: str | None) -> MlflowRun:
    """Return a logger that continues the run ``known``, if that exists, or has begun a new one."""
    mlflow = _mlflow()
    client = mlflow.MlflowClient(settings["tracking_uri"])
    if known is not None and _is_there(client, known):
        client.update_run(known, status="RUNNING")
        logger = MlflowRun(experiment, **settings, run_id=known)
        logger.set_tags(settings["tags"])
        return logger
    if client.get_experiment_by_name(experiment) is None:
        try:
            client.create_experiment(experiment, artifacts)
        except mlflow.exceptions.MlflowException as error:  # another run may have created it in between
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    return MlflowRun(experiment, **settings | {"tags": _complete(settings["tags"])})


def _complete(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with those that MLflow adds, such as the repository's address, which may hold a password."""
    with extra("logger=mlflow"):
        from mlflow.tracking.context.registry import resolve_tags
    return {name: without_secrets(str(value)) for name, value in resolve_tags(dict(tags)).items()}


def _is_there(client: Any, run: str) -> bool:
    """Return whether a run exists and has not been deleted."""
    try:
        return str(client.get_run(run).info.lifecycle_stage) == "active"
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _mlflow() -> Any:
    """Import MLflow, which takes seconds, without its notes on standard error."""
    with extra("logger=mlflow"):
        import mlflow
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    return mlflow


def _log_parameters(logger: MlflowRun, config: Mapping[str, Any]) -> None:
    """Record the settings by their dotted names, those that the run does not have yet: MLflow never changes one."""
    has = logger.experiment.get_run(logger.run_id).data.params
    logger.log_hyperparams({key: value for key, value in dotted(config).items() if key not in has})
