"""Log of a run: ``train.log``, and plain lines on the terminal without a progress bar."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OURS = "fersweep"
THEIRS = ("pytorch_lightning", "lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric", "py.warnings")

NOISE = (
    r"The '\w+_dataloader' does not have many workers",  # batches come from memory; workers would be slower
    r"Checkpoint directory .* exists and is not empty",  # a resumed run continues in its own directory
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # lightning 2.6 beside torch 2.9 and later
    r"The `srun` command is available on your system but is not used",  # a single process is intended
)
"""Warnings of Lightning about things this project does on purpose."""


@contextmanager
def _without_noise() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def of_other_ranks(rank: int) -> Iterator[logging.Logger]:
    """Print warnings and errors of a rank other than zero to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s rank {rank}: %(message)s"))
    handler.setLevel(logging.WARNING)
    ours = logging.getLogger(OURS)
    ours.handlers, ours.propagate = [handler], False
    with _without_noise():
        yield ours


class RunLog(logging.FileHandler):
    """Log file of a run. What a full disk does not take is left out; the run itself reports the disk."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print a traceback, as logging does, unless the file cannot be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, without the messages that it does not take."""
        with suppress(OSError):
            super().close()


@contextmanager
def to_run(run_dir: Path, echo: bool) -> Iterator[logging.Logger]:
    """Append messages of fersweep and Lightning, and all warnings, to ``run_dir/train.log``.

    Args:
        run_dir: an existing directory.
        echo: also print messages of fersweep to standard error.
    """
    handler = RunLog(run_dir / "train.log", encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger(OURS)
    handlers: list[logging.Handler] = [handler]
    if echo:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(logging.Formatter("%(message)s"))
        terminal.setLevel(logging.INFO)
        terminal.addFilter(lambda message: message.exc_info is None)  # the caller prints the error
        handlers.append(terminal)
    theirs = [logging.getLogger(name) for name in THEIRS]
    before = [(logger, list(logger.handlers), logger.propagate, logger.level) for logger in (ours, *theirs)]
    ours.setLevel(logging.DEBUG)
    ours.handlers, ours.propagate = handlers, False
    for logger in theirs:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)  # below it: tips, and facts that fersweep logs itself
    logging.captureWarnings(True)
    with _without_noise():
        try:
            yield ours
        finally:
            logging.captureWarnings(False)
            for logger, kept, propagate, level in before:
                logger.handlers, logger.propagate = kept, propagate
                logger.setLevel(level)
            for each in handlers:
                each.close()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Lightning's tips, and its warnings about things done on purpose, from the terminal."""
    theirs = [logging.getLogger(name) for name in THEIRS]
    before = [(logger, logger.level) for logger in theirs]
    for logger in theirs:
        logger.setLevel(logging.WARNING)
    with _without_noise():
        try:
            yield
        finally:
            for logger, level in before:
                logger.setLevel(level)
