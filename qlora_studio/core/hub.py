"""What models and datasets from the Hugging Face Hub share: ids, patience, sentences for what goes wrong."""

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from qlora_studio.core.errors import InvalidInput

T = TypeVar("T")
_TRIES = 4
_BUSY = (429, 500, 502, 503, 504)
_REPO_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")


def check_repo_id(repo_id: str) -> str:
    """Return a Hub id such as `openai/whisper-tiny`, or the same with a pasted address cut down to it.

    Raises:
        InvalidInput: that can't be a Hub id.
    """
    repo_id = repo_id.strip().removeprefix("https://huggingface.co/").removeprefix("datasets/").rstrip("/")
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        sentence = "A Hugging Face id looks like “openai/whisper-tiny”: letters, digits, “-”, “_” and “.”."
        raise InvalidInput(sentence, fields={"source.repo_id": sentence})
    return repo_id


def check_revision(revision: str) -> str:
    """Return a branch, tag or commit.

    Raises:
        InvalidInput: that can't be one.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        sentence = "A revision is a branch, a tag or a commit, such as “main”."
        raise InvalidInput(sentence, fields={"source.revision": sentence})
    return revision


def patiently(call: Callable[[], T]) -> T:
    """Try again after a dropped connection or a “too many requests”, each time waiting twice as long."""
    from huggingface_hub.errors import HfHubHTTPError

    attempt = 0
    while True:
        try:
            return call()
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if attempt == _TRIES - 1 or status not in _BUSY:
                raise
        except Exception as error:
            if attempt == _TRIES - 1 or not is_unreachable(error):
                raise
        time.sleep(float(os.environ.get("QLORA_STUDIO_HUB_WAIT_S", "2")) * 2**attempt)
        attempt += 1


def is_unreachable(error: BaseException) -> bool:
    """Whether the network failed. Told by name: which HTTP library the client rests on changes by version."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError"})


def explain(error: Exception, repo_id: str, what: str) -> str:
    """Turn what the Hub's client raised into a sentence with a next step; `what` is "model" or "dataset"."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f"“{repo_id}” is gated: its owner wants its terms accepted first. Accept them on huggingface.co, "
            f"{_WITH_ACCESS[what]}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hugging Face Hub has no public {what} “{repo_id}”. Check the spelling."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"“{repo_id}” has no such revision."
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        if error.response.status_code == 429:
            return "The Hugging Face Hub asks to wait (too many requests). Try again in a few minutes."
        return f"The Hugging Face Hub answered with error {error.response.status_code}. Try again later."
    if isinstance(error, OSError) and getattr(error, "errno", None) == 28:
        return "The disk is full. Free some space and try again."
    if is_unreachable(error) or isinstance(error, errors.LocalEntryNotFoundError):
        return (
            f"The Hugging Face Hub can't be reached from here. Check the connection, or {_ELSEWHERE[what]}."
        )
    return f"The download failed ({type(error).__name__}). Try again."


_WITH_ACCESS = {
    "model": "download it yourself and register the folder by its path",
    "dataset": "and choose a credential that has access",
}
_ELSEWHERE = {
    "model": "download the model elsewhere and register its folder by path",
    "dataset": "download the dataset elsewhere and upload it",
}
