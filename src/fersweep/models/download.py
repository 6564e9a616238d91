"""Weights of other libraries from a cache or the network, with one sentence where there is neither."""

from __future__ import annotations

from pathlib import Path

from fersweep.errors import UserError, extra

SECONDS = 5.0
"""Longest wait for an answer of the network before it counts as unreachable."""


def unreachable(what: str) -> UserError:
    """Return the error for weights that cannot be downloaded."""
    return UserError(
        f"The weights of {what} are not on this machine and cannot be downloaded, as there is no answer from the "
        "network: download them elsewhere and set weights=FILE, or set backbone.model.pretrained to its default."
    )


def cached_or_reachable(repository: str | None, file: str | None, what: str) -> Path | None:
    """Return the cached file of a repository of weights, or ``None`` if it can be downloaded.

    The library that downloads repeats what fails for a minute, and asks the network even for what is cached.

    Raises:
        UserError: the network does not answer.
    """
    if not repository:
        return None
    import requests

    with extra("backbone.model.pretrained=true"):
        from huggingface_hub import constants, try_to_load_from_cache
    name, _, revision = repository.partition("@")
    for each in [file] if file else ["model.safetensors", "pytorch_model.bin"]:
        found = try_to_load_from_cache(name, each, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    try:
        requests.head(constants.ENDPOINT, timeout=SECONDS)
    except requests.RequestException as error:
        raise unreachable(what) from error
    return None
