"""Checkpoints: tensors and plain containers only, always loaded with ``weights_only=True``."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fersweep.config.schema import title, title_of
from fersweep.errors import UserError
from fersweep.files import atomic_path, given

FORMAT = 1
"""Version of `stored`."""

SLIM = ("fersweep", "state_dict", "epoch", "global_step", "pytorch-lightning_version")
"""Keys of ``best.ckpt``: enough to test, predict and start another run."""

TESTED = ("test/accuracy", "test/n", "majority_baseline")
"""Test figures in ``best.ckpt`` of a finished run."""

PREFIX = "model."

FOLDER = 0x10
"""Attribute of a zip member that is a folder (APPNOTE.TXT 4.4.15, MS-DOS)."""

FLAGS = 0x808
"""Flags of zip members that torch sets: sizes follow the data, names are UTF-8 (APPNOTE.TXT 4.4.4)."""

PROBE = 2**20
"""Bytes that are written where a checkpoint cannot be, to learn the reason."""


def stored(
    config: Mapping[str, Any],
    class_names: tuple[str, ...],
    data_digest: str,
    precision: str,
    microbatches: int,
    framing: str | None = None,
) -> dict[str, Any]:
    """Return the metadata that a checkpoint stores under ``fersweep``; a resumed run keeps precision and microbatches.

    ``precision`` is Lightning's name, ``framing`` that of `fersweep.build.framing`.
    """
    return {
        "format": FORMAT,
        "config": dict(config),
        "class_names": list(class_names),
        "data_digest": data_digest,
        "precision": precision,
        "parts": microbatches,
        "framing": framing,
    }


def add(path: Path, **metadata: Any) -> None:
    """Add metadata, plain dicts, lists and scalars, to a checkpoint file."""
    content = load(path)
    content["fersweep"] |= metadata
    save(content, path)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint file atomically.

    Raises:
        OSError: it cannot be written, with the number of the system's error, which torch's writer drops.
    """
    failure = ""
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            failure = str(error)  # not the error itself, which keeps the incomplete file open
        if failure:
            with tempfile.TemporaryFile(dir=path.parent) as probe:
                probe.write(bytes(PROBE))
                probe.flush()
            raise RuntimeError(failure)


def find(path: Path, kinds: str = "a .ckpt file or the directory of a finished run") -> Path:
    """Return the best checkpoint of a run directory, or the file itself; ``~`` is expanded.

    Raises:
        UserError: there is none; ``kinds`` says in words what can be given.
    """
    path = given(path)
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}: give {kinds}.")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project onto the CPU.

    Args:
        path: a ``.ckpt`` file, or a run directory (its ``checkpoints/best.ckpt``).

    Raises:
        UserError: it does not exist, is damaged, has content of other types, or was written by another program.
    """
    path = find(path)
    try:
        _check_bytes(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged and foreign files
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch and pickle raise almost anything
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or was not written by fersweep."
        ) from error
    about = checkpoint.get("fersweep") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint or not {"config", "class_names"} <= set(about):
        raise UserError(f"{path} was not written by fersweep: it contains no configuration.")
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {about.get('format')}, this version reads {FORMAT}: use the version that wrote it."
        )
    if problem := _problem(checkpoint):
        raise UserError(f"{path} is damaged or was not written by fersweep: {problem}.")
    return checkpoint


def _check_bytes(path: Path) -> None:
    """Compare the members of the zip file with their checksums, which `torch.load` ignores.

    Members that torch and `zipfile` could read differently are refused first: what is checked is what is loaded.

    Raises:
        zipfile.BadZipFile: a member is damaged or unlike those that torch writes.
    """
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        names = {member.filename.casefold() for member in members}  # torch ignores case
        unlike = [member.filename for member in members if _unlike_torch(member)]
        if damaged := unlike[0] if unlike else file.testzip():
            raise zipfile.BadZipFile(damaged)
        if len(names) < len(members) or min(member.header_offset for member in members) > 0:
            raise zipfile.BadZipFile("a member twice, or bytes before the first")


def _unlike_torch(member: zipfile.ZipInfo) -> bool:
    """Return whether a member is compressed (1 GB of zeros fits into 1 MB), a folder, or has flags or sizes at odds.

    Of a folder torch reads nothing and returns memory that nobody has written.
    """
    return (
        member.compress_type != zipfile.ZIP_STORED
        or member.compress_size != member.file_size
        or bool(member.external_attr & FOLDER or member.flag_bits & ~FLAGS)
        or member.orig_filename != member.filename
        or member.is_dir()
    )


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    """Return whether a value is text that UTF-8 can hold; a pickle may have halves of surrogates."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len({*map(str, value)}) == len(value) > 0
        and all(_is_text(each) and each for each in value)
    )


