"""What the server puts into a run folder: the clips and the config at launch, the spec at each start."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.contracts.spec import ClipItem, PairItem, TrainSpec, WorkerSpec
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import BaseAudioModel, Dataset, Job
from qlora_studio.storage import atomic, layout


def write_run(job_id: str, *, spec: TrainSpec, clips: Iterable[ClipItem | PairItem]) -> dict[Split, int]:
    """Write `clips.jsonl` and `config.yaml`, synced, and return the number of clips (or pairs) by split.

    Raises:
        OSError: the disk is full; the half-written files are gone.
    """
    folder = layout.run_path(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    counts = write_clips(folder / "clips.jsonl", clips)
    write_config(job_id, spec=spec)
    return counts


def link_inputs(job_id: str, *, like: str) -> None:
    """Give a run the clips of another one that was written a moment ago, and the adapter that it starts from.

    They are links where there are links: nobody writes to these files again.

    Raises:
        OSError: the disk is full.
    """
    folder, source = layout.run_path(job_id), layout.run_path(like)
    folder.mkdir(parents=True, exist_ok=True)
    _link(source / "clips.jsonl", folder / "clips.jsonl")
    if not (source / layout.START).is_dir():
        return
    target = folder / layout.START
    target.mkdir()
    for path in (source / layout.START).iterdir():
        _link(path, target / path.name)
    atomic.sync_folder(target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb+") as file:
            os.fsync(file.fileno())


def write_config(job_id: str, *, spec: TrainSpec) -> None:
    """Write `config.yaml`, synced, after the clips.

    Raises:
        OSError: the disk is full.
    """
    folder = layout.run_path(job_id)
    atomic.write_text(folder / "config.yaml", to_yaml(spec))
    atomic.sync_folder(folder.parent)


def copy_start(source: Path, run_path: Path) -> None:
    """Copy the adapter that a job starts from into its run, synced: it may be deleted or renewed meanwhile.

    Raises:
        OSError: it is not there, or the disk is full.
    """
    target = run_path / layout.START
    target.mkdir(parents=True, exist_ok=True)
    for name in layout.START_FILES:
        if name == layout.START_FILES[-1] and not (source / name).is_file():
            continue  # what only our own adapters have
        shutil.copyfile(source / name, target / name)
        with (target / name).open("rb+") as file:
            os.fsync(file.fileno())
    atomic.sync_folder(target)


def to_yaml(spec: TrainSpec) -> str:
    """The spec as the YAML that `qlora-studio train` takes."""
    data = spec.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def write_attempt(job: Job, *, model: BaseAudioModel, dataset: Dataset, cards: Sequence[str] = ()) -> Path:
    """Write the attempt's `spec.json` and return its folder.

    Args:
        cards: the CUDA devices that are the job's.
    """
    spec = describe(
        job.id,
        train=TrainSpec.model_validate(job.spec),
        model=model,
        dataset=dataset,
        run_path=layout.run_path(job.id),
        attempt=job.attempt,
    )
    # Of what it was launched with, whatever the dataset is now.
    launched = {
        "dataset_version": job.dataset_version,
        "dataset_hash": job.dataset_hash,
        "cards": list(cards),
    }
    spec = spec.model_copy(update=launched)
    atomic.write_text(spec.attempt_path / "spec.json", spec.model_dump_json(indent=2) + "\n")
    return spec.attempt_path


def describe(
    job_id: str, *, train: TrainSpec, model: BaseAudioModel, dataset: Dataset, run_path: Path, attempt: int
) -> WorkerSpec:
    """What a worker is told: the spec with the paths of model and run."""
    return WorkerSpec(
        job_id=job_id,
        attempt=attempt,
        task=dataset.task,
        train=train,
        model_path=Path(model.path),
        model_hash=model.content_hash,
        dataset_version=dataset.version,
        dataset_hash=dataset.content_hash,
        clips_path=run_path / "clips.jsonl",
        run_path=run_path,
        attempt_path=run_path / f"attempt-{attempt}",
        resume=attempt > 1,
        start_path=run_path / layout.START if train.start_adapter_id else None,
        clap_path=get_settings().clap_model_path if dataset.task is Task.TEXT_TO_AUDIO else None,
    )


def write_clips(path: Path, clips: Iterable[ClipItem | PairItem]) -> dict[Split, int]:
    """Write a `clips.jsonl`, synced, and return the number of clips (or pairs) by split.

    Raises:
        OSError: the disk is full; the half-written file is gone.
    """
    counts = dict.fromkeys(Split, 0)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for clip in clips:
                counts[clip.split] += 1
                file.write(clip.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return counts
