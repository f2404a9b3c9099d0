"""Files to and from a repository of the Hugging Face Hub, through its own client and login, with errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_vision.errors import CheckpointError, ConfigError, TrainingError, UserError
from lightning_vision.storage.hub import QuickToGiveUp
from lightning_vision.storage.hub_address import HubAddress
from lightning_vision.terminal.wording import printable

NO_NETWORK = (
    "the Hugging Face Hub cannot be reached. Connect to the network, and check the variables HF_HUB_OFFLINE (found: offline is "
    "{offline}), HF_ENDPOINT and HTTPS_PROXY"
)
LOG_IN = "log in with `hf auth login`, or set the variable HF_TOKEN"


def download(address: HubAddress, name: str) -> tuple[Path, str]:
    """Fetch a file, or take it from the client's cache if the Hub cannot be reached.

    Returns:
        Its path in that cache, and the commit that it is from.

    Raises:
        CheckpointError: There is no such repository, revision or file, or it cannot be reached and is in no cache.
    """
    from huggingface_hub import hf_hub_download  # takes time, and few commands need it

    with _in_words(address, reading=True, file=name), QuickToGiveUp():
        path = Path(hf_hub_download(address.name, name, revision=address.revision))
    for parent in path.parents:  # <cache>/models--owner--name/snapshots/<commit>/<name>
        if parent.parent.name == "snapshots":
            return path, parent.name
    raise CheckpointError(f"{address}: expected {name} below a folder 'snapshots' of the client's cache, found {path}.")


def check_login() -> None:
    """Check that somebody is logged in; the token itself is read by the client alone.

    Raises:
        ConfigError: Nobody is.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise ConfigError(f"push: expected a login of the Hugging Face Hub, found none: {LOG_IN}.")


def upload(folder: Path, address: HubAddress, message: str, private: bool | None) -> str:
    """Put all files of a folder into a repository as one commit; it is created if it does not exist.

    Args:
        folder: The folder.
        address: The repository.
        message: Of the commit.
        private: Whether a new repository is private; None: as the account's default is.

    Returns:
        The commit.

    Raises:
        ConfigError: The login does not allow it.
        TrainingError: The Hub cannot be reached, or refuses the files.
    """
    from huggingface_hub import HfApi

    with _in_words(address, reading=False), QuickToGiveUp():
        api = HfApi(library_name="lightning_vision")
        api.create_repo(address.name, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=address.name, folder_path=folder, commit_message=message).oid)


@contextmanager
def _in_words(address: HubAddress, *, reading: bool, file: str = "") -> Iterator[None]:
    """Say what an error of the client means.

    Raises:
        UserError: Always in place of the client's errors.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The library below the client, httpx or requests, has one base of all its errors, of which the client's is a kind.
    transport: tuple[type[Exception], ...] = tuple(
        base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception) and base.__name__ == "HTTPError"
    )
    try:
        yield
    except UserError:
        raise
    except HFValidationError as error:
        raise ConfigError(f"{address}: {error}") from error
    except Exception as error:
        # Of this machine's disk, or of another part of the program.
        if getattr(error, "filename", None) is not None or not isinstance(error, (OSError, *transport)):
            raise
        raise _explained(error, address, reading, file, offline=bool(constants.HF_HUB_OFFLINE)) from error


def _explained(error: Exception, address: HubAddress, reading: bool, file: str, *, offline: bool) -> UserError:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

    response: Any = getattr(error, "response", None)
    status: int | None = getattr(response, "status_code", None)
    kind = CheckpointError if reading else TrainingError
    if isinstance(error, LocalEntryNotFoundError) or status is None:
        files = f"{address} is not in the cache on this machine, and " if reading else f"{address}: "
        reason = (
            "" if offline or reading else f" ({type(error).__name__}: {printable(' '.join(str(error).split()))[:200]})"
        )
        return kind(f"{files}{NO_NETWORK.format(offline='on' if offline else 'off')}{reason}.")
    if isinstance(error, RevisionNotFoundError):
        return kind(f"{address}: there is no commit, branch or tag {address.revision!r} in the repository.")
    if isinstance(error, EntryNotFoundError):
        return kind(
            f"{address} holds no whole run of lightning_vision: it has no file {file}. Expected a repository written by "
            "`lightning-vision push`."
        )
    if status in (401, 403, 404) and reading:
        return kind(
            f"{address}: there is no such repository on the Hugging Face Hub, or it is private and the login may not read it. "
            f"Check the name; if it is private, {LOG_IN}."
        )
    if status in (401, 403, 404):
        return ConfigError(
            f"{address}: the Hugging Face Hub refuses this login ({status}). Expected a token that may write into "
            f"{address.name.split('/')[0]!r}: {LOG_IN}, with a token of the kind 'write', or choose a name of your own account."
        )
    said = printable(getattr(error, "server_message", None) or " ".join(str(error).split()))
    return kind(f"{address}: the Hugging Face Hub answered {status}: {said[:300]}. Try again later.")