def _are_figures(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(key) and (number is None or (type(number) in (int, float) and not abs(number) > 1e300))
        for key, number in value.items()
    )


METADATA: dict[str, tuple[bool, Callable[[Any], bool], str]] = {
    "class_names": (True, _are_names, "different names"),
    "temperature": (False, lambda value: type(value) in (int, float) and 0 < value < 1e300, "a positive number"),
    "tested": (False, lambda value: value is None or _are_figures(value), "numbers by name"),
    "framing": (False, lambda value: value is None or _is_text(value), "a name"),
    "data_digest": (False, _is_text, "text"),
    "precision": (False, _is_text, "a name"),
    "parts": (False, lambda value: _is_whole(value) and value > 0, "a positive whole number"),
}
"""Metadata of `stored` and of `add`: whether every version has it, the test of its value, and the value in words."""


def problem_of(about: Mapping[str, Any]) -> str | None:
    """Return the first fault in the types of metadata, as `stored` returns them, in words, or ``None``."""
    for name, (always, valid, kind) in METADATA.items():
        if (always or name in about) and not valid(about.get(name)):
            return f"{name} is not {kind}"
    try:
        unlike = _not_plain(about["config"], "config")
    except RecursionError:
        unlike = "config"
    if unlike is not None or not isinstance(about["config"], dict):
        return f"{unlike or 'config'} is not a plain value"
    return None


def _problem(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the first fault in the types of a checkpoint in words, or ``None``."""
    about, state = checkpoint["fersweep"], checkpoint["state_dict"]
    if found := problem_of(about):
        return f"its {found}"
    for name in ("epoch", "global_step"):
        if not _is_whole(checkpoint.get(name, 0)):
            return f"its {name} is not a whole number"
    if not isinstance(state, dict):
        return "its state_dict is not a table of tensors"
    return next((f"{name!s:.60} is not a tensor" for name, value in state.items() if not _is_tensor(name, value)), None)


def _not_plain(node: Any, where: str) -> str | None:
    """Return the dotted name of the first part of a configuration that is not plain, or ``None``."""
    if isinstance(node, dict):
        inner = [(each, f"{where}.{name!s:.60}") for name, each in node.items()]
        if not all(type(name) is str and _is_text(name) for name in node):
            return where
    elif isinstance(node, list | tuple):
        inner = [(each, where) for each in node]
    else:
        return None if node is None or type(node) in (int, float, bool) or _is_text(node) else where
    return next(filter(None, (_not_plain(each, name) for each, name in inner)), None)


def _is_tensor(name: Any, value: Any) -> bool:
    """Return whether an entry of a state is a dense tensor whose elements are all in the file."""
    if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return False
    return value.device.type == "cpu" and value.nbytes <= value.untyped_storage().nbytes()


def load_last(path: Path) -> dict[str, Any]:
    """Load the checkpoint that a run resumes from; UserError as in `load`, with advice."""
    try:
        return load(path)
    except UserError as error:
        raise UserError(f"{error} Set force=true to start the run afresh.") from error


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load the network weights of a checkpoint into ``model``, all or none; return the checkpoint.

    Raises:
        UserError: for another architecture, with the first parameter that does not fit.
    """
    checkpoint = load(path)
    put(model, weights_of(checkpoint), checkpoint["fersweep"]["config"], find(path))
    return checkpoint


def weights_of(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the network's weights in a checkpoint by their names in the network."""
    state = checkpoint["state_dict"]
    return {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}


def put(model: nn.Module, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any], path: Path) -> None:
    """Load weights that were read from ``path``, of a network with this configuration; see `load_weights`."""
    own = model.state_dict()
    for key in [*own, *weights]:
        if key not in weights or key not in own or own[key].shape != weights[key].shape:
            stored, expected = (tuple(state[key].shape) if key in state else "absent" for state in (weights, own))
            network = _network_of(config)
            raise UserError(
                f"{path} has another architecture ({network}): {key} is {stored} there and {expected} in this run; "
                "choose the same backbone, attention, fidelity, image size and classes, or other weights."
            )
    model.load_state_dict(weights)


def _network_of(config: Mapping[str, Any]) -> str:
    try:
        return f"{title(config)}, {title_of(config, 'fidelity')}"
    except (LookupError, TypeError, AttributeError):  # of another version, or damaged
        return "unknown"
