"""Putting files into a repository of the Hugging Face Hub, with one person's token and nobody else's.

The Hub's own client does the work: it asks which files are large, uploads those that the Hub lacks, and makes
one commit, so that a repository never holds half an adapter. Files are given to it as streams, which lets us
count what is sent and stop in the middle.
"""

import io
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from qlora_studio.core.errors import StudioError
from qlora_studio.core.hub import is_unreachable

T = TypeVar("T")
_TRIES = 4
_SILENCE_S = 60.0  # that a Hub may keep in an answer; its client would wait for ever
_LONGEST_WAIT_S = 60.0
_BUSY = (429, 500, 502, 503, 504)
_TOKENS = "huggingface.co/settings/tokens"


class UploadRefused(StudioError):
    """The Hub does not take it; the message says why, and what to do."""

    status = 409
    title = "The Hub does not take it"


class UploadStopped(Exception):
    """Somebody has cancelled it."""


@dataclass(frozen=True)
class Upload:
    """What goes where. `files` maps names in the repository to files or their bytes."""

    repo_id: str
    is_private: bool
    files: Mapping[str, Path | bytes]
    message: str
    may_exist: bool  # an earlier push of the same person has made the repository
    token: str = field(repr=False)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in self.files.values())


class Progress:
    """Counts what has been sent. `tell` is called now and then, and raises `UploadStopped` to end it."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._sent: dict[str, int] = {}
        self._lock = Lock()
        self.is_counting = False  # files are read once before, for their checksums

    def check(self) -> None:
        """Tell how far it is."""
        with self._lock:
            self._tell(sum(self._sent.values()))

    def sent(self, name: str, n_bytes: int) -> None:
        """Note that the first `n_bytes` of a file are sent."""
        with self._lock:
            if self.is_counting:
                self._sent[name] = n_bytes
            self._tell(sum(self._sent.values()))


class _Counted(io.BufferedReader):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, name: str, progress: Progress) -> None:
        super().__init__(io.FileIO(path))
        self._name = name
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._progress.sent(self._name, self.tell())
        return data


def upload(wanted: Upload, progress: Progress, *, on_repo: Callable[[str], None]) -> str:
    """Make the repository if it is not there, and commit the files. Returns its address.

    Args:
        on_repo: called with the repository's full id once it is there and may be written to.

    Raises:
        UploadRefused: the Hub, or we, do not let it.
        UploadStopped: from `progress`.
    """
    from huggingface_hub import HfApi

    _set_up_client()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=wanted.token)
    try:
        name = _full_name(api, wanted.repo_id, progress)
        _make_repository(api, name, wanted, progress)
        on_repo(name)
        _commit(api, name, wanted, progress)
    except (UploadRefused, UploadStopped):
        raise
    except Exception as error:
        progress.check()  # stopped: then this is only what stopping looked like from the inside
        raise UploadRefused(explain(error, wanted.repo_id)) from error
    return f"{api.endpoint}/{name}"


@lru_cache(maxsize=1)
def _set_up_client() -> None:
    """Make the Hub's client quiet, and have it give up on a silent server. Once: it closes connections."""
    from huggingface_hub.utils import disable_progress_bars, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def make_client() -> Any:
        client = default_client_factory()
        client.timeout = _SILENCE_S
        return client

    set_client_factory(make_client)
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells that streams go another way


def _full_name(api: Any, repo_id: str, progress: Progress) -> str:
    """The repository's id with its owner; refuses a token that can only read before anything is made."""
    account = _patiently(api.whoami, progress)
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UploadRefused(
            f"This token may only read. Make one with write access at {_TOKENS}, and add it as a credential."
        )
    return repo_id if "/" in repo_id else f"{account['name']}/{repo_id}"


def _make_repository(api: Any, name: str, wanted: Upload, progress: Progress) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        _patiently(lambda: api.create_repo(name, private=wanted.is_private, exist_ok=False), progress)
    except HfHubHTTPError as error:
        if error.response is None or error.response.status_code != 409:
            raise
        if not wanted.may_exist:
            raise UploadRefused(
                f"There is a repository “{name}” already, which was not made from here. Choose another name."
            ) from error
        if wanted.is_private and not _patiently(lambda: api.repo_info(name), progress).private:
            raise UploadRefused(
                f"The repository “{name}” is public by now. Push it as public, or choose another name."
            ) from error


def _commit(api: Any, name: str, wanted: Upload, progress: Progress) -> None:
    def commit() -> None:
        from huggingface_hub import CommitOperationAdd

        streams = {n: _open(n, f, progress) for n, f in wanted.files.items()}
        try:
            progress.is_counting = False
            operations = [CommitOperationAdd(path_in_repo=n, path_or_fileobj=s) for n, s in streams.items()]
            progress.is_counting = True
            api.create_commit(name, operations=operations, commit_message=wanted.message, num_threads=2)
        finally:
            for stream in streams.values():
                if isinstance(stream, io.BufferedReader):
                    stream.close()

    _patiently(commit, progress)


def _open(name: str, content: Path | bytes, progress: Progress) -> io.BufferedReader | bytes:
    return content if isinstance(content, bytes) else _Counted(content, name, progress)


def _patiently(call: Callable[[], T], progress: Progress) -> T:
    """Try again after a dropped connection, “too many requests” or an error of the Hub, ever more slowly."""
    attempt = 0
    while True:
        progress.check()
        try:
            return call()
        except UploadStopped:
            raise
        except Exception as error:
            cause = _cause(error)
            is_passing = _status(cause) in _BUSY or is_unreachable(cause)
            if isinstance(cause, UploadStopped):
                raise cause from None
            if attempt == _TRIES - 1 or not is_passing:
                raise
        wait_s = float(os.environ.get("QLORA_STUDIO_HUB_WAIT_S", "2")) * 2**attempt
        _wait(min(wait_s, _LONGEST_WAIT_S), progress)
        attempt += 1


def _wait(seconds: float, progress: Progress) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
        progress.check()


def _cause(error: BaseException) -> BaseException:
    """What went wrong with a large file: the client wraps it."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error


def _status(error: BaseException) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def explain(error: BaseException, repo_id: str) -> str:
    """Turn what the Hub's client raised into a sentence with a next step."""
    cause = _cause(error)
    status, owner = _status(cause), repo_id.rpartition("/")[0]
    named = f" “{owner}”" if owner else ""
    match status:
        case 401:
            return f"The Hub does not accept this token. Make a new one at {_TOKENS} and push with that."
        case 403:
            whose = named or " your account"
            return f"This token may not write there. It needs write access to{whose}: see {_TOKENS}."
        case 404:
            return (
                f"The Hub has no user or organisation{named} that this token belongs to. Check the spelling."
            )
        case 400 | 422:
            return "The Hub refused the repository's name or the files. Choose another name and try again."
        case 409 | 412:
            return "Somebody changed the repository at the same time. Push again."
        case 413:
            return "The Hub says that it is too large for this account."
        case 429:
            return "The Hub asks to wait (too many requests). Push again in a few minutes."
        case status if status >= 500:
            return (
                f"The Hub has a problem of its own (error {status}). Push again later; what is there is kept."
            )
    if is_unreachable(cause):
        return (
            "The Hub can't be reached from here. Check the connection and push again; what is there is kept."
        )
    if isinstance(cause, OSError):
        return f"A file could not be read ({cause.strerror or type(cause).__name__}). Is it still there?"
    return f"The push failed ({type(cause).__name__}). Try again."
