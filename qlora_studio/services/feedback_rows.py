"""The takes that people rated or compared, put where a dataset takes its files in."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.core.errors import InvalidInput, TooLarge
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import staging
from qlora_studio.ingest.preferences import MAX_LABEL
from qlora_studio.services import dataset_sources, feedback_filter
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.storage import atomic, layout

MOST_ROWS = 20_000
TABLE = "metadata.jsonl"


File = tuple[str, str, int]  # take, generation, bytes
Recording = tuple[str, File, dict[str, Any]]  # file name, file, what the table says of it


class FeedbackPreview(BaseModel):
    """How many rows a dataset would have: takes, or pairs."""

    n_rows: int
    n_takes: int
    n_prompts: int
    model_ids: list[str]


class Chosen(BaseModel):
    """A row: a take, and for a pair the one that is worse."""

    prompt: str
    model_id: str
    better: File
    worse: File | None


def preview(session: Session, *, actor: User, wanted: FeedbackFilter) -> FeedbackPreview:
    """Say what a dataset with this filter would be made of now."""
    rows = find(session, actor=actor, wanted=wanted)
    return FeedbackPreview(
        n_rows=len(rows),
        n_takes=len({file[0] for row in rows for file in files_of(row)}),
        n_prompts=len({row.prompt for row in rows}),
        model_ids=sorted({row.model_id for row in rows}),
    )


def choose(session: Session, *, actor: User, wanted: FeedbackFilter) -> list[Chosen]:
    """Return the rows that a dataset is to be made of.

    Raises:
        InvalidInput: there are none, or more than a dataset may have.
        TooLarge: their files are more than the actor may still keep.
    """
    rows = find(session, actor=actor, wanted=wanted)
    if not rows:
        raise _wrong(f"There are no {wanted.describe()} yet. Rate or compare takes, or ask for less.")
    if len(rows) > MOST_ROWS:
        raise _wrong(f"There are {len(rows):,} rows; at most {MOST_ROWS:,} go into a dataset. Ask for fewer.")
    sizes = {file[0]: file[2] for row in rows for file in files_of(row)}
    if sum(sizes.values()) > dataset_sources.left_bytes(session, actor=actor):
        raise TooLarge("These takes are more than your space holds. Ask for fewer, or delete datasets.")
    return rows


def find_same(session: Session, *, actor: User, name: str, digest: str) -> Dataset | None:
    """The actor's dataset of this name that was made of the same rows, so that none is made twice."""
    mine = select(Dataset).where(Dataset.owner_id == actor.id, Dataset.name == name)
    for dataset in session.exec(mine.where(col(Dataset.status) != DatasetStatus.ERROR)):
        if dataset.source.get("rows_hash") == digest:
            return dataset
    return None


def digest_of(wanted: FeedbackFilter, rows: Iterable[Chosen]) -> str:
    """A name for these rows, found by this filter."""
    seen = hashlib.sha256(wanted.model_dump_json().encode())
    for row in rows:
        seen.update("\t".join(file[0] for file in files_of(row)).encode() + b"\n")
    return seen.hexdigest()


def stage(dataset_id: str, rows: Sequence[Chosen]) -> None:
    """Put the rows' files and their table in staging; see `stage_recordings`."""
    stage_recordings(dataset_id, _recordings(rows))


def stage_recordings(dataset_id: str, recordings: Sequence[Recording]) -> None:
    """Put takes' files and their table in staging. They share the takes' bytes.

    Raises:
        InvalidInput: a take's file is gone.
        OSError: the disk is full.
    """
    folder = staging.chosen_path(dataset_id)
    try:
        folder.mkdir(parents=True)
        for name, file, _ in recordings:
            _link(layout.take_path(file[1], file[0]), folder / name)
        lines = (json.dumps({"file": name, **fields}) for name, _, fields in recordings)
        atomic.write_text(folder / TABLE, "".join(f"{line}\n" for line in lines))  # syncs the folder too
    except BaseException:
        staging.discard(dataset_id)
        raise


def _link(take: Path, link: Path) -> None:
    try:
        os.link(take, link)
    except FileNotFoundError:
        raise _wrong(f"The sound of {take.stem} is gone from the disk. Delete its generation.") from None
    except OSError:  # no links here
        shutil.copyfile(take, link)


def _recordings(rows: Sequence[Chosen]) -> list[Recording]:
    """File name, file, and what the table says of it.

    A take that is in more pairs than its label holds marks for is there several times, with some each.
    """
    found: dict[str, Recording] = {}
    latest: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.worse is None:
            name = f"{row.better[0]}.wav"
            found[name] = (name, row.better, {"text": row.prompt})
            continue
        for file, sign in ((row.better, "+"), (row.worse, "-")):
            copy = latest.setdefault(file[0], 1)
            name = copy_name(file[0], copy)
            mark = f"{number}{sign}"
            label = f"{found[name][2]['label']} {mark}" if name in found else mark
            if len(label) > MAX_LABEL:
                latest[file[0]] = copy + 1
                name, label = copy_name(file[0], copy + 1), mark
            found[name] = (name, file, {"text": row.prompt, "label": label})
    return list(found.values())


def copy_name(take_id: str, copy: int) -> str:
    """The file of a take's so manieth place in a dataset."""
    return f"{take_id}.wav" if copy == 1 else f"{take_id}-{copy}.wav"


def find(session: Session, *, actor: User, wanted: FeedbackFilter) -> list[Chosen]:
    """The rows that there are now."""
    query = feedback_filter.rows_query(session, actor=actor, wanted=wanted)
    return [
        Chosen(
            prompt=prompt,
            model_id=model_id,
            better=tuple(better),
            worse=tuple(worse) if worse else None,  # type: ignore[arg-type]
        )
        for *better, prompt, model_id, worse in (
            (*row[:3], row[3], row[4], row[5:]) for row in session.execute(query)
        )
    ]


def files_of(row: Chosen) -> list[File]:
    """A row's one or two files."""
    return [row.better] if row.worse is None else [row.better, row.worse]


def _wrong(message: str) -> InvalidInput:
    return InvalidInput(message, fields={"source.filter": message})


def list_made(session: Session, *, actor: User, limit: int = 100) -> list[Dataset]:
    """The actor's datasets from feedback, the newest first."""
    kind = col(Dataset.source)["kind"].as_string()
    made = select(Dataset).where(Dataset.owner_id == actor.id, kind == "feedback")
    return list(session.exec(made.order_by(col(Dataset.created_at).desc()).limit(limit)))
