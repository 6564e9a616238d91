"""Upload to the Hugging Face Hub: a repository with the files of `files.FOLDER`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fersweep.errors import UserError, extra
from fersweep.inference.export import files
from fersweep.inference.trained import load
from fersweep.text import first_line

with extra("fersweep export"):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import get_session, validate_repo_id

TIMEOUT = 30
"""Seconds."""


def push(checkpoint: Path, repo: str, private: bool = False) -> str:
    """Export a checkpoint in every form, upload the files as one commit, and return the repository's address.

    ``repo`` is ``name`` or ``owner/name``; it is made if missing, and then ``private`` if asked. The login is
    huggingface_hub's (``hf auth login``, or ``HF_TOKEN``), checked before the export, which is slow.

    Raises:
        UserError: the name, the checkpoint or the login cannot be used, or the Hub is unreachable or refuses.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} cannot be the name of a repository ({error}): give OWNER/NAME.") from error
    trained = load(checkpoint, "cpu")
    api = HfApi()
    get_session().timeout = TIMEOUT
    try:
        owner = api.whoami()["name"]
    except (LocalTokenNotFoundError, HTTPError, OSError) as error:
        raise _failure(error) from error
    with tempfile.TemporaryDirectory(prefix="fersweep-") as folder:
        for path in files.places([Path(folder)]):
            files.write(trained, path)
        name, message = repo if "/" in repo else f"{owner}/{repo}", f"{trained.title}, exported by fersweep"
        try:
            address = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
        except (HTTPError, OSError, RuntimeError) as error:  # RuntimeError: from the upload of large files
            raise _failure(error) from error
    return str(address)


def _failure(error: Exception) -> UserError:
    """Explain a failed call in one sentence, without the token."""
    if isinstance(error, LocalTokenNotFoundError):
        return UserError("You are not logged in to the Hugging Face Hub: run hf auth login, or set HF_TOKEN.")
    if isinstance(error, OfflineModeIsEnabled):
        return UserError("The Hugging Face Hub is switched off here: unset HF_HUB_OFFLINE, and push again.")
    response, reason = getattr(error, "response", None), first_line(error)
    if response is None:
        return UserError(f"The Hugging Face Hub cannot be reached ({reason}): push again when online.")
    known = {
        401: "The Hugging Face Hub does not accept the login: run hf auth login, or set another HF_TOKEN.",
        403: f"The login may not write there ({reason}): use a token with write access, or another owner.",
    }
    refused = f"The Hugging Face Hub refused ({reason}): nothing more was uploaded; push again."
    return UserError(known.get(response.status_code, refused))
