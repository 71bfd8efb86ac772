"""Taking a model's files in: check, clean, fingerprint; and the downloads that run beside the server.

Work that takes long runs in a thread of the server (downloads: in a process of their own that the thread
watches). The row in the database says how far it is; after a restart `recover` takes up what was under way.
"""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StorageFull, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.ingest import staging
from qlora_studio.ingest.names import staged_name
from qlora_studio.launchers.local import plain_environment
from qlora_studio.modelfiles.check import CheckedModel, check_folder
from qlora_studio.modelfiles.configs import SpectrogramConfig, WaveformConfig
from qlora_studio.modelfiles.hub import HELD_ELSEWHERE
from qlora_studio.modelfiles.names import is_wanted
from qlora_studio.modelfiles.prepare import Placement, content_hash, prepare_folder, take_fingerprints
from qlora_studio.modelfiles.roots import resolve_folder
from qlora_studio.modelfiles.sound_configs import MusicgenConfig, SpeechT5Config
from qlora_studio.storage import layout, orphans

log = logging.getLogger(__name__)
_POLL_S = 0.5
_threads: dict[str, threading.Thread] = {}


@dataclass(frozen=True)
class Intake:
    """A model folder checked and made ready. `path` is what a worker loads."""

    checked: CheckedModel
    path: Path
    fingerprints: list[dict[str, Any]]
    content_hash: str


def take_in(
    folder: Path,
    model_id: str,
    *,
    placement: Placement,
    roots: Sequence[Path] = (),
    task: Task | None = None,
) -> Intake:
    """Check a folder, for a task if one is wanted, and make the model's own folder of it.

    Raises:
        ModelRefused: it can't be trained; nothing is left behind.
        StorageFull: the disk is full; nothing is left behind.
    """
    checked = check_folder(folder, roots=roots, task=task)
    target = layout.model_path(model_id)
    try:
        prepare_folder(checked, target, placement=placement)
        fingerprints = take_fingerprints(checked, target)
        return Intake(checked, target, fingerprints, content_hash(target, fingerprints))
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        if error.errno == 28:
            raise StorageFull(
                "The disk is full. Free some space and try again; nothing was changed."
            ) from error
        raise
    except StudioError:
        shutil.rmtree(target, ignore_errors=True)
        raise


def fill_in(model: BaseAudioModel, intake: Intake) -> None:
    """Write what the check found into the row and make it ready."""
    checked = intake.checked
    model.task = checked.task
    model.architecture = checked.architecture
    model.path = str(intake.path)
    model.status = ModelStatus.READY
    model.error = None
    model.n_parameters = checked.layers.n_parameters
    model.size_bytes = model.downloaded_bytes = checked.size_bytes
    model.sample_rate = checked.processor.sample_rate
    model.max_duration_s = checked.family.max_duration_s
    model.languages = list(checked.card.languages)
    model.license = checked.card.license
    model.lora_targets = checked.layers.targets
    model.content_hash = intake.content_hash
    model.updated_at = utc_now()
    has_own_head = checked.task not in checked.family.new_heads
    model.details = {
        "family": checked.family.model_type,
        "family_label": checked.family.label,
        "hidden_size": checked.config.width,
        "n_hidden_layers": checked.n_layers,
        "vocab_size": (getattr(checked.config, "vocab_size", 0) or 0) if has_own_head else 0,
        "window_s": checked.window_s,
        "frames_per_s": _frames_per_s(checked),
        "dtypes": sorted({tensor.dtype for tensor in checked.tensors.values()}),
        "layers": checked.layers.as_details(),
        "checks": list(checked.checks),
        "dropped": list(checked.dropped)[:200],
        "warnings": checked.processor.warnings,
        "files": intake.fingerprints,
    }


def _frames_per_s(checked: CheckedModel) -> float:
    """Frames that reach the transformer for each second of sound."""
    config = checked.config
    if isinstance(config, MusicgenConfig):
        return config.frame_rate
    if isinstance(config, SpeechT5Config):
        return 62.5 / config.reduction_factor  # frames of 16 ms, several a step
    if isinstance(config, WaveformConfig):
        return checked.processor.sample_rate / math.prod(config.conv_stride)
    if isinstance(config, SpectrogramConfig):  # patches: several, one above the other, at a time
        across = 1 + (config.num_mel_bins - config.patch_size) // config.frequency_stride
        along = 1 + (config.max_length - config.patch_size) // config.time_stride
        return across * along * 100 / config.max_length
    if checked.family.model_type == "whisper":
        return 50.0
    stride = checked.processor.json_files["preprocessor_config.json"].get("stride")
    return 100 / (stride if isinstance(stride, int) and stride > 0 else 2)


def start(model_id: str) -> None:
    """Begin (or go on with) what the row says is under way, in a thread; a second call does nothing."""
    thread = _threads.get(model_id)
    if thread is not None and thread.is_alive():
        return
    thread = threading.Thread(target=run, args=(model_id,), name=f"model-{model_id}", daemon=True)
    _threads[model_id] = thread
    thread.start()


