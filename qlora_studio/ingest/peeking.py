"""Find a dataset's files without taking them in: names of recordings, and the labels themselves."""

from itertools import islice
from pathlib import Path, PurePosixPath

from qlora_studio.core.settings import Settings
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import archives, parquet, staging
from qlora_studio.ingest.matching import LABEL_SUFFIXES, StagedFile, not_sound_reason
from qlora_studio.ingest.names import clean_name, staged_name
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.ingest.sources import (
    archive_limits,
    copied,
    unusable_reason,
    walk,
    without_top_folder,
    zip_prefix,
)


def peek(dataset: Dataset, scratch: Path, settings: Settings, *, max_files: int) -> list[StagedFile]:
    """The files that an ingest would find, at most `max_files`; labels are copied or unpacked into `scratch`.

    Raises:
        SourceRefused: the folder isn't there any more, or may not be used.
    """
    if dataset.source.get("kind") == "folder":
        return _in_folder(Path(dataset.source["path"]), scratch, settings, max_files)
    received = staging.list_received(dataset.id)
    n_zips = sum(item.name.lower().endswith(".zip") for item in received)
    files: list[StagedFile] = []
    for item in received:
        if len(files) >= max_files:
            break
        path = staging.files_path(dataset.id) / staged_name(item.name)
        if (reason := unusable_reason(item, path)) is not None:
            files.append(StagedFile(item.name, None, reason))
        elif archives.kind_of(path) is not None:
            files += _in_zip(item.name, path, scratch, zip_prefix(item.name, n_zips), settings)
        else:
            files += _one(item.name, path, scratch, max_files)
    return without_top_folder(files)[:max_files]


def _in_zip(name: str, path: Path, scratch: Path, prefix: str, settings: Settings) -> list[StagedFile]:
    try:
        found = archives.look(
            path,
            lambda inner: scratch / staged_name(prefix + inner),
            limits=archive_limits(settings),
            wanted=_is_label_file,
        )
    except archives.ArchiveRefused as refusal:
        return [StagedFile(name, None, f"Archive refused: {refusal}")]
    return [StagedFile(prefix + inner, place) for inner, place in found]


def _in_folder(folder: Path, scratch: Path, settings: Settings, max_files: int) -> list[StagedFile]:
    roots, real = settings.dataset_root_paths, folder.resolve()
    if not real.is_dir() or not any(real.is_relative_to(root) for root in roots):
        raise SourceRefused("The folder isn't there any more, or isn't under a folder that may be used.")
    files: list[StagedFile] = []
    left = archives.LOOK_BYTES
    for path in islice(walk(real), max_files):
        name = clean_name(str(path.relative_to(real)))
        if (reason := not_sound_reason(name)) is not None:
            files.append(StagedFile(name, None, reason))
        elif _is_label_file(name):
            file, count = copied(path, name, roots, scratch, left)
            left -= count
            files.append(file)
        elif path.is_symlink():
            files.append(StagedFile(name, path))  # what it leads to is looked at when it is taken in
        else:
            files += _one(name, path, scratch, max_files)
    return files[:max_files]


def _one(name: str, path: Path, scratch: Path, max_files: int) -> list[StagedFile]:
    if not name.lower().endswith(".parquet") or not parquet.is_parquet(path, name):
        return [StagedFile(name, path)]
    try:
        return parquet.look(path, name, scratch / staged_name(f"{name}/table"), max_rows=max_files)
    except parquet.ParquetRefused as refusal:
        return [StagedFile(name, None, f"Parquet refused: {refusal}")]


def _is_label_file(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in LABEL_SUFFIXES
