"""Take a version of a dataset out: as folders that other libraries read, or as a table.

`audiofolder` is what `datasets.load_dataset("audiofolder")` and our own taking-in read: a folder for each
split with a `metadata.jsonl`. It is JSON and not CSV, because a text that begins like a formula has to be
changed to be safe in a spreadsheet, and words to train on must stay as they are.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, Split, Task
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import Conflict
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import history
from qlora_studio.ingest.history import PastClip
from qlora_studio.jobs import run_files
from qlora_studio.services.access import Action
from qlora_studio.services.adapters import file_name
from qlora_studio.services.datasets import get_dataset
from qlora_studio.storage import layout
from qlora_studio.storage.exports import Entry, stream_zip
from qlora_studio.storage.spreadsheets import csv_lines, inert

_LABELS = ("text", "label", "speaker")
_COLUMNS = ("file_name", *_LABELS, "split", "duration_s", "sample_rate", "sha256")
_ROW_BYTES = 200  # of a table's row, without its words
_AT_ONCE = 500  # rows of a table sent at a time
_SUFFIXES = {
    b"RIFF": ".wav",
    b"RF64": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"FORM": ".aiff",
    b".snd": ".au",
    b"caff": ".caf",
    b"ID3": ".mp3",
    b"\xff": ".mp3",
}


class ExportFormat(StrEnum):
    AUDIOFOLDER = "audiofolder"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class Export:
    """A download: its name, its media type and its bytes, made as they are taken."""

    name: str
    media_type: str
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class Recipe:
    """How to train on an unpacked audiofolder: a job's YAML beside it and the commands."""

    name: str
    yaml: str
    command: str
    python: str


@dataclass(frozen=True)
class Estimate:
    """What a download would hold, and about how many bytes it would have."""

    version: int
    n_clips: int
    size_bytes: int


@dataclass(frozen=True)
class _Content:
    dataset: Dataset
    number: int
    clips: list[PastClip]


def stream(
    session: Session, *, actor: User, dataset_id: str, format: ExportFormat, version: int | None = None
) -> Export:
    """Return a version's clips in use as a download. The session may end before it is taken.

    Raises:
        NotFound: the dataset isn't the actor's, or there is no such version.
        Conflict: it isn't ready.
    """
    dataset = _ready(session, actor, dataset_id)
    number = dataset.version if version is None else version
    content = _Content(dataset, number, history.clips_at(session, dataset, number))
    suffix, media_type, write = _WRITERS[format]
    return Export(_stem(dataset, number) + suffix, media_type, write(content))


def recipe(session: Session, *, actor: User, dataset_id: str, version: int | None = None) -> Recipe:
    """Return the commands that unpack an audiofolder and train on it.

    Raises:
        NotFound: the dataset isn't the actor's, or there is no such version.
        Conflict: it isn't ready.
    """
    dataset = _ready(session, actor, dataset_id)
    number = dataset.version if version is None else version
    history.contents_since(session, dataset, number)
    return _recipe(dataset, number)


def estimate(
    session: Session, *, actor: User, dataset_id: str, format: ExportFormat, version: int | None = None
) -> Estimate:
    """Return what `stream` would give, without making it.

    Raises:
        NotFound: the dataset isn't the actor's, or there is no such version.
        Conflict: it isn't ready.
    """
    dataset = _ready(session, actor, dataset_id)
    number = dataset.version if version is None else version
    clips = history.clips_at(session, dataset, number)
    size_bytes = sum(_ROW_BYTES + len(clip.text or "") for clip in clips)
    if format is ExportFormat.AUDIOFOLDER:
        size_bytes += sum(clip.size_bytes for clip in clips)
    return Estimate(number, len(clips), size_bytes)


def _ready(session: Session, actor: User, dataset_id: str) -> Dataset:
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    return dataset


def _recipe(dataset: Dataset, number: int) -> Recipe:
    stem = _stem(dataset, number)
    spec = TrainSpec(name=dataset.name, dataset_id=stem, model_id="starter")
    return Recipe(
        name=f"{stem}.yaml",
        yaml=run_files.to_yaml(spec),
        command=f"unzip {stem}.zip -d {stem} && qlora-studio train {stem}.yaml",
        python=f'datasets.load_dataset("audiofolder", data_dir="{stem}")',
    )


