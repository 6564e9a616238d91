"""The user's login to Weights & Biases, and its check against the server."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from fersweep.errors import UserError

TIMEOUT_S = (5.0, 20.0)
"""Time-outs of the connection and of the answer."""


def base_url() -> str:
    """Return the address of the configured W&B server, without calling it."""
    import wandb

    return str(wandb.setup().settings.base_url)


def logged_in() -> bool:
    """Return whether there are credentials for the configured W&B server, without a prompt or a request."""
    return bool(_token_file() or api_key())


def api_key() -> str | None:
    """Return the key for the configured W&B server, from the environment, W&B's settings or netrc."""
    import wandb
    from requests.utils import get_netrc_auth

    settings = wandb.setup().settings
    if named := os.environ.get("WANDB_API_KEY") or settings.api_key:
        return str(named)
    hosts = [settings.base_url]
    if str(urlsplit(settings.base_url).hostname).endswith((".wandb.ai", ".coreweave.com")):
        hosts.append("https://api.wandb.ai")  # the public service has two names, and older logins use this one
    found = [login for login in map(get_netrc_auth, hosts) if login]
    return found[0][1] if found else None


def require_account() -> None:
    """Raise UserError unless the W&B server answers and accepts the login; takes seconds and never prompts."""
    if not logged_in():
        raise UserError("Weights & Biases needs a login: run `wandb login` or set WANDB_API_KEY.")
    if problem := unreachable():
        raise UserError(problem)


def unreachable() -> str | None:
    """Return why the server does not accept the login, in one sentence, or ``None``."""
    import requests

    url = base_url()
    key = None if _token_file() else api_key()
    try:
        answer = requests.post(
            f"{url.rstrip('/')}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=None if key is None else ("api", key),
            timeout=TIMEOUT_S,
        )
        refused = answer.status_code in (401, 403)
        if not refused:
            answer.raise_for_status()
            refused = answer.json()["data"]["viewer"] is None
    except (requests.RequestException, KeyError, TypeError) as error:
        return f"Weights & Biases does not answer at {url} ({type(error).__name__}): check the network, then try again."
    if key and refused:
        return f"Weights & Biases at {url} refuses the key: run `wandb login --relogin`."
    return None


def _token_file() -> str | None:
    return os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
