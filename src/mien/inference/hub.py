"""Models on the Hugging Face hub: a name such as hf:owner/name becomes a file in the hub's own cache."""

import logging
import re
from pathlib import Path
from typing import Any

from mien.errors import MienError

PREFIX = "hf:"
"""What a model's name on the hub begins with, so that it is taken for no path."""

FILE = "model.onnx"
"""The file of a repository that is fetched, as `mien push` names it."""

ANSWER_TIMEOUT = 10.0
"""Seconds to wait for the hub's answer; its client alone would try for half a minute where there is no network."""

_logger = logging.getLogger("mien")


def is_on_hub(model: str | Path) -> bool:
    """Tell whether a model's name is one on the hub."""
    return str(model).startswith(PREFIX)


def fetch_model(name: str) -> Path:
    """Give the place of a model file in the hub's cache, and download it first if it is not there, or not the newest.

    Where the hub cannot be reached, what an earlier download left in the cache is taken, and a line says so.

    Args:
        name: hf:owner/name, or hf:owner/name@revision with a branch, a tag or a commit.

    Raises:
        MienError: if the name is no such name, huggingface_hub is not installed, the hub has no such repository, revision or
            file, or it can be had neither from the hub nor from the cache.
    """
    parts = re.fullmatch(rf"{PREFIX}([\w.-]+/[\w.-]+)(?:@(\S+))?", name)
    if parts is None:
        raise MienError(f"{name!r} names no model on the hub; write hf:owner/name, or hf:owner/name@revision.")
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise MienError(
            f"{name!r} lies on the hub, and huggingface_hub is not installed; run: pip install 'mien[hub]'"
        ) from None
    place: dict[str, Any] = {"repo_id": parts[1], "filename": FILE, "revision": parts[2]}
    try:
        # asked once before the download, which would ask again and again where there is no network
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(**place), timeout=ANSWER_TIMEOUT)
    except Exception as problem:  # the hub's client lets errors of whichever HTTP library it uses through
        if says := _refusal(problem, parts[1], parts[2]):
            raise MienError(says) from None
        return _cached(name, place, problem)
    try:
        return Path(huggingface_hub.hf_hub_download(**place))
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # of this machine's disk, not of the hub
        raise MienError(f"{name} could not be fetched ({_first_line(problem)}); try again.") from None


def _refusal(problem: Exception, repository: str, revision: str | None) -> str:
    """Say what the hub has not, or does not give; empty where it was not reached."""
    from huggingface_hub import errors as hub

    if isinstance(problem, hub.GatedRepoError):
        return f"The hub gives {repository!r} only to those who were let in; ask on its page, then log in with `hf auth login`."
    if isinstance(problem, hub.RepositoryNotFoundError):
        return f"The hub has no model {repository!r}, or hides it; check owner and name, or log in with `hf auth login`."
    if isinstance(problem, hub.RevisionNotFoundError):
        return f"The model {repository!r} on the hub has no revision {revision!r}; check it, or leave out @{revision}."
    if isinstance(problem, hub.EntryNotFoundError):
        return f"{repository!r} on the hub holds no {FILE}, so it is no model of mien's; `mien push` makes one that does."
    if isinstance(problem, hub.HFValidationError):
        return f"The hub has no names such as {repository!r}; write hf:owner/name."
    return ""


def _cached(name: str, place: dict[str, Any], problem: Exception) -> Path:
    import huggingface_hub

    reason = _first_line(problem)
    try:
        path = Path(huggingface_hub.hf_hub_download(**place, local_files_only=True))
    except FileNotFoundError:
        raise MienError(
            f"The hub could not be reached ({reason}), and {name} was not fetched before; "
            f"try again with a network, or get its {FILE} otherwise and give --model that path."
        ) from None
    _logger.warning("mien: the hub could not be reached (%s); taking %s as it was fetched before", reason, name)
    return path


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0].rstrip(".: ")