def _stem(dataset: Dataset, number: int) -> str:
    return f"{file_name(dataset.name, instead='dataset')}-v{number}"


def _write_audiofolder(content: _Content) -> Iterator[bytes]:
    """A folder for each split, with its own table: readers look for it beside the recordings."""
    used = [key for key in _LABELS if any(getattr(clip, key) is not None for clip in content.clips)]
    entries = [Entry("README.md", _readme(content).encode())]
    named = list(zip(_names(content.clips), content.clips, strict=True))
    for split in Split:
        here = [(name, clip) for name, clip in named if clip.split is split]
        rows = ({"file_name": name} | {key: getattr(clip, key) for key in used} for name, clip in here)
        if here:
            entries.append(Entry(f"{split.value}/metadata.jsonl", _lines(rows)))
        entries += [Entry(f"{split.value}/{name}", layout.blob_path(clip.sha256)) for name, clip in here]
        if content.dataset.task is Task.SPEAKER_DIARIZATION:  # its text is RTTM, which is read from files
            segments = [(PurePosixPath(name).stem, clip.text) for name, clip in here if clip.text]
            entries += [Entry(f"{split.value}/{stem}.rttm", text.encode()) for stem, text in segments]
    yield from stream_zip(entries)


def _write_jsonl(content: _Content) -> Iterator[bytes]:
    yield from _lines(_rows(content))


def _write_csv(content: _Content) -> Iterator[bytes]:
    """A table for people. Cells that a spreadsheet would run get a ' in front."""
    yield csv_lines([_COLUMNS])
    batch: list[list[object]] = []
    for row in _rows(content):
        batch.append([inert(row[name]) for name in _COLUMNS])
        if len(batch) >= _AT_ONCE:
            yield csv_lines(batch)
            batch = []
    yield csv_lines(batch)


_WRITERS: dict[ExportFormat, tuple[str, str, Callable[[_Content], Iterator[bytes]]]] = {
    ExportFormat.AUDIOFOLDER: (".zip", "application/zip", _write_audiofolder),
    ExportFormat.JSONL: (".jsonl", "application/x-ndjson", _write_jsonl),
    ExportFormat.CSV: (".csv", "text/csv; charset=utf-8", _write_csv),
}


def _rows(content: _Content) -> Iterator[dict[str, object]]:
    for clip in content.clips:
        values = asdict(clip) | {"file_name": clip.filename, "split": clip.split.value}
        yield {name: values[name] for name in _COLUMNS}


def _lines(rows: Iterable[dict[str, object]]) -> Iterator[bytes]:
    batch: list[str] = []
    for row in rows:
        batch.append(json.dumps(row, ensure_ascii=False) + "\n")
        if len(batch) >= _AT_ONCE:
            yield "".join(batch).encode()
            batch = []
    yield "".join(batch).encode()


def _names(clips: Iterable[PastClip]) -> Iterator[str]:
    """A name for each clip that is safe on any disk, tells what it was called, and what sound it holds."""
    for number, clip in enumerate(clips, 1):
        stem = file_name(PurePosixPath(clip.filename).stem, instead="clip")[:60]
        yield f"{number:06d}-{stem}{_suffix(clip)}"


def _suffix(clip: PastClip) -> str:
    """By the bytes, since a name may lie and readers go by it."""
    with layout.blob_path(clip.sha256).open("rb") as file:
        start = file.read(4)
    return next((suffix for magic, suffix in _SUFFIXES.items() if start.startswith(magic)), ".wav")


def _readme(content: _Content) -> str:
    dataset, number = content.dataset, content.number
    how = _recipe(dataset, number)
    seconds = sum(clip.duration_s for clip in content.clips)
    name = " ".join(dataset.name.split()).replace("`", "'")
    return (
        f"# {name}, version {number}\n\n"
        f"{len(content.clips):,} clips, {seconds / 60:.1f} minutes, for {dataset.task.value}. "
        "The folders are the splits; `metadata.jsonl` has the words, classes and speakers.\n\n"
        f"```python\nimport datasets\n\ndata = {how.python}\n```\n\n"
        f"To train on it, save this beside this folder and call `qlora-studio train {how.name}`:\n\n"
        f"```yaml\n{how.yaml}```\n"
    )
