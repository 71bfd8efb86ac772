"""Downloading a model from the Hugging Face Hub, in a process of its own.

    python -m qlora_studio.modelfiles.hub REPO_ID REVISION FOLDER

writes the files into `FOLDER/files`, how far it is into `FOLDER/progress.json`, and at the end, by rename,
`FOLDER/outcome.json`. It asks for the list of files first and refuses what can't be trained before the first
large byte. It never uses this server's own credentials, and ends when the server that started it does.
"""

import fcntl
import json
import os
import re
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from qlora_studio.core.errors import InvalidInput
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.storage.atomic import write_text

_WANTED_ENDINGS = (".json", ".safetensors")
_WANTED_NAMES = ("merges.txt", "README.md")
HELD_ELSEWHERE = 3  # the exit code when another process downloads into the same folder
_POLL_S = 0.5
_TRIES = 4
_REPO_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")


def check_repo_id(repo_id: str) -> str:
    """Return a Hub id such as `openai/whisper-tiny`, or the same with a pasted address cut down to it.

    Raises:
        InvalidInput: that can't be a Hub id.
    """
    repo_id = repo_id.strip().removeprefix("https://huggingface.co/").removesuffix("/")
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


def main(arguments: list[str]) -> int:
    """Run the download; the exit code is 0 when `outcome.json` says ok."""
    repo_id, revision, folder = arguments[0], arguments[1], Path(arguments[2])
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return HELD_ELSEWHERE
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        commit = _download(check_repo_id(repo_id), check_revision(revision), folder)
        outcome: dict[str, Any] = {"ok": True, "commit": commit}
    except InvalidInput as error:
        outcome = {"ok": False, "error": error.message}
    except Exception as error:
        outcome = {"ok": False, "error": explain(error, repo_id)}
    write_text(folder / "outcome.json", json.dumps(outcome))
    return 0 if outcome["ok"] else 1


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _download(repo_id: str, revision: str, folder: Path) -> str:
    from huggingface_hub import HfApi, hf_hub_download

    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    info = _patiently(lambda: HfApi(token=False).model_info(repo_id, revision=revision, files_metadata=True))
    listed = {s.rfilename: s.size or 0 for s in info.siblings or [] if "/" not in s.rfilename}
    _refuse_early(listed)
    commit = info.sha or revision
    options: dict[str, Any] = {"repo_id": repo_id, "revision": commit, "local_dir": files, "token": False}
    _patiently(lambda: hf_hub_download(filename="config.json", **options))
    _refuse_config(files)
    total = sum(size for name, size in listed.items() if _is_wanted(name))
    _refuse_full_disk(files, total)
    threading.Thread(target=_report_progress, args=(folder, total), daemon=True).start()
    for name in sorted(filter(_is_wanted, listed)):
        _patiently(partial(hf_hub_download, filename=name, **options))
        if (files / name).stat().st_size != listed[name]:
            raise ModelRefused(f"{name} arrived incomplete. Try again.")
    return commit


def _patiently(call: Any) -> Any:
    """Try again after a dropped connection or a “too many requests”, each time waiting twice as long."""
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(_TRIES):
        try:
            return call()
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if attempt == _TRIES - 1 or status not in (429, 500, 502, 503, 504):
                raise
        except Exception as error:
            if attempt == _TRIES - 1 or not _is_unreachable(error):
                raise
        time.sleep(float(os.environ.get("QLORA_STUDIO_HUB_WAIT_S", "2")) * 2**attempt)


def _is_unreachable(error: BaseException) -> bool:
    """Whether the network failed. Told by name: which HTTP library the client rests on changes by version."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError"})


def _refuse_early(listed: dict[str, int]) -> None:
    from qlora_studio.modelfiles.weights import why_no_weights

    names = list(listed)
    if not any(name.endswith(".safetensors") and not name.startswith("adapter_") for name in names):
        raise ModelRefused(why_no_weights(names).replace("in that folder", "in that repository"))
    if "config.json" not in names:
        raise ModelRefused(
            "There is no config.json in that repository, so it can't be told what model it is."
        )


def _refuse_config(files: Path) -> None:
    from qlora_studio.modelfiles.check import identify, parse_config
    from qlora_studio.modelfiles.json_files import read_object, strip_unsafe

    raw = read_object(files / "config.json")
    family, _architecture = identify(raw)
    parse_config(strip_unsafe(raw, "config.json")[0], family)


def _refuse_full_disk(files: Path, total: int) -> None:
    stat = os.statvfs(files)
    free = stat.f_bavail * stat.f_frsize
    if total + 100 * 2**20 > free:
        raise ModelRefused(
            f"The disk is too full: the model takes {total / 1e9:.1f} GB and {free / 1e9:.1f} GB are free."
        )


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name.endswith(_WANTED_ENDINGS) or name in _WANTED_NAMES)


def _report_progress(folder: Path, total: int) -> None:
    while True:
        done = sum(path.stat().st_size for path in _downloaded(folder / "files"))
        write_text(folder / "progress.json", json.dumps({"bytes": min(done, total), "total": total}))
        time.sleep(_POLL_S)


def _downloaded(files: Path) -> list[Path]:
    """Whole files and the pieces under way, which the library keeps in a hidden folder."""
    pieces = list(files.rglob("*.incomplete"))
    return [path for path in files.iterdir() if path.is_file()] + [path for path in pieces if path.is_file()]


def explain(error: Exception, repo_id: str) -> str:
    """Turn what the Hub's client raised into a sentence with a next step."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f"“{repo_id}” is gated: its owner wants its terms accepted first. Accept them on huggingface.co, "
            "download it yourself and register the folder by its path."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hugging Face Hub has no public model “{repo_id}”. Check the spelling."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"“{repo_id}” has no such revision."
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        if error.response.status_code == 429:
            return "The Hugging Face Hub asks to wait (too many requests). Try again in a few minutes."
        return f"The Hugging Face Hub answered with error {error.response.status_code}. Try again later."
    if isinstance(error, OSError) and getattr(error, "errno", None) == 28:
        return "The disk is full. Free some space and try again."
    if _is_unreachable(error) or isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "The Hugging Face Hub can't be reached from here. Check the connection, "
            "or download the model elsewhere and register its folder by path."
        )
    return f"The download failed ({type(error).__name__}). Try again."


if __name__ == "__main__":
    # Plain requests only, and nothing told to anybody: set before the library reads them.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(main(sys.argv[1:]))
