"""A trained network on the Hugging Face Hub: a repository with the four files of `files.FOLDER`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session, validate_repo_id

from fersweep.errors import UserError
from fersweep.inference.export import files
from fersweep.inference.trained import Trained, load
from fersweep.text import first_line

PATIENCE = 30
"""Seconds without an answer, after which the Hub counts as not reached."""


def push(checkpoint: Path, repo: str, private: bool = False) -> str:
    """Export a checkpoint in every form and upload it as one commit; returns the address of the repository.

    The login is huggingface_hub's own (``hf auth login``, or ``HF_TOKEN``).

    Args:
        checkpoint: a ``.ckpt`` file, or the directory of a run.
        repo: ``name``, or ``owner/name``; it is made where it is missing.
        private: whether a new repository is private; one that is there stays as it is.

    Raises:
        UserError: for a name that cannot be one, a checkpoint that cannot be read or exported, without a login, or
            where the Hub is out of reach or refuses.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} cannot be the name of a repository ({error}): give OWNER/NAME.") from error
    trained = load(checkpoint, "cpu")
    api = HfApi()
    owner = _user(api)
    with tempfile.TemporaryDirectory(prefix="fersweep-") as folder:
        for path in files.places([Path(folder)]):
            files.write(trained, path)
        return _upload(api, Path(folder), repo if "/" in repo else f"{owner}/{repo}", trained, private)


def _user(api: HfApi) -> str:
    """Who is logged in; asked first, because exporting takes longer than to learn that nobody is."""
    get_session().timeout = PATIENCE
    try:
        return str(api.whoami()["name"])
    except LocalTokenNotFoundError as error:
        raise UserError("You are not logged in to the Hugging Face Hub: run hf auth login, or set HF_TOKEN.") from error
    except (HTTPError, OSError) as error:
        raise _failed(error) from error


def _upload(api: HfApi, folder: Path, repo: str, trained: Trained, private: bool) -> str:
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"{trained.title}, exported by fersweep")
    except (HTTPError, OSError, RuntimeError) as error:  # the last: of the part that moves large files
        raise _failed(error) from error
    return str(address)


def _failed(error: Exception) -> UserError:
    """What a failed call comes down to; nothing of a token is in it."""
    if isinstance(error, OfflineModeIsEnabled):
        return UserError("The Hugging Face Hub is switched off here: unset HF_HUB_OFFLINE, and push again.")
    response = getattr(error, "response", None)
    if response is None:
        return UserError(f"The Hugging Face Hub cannot be reached ({first_line(error)}): push again when online.")
    if response.status_code == 401:
        return UserError("The Hugging Face Hub does not accept the login: run hf auth login, or set another HF_TOKEN.")
    if response.status_code == 403:
        return UserError(
            f"The login may not write there ({first_line(error)}): use a token with write access, or another owner."
        )
    return UserError(f"The Hugging Face Hub refused ({first_line(error)}): nothing more was uploaded; push again.")