def wait(model_id: str, timeout_s: float | None = None) -> bool:
    """Wait until the thread that `start` began has ended; returns whether it has."""
    thread = _threads.get(model_id)
    if thread is None:
        return True
    thread.join(timeout_s)
    return not thread.is_alive()


def recover() -> list[str]:
    """Take up the downloads and checks that a stopped server left, and sweep folders of no model.

    Call once when the server starts. Returns the ids taken up.
    """
    with db.read() as session:
        known = set(session.exec(select(BaseAudioModel.id)))
        under_way = select(BaseAudioModel.id).where(
            col(BaseAudioModel.status).in_([ModelStatus.DOWNLOADING, ModelStatus.CHECKING])
        )
        ids = list(session.exec(under_way))
    orphans.sweep(
        layout.data_path() / "models", lambda name: name.lstrip(".").removesuffix(".partial") in known
    )
    for model_id in ids:
        start(model_id)
    return ids


def run(model_id: str) -> None:
    """Do what the row says is under way: download and check, or check. Ends with `ready` or `error`."""
    model = _find(model_id)
    if model is None or model.status not in (ModelStatus.DOWNLOADING, ModelStatus.CHECKING):
        return
    try:
        if model.status == ModelStatus.DOWNLOADING:
            intake = _download(model)
        elif model.source.get("kind") == "upload":
            intake = _take_in_upload(model)
        else:
            roots = get_settings().model_root_paths
            folder = resolve_folder(str(model.source.get("path", "")), roots)
            intake = take_in(folder, model_id, placement="link", roots=roots, task=model.task)
        if intake is not None and _update(model_id, lambda row: fill_in(row, intake)):
            staging.discard(model_id)
    except StudioError as error:
        _fail(model_id, error.message)
    except Exception:
        log.exception("taking in %s failed", model_id)
        _fail(
            model_id, "Checking the model failed unexpectedly. Try again; the server's log has the details."
        )


def _download(model: BaseAudioModel) -> Intake | None:
    """Watch the download's process; None when the row has gone or another process does it."""
    folder = layout.staging_path(model.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outcome.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "qlora_studio.modelfiles.hub"),
            *(str(model.source["repo_id"]), str(model.source.get("revision", "main")), str(folder)),
        ],
        env=plain_environment() | {"HF_HOME": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while _still_running(process):
            if not _note_progress(model.id, folder):
                return None
    finally:
        process.kill()
        process.wait()
    if process.returncode == HELD_ELSEWHERE:
        return None
    return _take_in_download(model, folder)


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _take_in_download(model: BaseAudioModel, folder: Path) -> Intake:
    outcome = _read_json(folder / "outcome.json")
    if not outcome.get("ok"):
        raise StudioError(str(outcome.get("error") or "The download stopped unexpectedly. Try again."))
    _update(model.id, lambda row: _note_commit(row, str(outcome.get("commit", ""))))
    intake = take_in((folder / "files").resolve(), model.id, placement="move", task=model.task)
    shutil.rmtree(folder, ignore_errors=True)
    return intake


def _take_in_upload(model: BaseAudioModel) -> Intake:
    """Check what was sent and move it to its place; it stays in staging as well until that has worked."""
    folder = layout.staging_path(model.id) / "named"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for item in staging.list_received(model.id):
            if item.is_complete and is_wanted(item.name):  # a second link to the same bytes
                os.link(staging.files_path(model.id) / staged_name(item.name), folder / item.name)
        return take_in(folder, model.id, placement="move", task=model.task)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _note_commit(row: BaseAudioModel, commit: str) -> None:
    row.source = {**row.source, "commit": commit}


def _note_progress(model_id: str, folder: Path) -> bool:
    progress = _read_json(folder / "progress.json")

    def change(row: BaseAudioModel) -> None:
        row.downloaded_bytes = int(progress.get("bytes", row.downloaded_bytes))
        row.size_bytes = int(progress.get("total", row.size_bytes))

    return _update(model_id, change)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _find(model_id: str) -> BaseAudioModel | None:
    with db.read() as session:
        return session.get(BaseAudioModel, model_id)


def _update(model_id: str, change: Callable[[BaseAudioModel], None]) -> bool:
    """Change the row; False when it is gone (then what belonged to it is removed)."""
    with db.write() as session:
        row = session.get(BaseAudioModel, model_id)
        if row is not None:
            change(row)
            session.add(row)
    if row is None:
        remove_files(model_id)
    return row is not None


def _fail(model_id: str, message: str) -> None:
    def change(row: BaseAudioModel) -> None:
        row.status = ModelStatus.ERROR
        row.error = message[:1000]
        row.updated_at = utc_now()

    _update(model_id, change)


def remove_files(model_id: str) -> None:
    """Remove what the studio keeps of a model; linked weights stay where they are."""
    shutil.rmtree(layout.model_path(model_id), ignore_errors=True)
    shutil.rmtree(layout.staging_path(model_id), ignore_errors=True)
