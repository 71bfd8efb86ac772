"""Downloading a model from the Hugging Face Hub, in a process of its own.

    python -m qlora_studio.modelfiles.hub REPO_ID REVISION FOLDER

writes the files into `FOLDER/files`, how far it is into `FOLDER/progress.json`, and at the end, by rename,
`FOLDER/outcome.json`. It asks for the list of files first and refuses what can't be trained before the first
large byte. It never uses this server's own credentials, and ends when the server that started it does.
"""

import fcntl
import json
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.hub import check_repo_id, check_revision, explain, patiently
from qlora_studio.modelfiles.names import is_wanted
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.storage.atomic import write_text

HELD_ELSEWHERE = 3  # the exit code when another process downloads into the same folder
_POLL_S = 0.5


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
        outcome = {"ok": False, "error": explain(error, repo_id, "model")}
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
    info = patiently(lambda: HfApi(token=False).model_info(repo_id, revision=revision, files_metadata=True))
    listed = {s.rfilename: s.size or 0 for s in info.siblings or [] if "/" not in s.rfilename}
    _refuse_early(listed)
    commit = info.sha or revision
    options: dict[str, Any] = {"repo_id": repo_id, "revision": commit, "local_dir": files, "token": False}
    patiently(lambda: hf_hub_download(filename="config.json", **options))
    _refuse_config(files)
    total = sum(size for name, size in listed.items() if is_wanted(name))
    _refuse_full_disk(files, total)
    threading.Thread(target=_report_progress, args=(folder, total), daemon=True).start()
    for name in sorted(filter(is_wanted, listed)):
        patiently(partial(hf_hub_download, filename=name, **options))
        if (files / name).stat().st_size != listed[name]:
            raise ModelRefused(f"{name} arrived incomplete. Try again.")
    return commit


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
    family = identify(raw)[0]
    parse_config(strip_unsafe(raw, "config.json")[0], family)


def _refuse_full_disk(files: Path, total: int) -> None:
    stat = os.statvfs(files)
    free = stat.f_bavail * stat.f_frsize
    if total + 100 * 2**20 > free:
        raise ModelRefused(
            f"The disk is too full: the model takes {total / 1e9:.1f} GB and {free / 1e9:.1f} GB are free."
        )


def _report_progress(folder: Path, total: int) -> None:
    while True:
        done = sum(path.stat().st_size for path in _downloaded(folder / "files"))
        write_text(folder / "progress.json", json.dumps({"bytes": min(done, total), "total": total}))
        time.sleep(_POLL_S)


def _downloaded(files: Path) -> list[Path]:
    """Whole files and the pieces under way, which the library keeps in a hidden folder."""
    pieces = list(files.rglob("*.incomplete"))
    return [path for path in files.iterdir() if path.is_file()] + [path for path in pieces if path.is_file()]


if __name__ == "__main__":
    # Plain requests only, and nothing told to anybody: set before the library reads them.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(main(sys.argv[1:]))
