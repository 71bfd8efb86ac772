"""Bring a dataset that came from feedback up to date: the same filter, asked again."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus
from qlora_studio.core.errors import Conflict, InvalidInput, TooLarge
from qlora_studio.core.ids import new_id
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.ingest import launching, staging, updating
from qlora_studio.ingest.preferences import MARK, MAX_LABEL
from qlora_studio.services import access, audit, dataset_sources, feedback_rows
from qlora_studio.services.datasets import get_dataset
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.services.feedback_rows import Chosen, Recording

NO_LONGER = "No longer found by the filter"  # why an update has left a clip out
_BY_HAND = "Left out by hand"
_TAKE = re.compile(r"(take_\w+?)(?:-(\d+))?\.wav")

Row = tuple[str, ...]  # a take, or the better and the worse one


class FeedbackUpdate(BaseModel):
    """What bringing a dataset up to date would do: rows that come, go and stay, and how many it then has.

    `n_left_out` rows are found as well, but somebody has left their takes out of the dataset.
    """

    n_added: int
    n_removed: int
    n_kept: int
    n_left_out: int
    n_rows: int
    is_up_to_date: bool
    message: str


@dataclass
class _Change:
    """Rows by what becomes of them, and the clips that this changes or adds."""

    added: list[Chosen] = field(default_factory=list)
    n_removed: int = 0
    n_kept: int = 0
    n_left_out: int = 0
    edits: dict[str, dict[str, Any]] = field(default_factory=dict)
    recordings: list[Recording] = field(default_factory=list)


def preview(session: Session, *, actor: User, dataset_id: str) -> FeedbackUpdate:
    """Say what an update would do now.

    Raises:
        NotFound: the dataset isn't the actor's.
        InvalidInput: it doesn't come from feedback.
        Conflict: it isn't ready.
    """
    dataset = _of_feedback(session, actor, dataset_id)
    return _told(dataset, _compare(session, dataset, _rows(session, actor, dataset)))


def start(session: Session, *, actor: User, dataset_id: str) -> Dataset:
    """Bring a dataset up to date, as its next version; nothing happens to one that is.

    Takes that are new are decoded first, in a process of their own; until then the dataset is `processing`.

    Raises:
        Forbidden: the actor's role may only look.
        NotFound: the dataset isn't the actor's.
        InvalidInput: it doesn't come from feedback, or a take's file is gone.
        Conflict: it isn't ready, or no row would be left.
        TooLarge: the new takes are more than the actor may still keep, or too many.
    """
    access.require_role(actor, of="dataset")
    dataset = _of_feedback(session, actor, dataset_id)
    session.refresh(dataset, with_for_update=True)  # a second click waits here
    _check_ready(dataset)
    rows = _rows(session, actor, dataset)
    change = _compare(session, dataset, rows)
    if not change.added and not change.n_removed:
        return dataset
    _check(session, actor, dataset, change, rows)
    told = _told(dataset, change)
    order = _order(actor, dataset, change, rows)
    audit.record(
        session,
        actor=actor,
        action="dataset.update_from_feedback",
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
        details=told.model_dump(include={"n_added", "n_removed", "n_rows"}),
    )
    if not change.recordings:
        updating.apply(session, dataset, order, [])
        updating.end(dataset)
        session.add(dataset)
        return dataset
    staging.discard(dataset.id)
    feedback_rows.stage_recordings(dataset.id, change.recordings)
    updating.write(dataset.id, order)
    dataset.source = dataset.source | {updating.UNDER_WAY: order["id"]}
    dataset.status, dataset.progress_done, dataset.progress_total = (
        DatasetStatus.PROCESSING,
        0,
        len(change.recordings),
    )
    session.add(dataset)
    after_commit(session, lambda: launching.launch(dataset_id))
    return dataset


def _of_feedback(session: Session, actor: User, dataset_id: str) -> Dataset:
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.source.get("kind") != "feedback":
        raise InvalidInput("This dataset doesn't come from feedback, so there is nothing to ask again.")
    _check_ready(dataset)
    return dataset


def _check_ready(dataset: Dataset) -> None:
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")


def _check(session: Session, actor: User, dataset: Dataset, change: _Change, rows: list[Chosen]) -> None:
    if not change.added and not change.n_kept:
        raise Conflict(f"No row would be left: there are no {_filter(dataset).describe()} any more.")
    if len(rows) > feedback_rows.MOST_ROWS:
        raise TooLarge(
            f"There are {len(rows):,} rows; at most {feedback_rows.MOST_ROWS:,} go into a dataset."
        )
    sizes = {file[0]: file[2] for _, file, _ in change.recordings}
    if sum(sizes.values()) > dataset_sources.left_bytes(session, actor=actor):
        raise TooLarge("The new takes are more than your space holds. Delete datasets, or takes.")


def _filter(dataset: Dataset) -> FeedbackFilter:
    return FeedbackFilter.model_validate(dataset.source.get("filter") or {})


def _rows(session: Session, actor: User, dataset: Dataset) -> list[Chosen]:
    return feedback_rows.find(session, actor=actor, wanted=_filter(dataset))


def _order(actor: User, dataset: Dataset, change: _Change, rows: list[Chosen]) -> dict[str, Any]:
    n_rows = change.n_kept + len(change.added)
    parts = [f"{len(change.added):,} added"] * bool(change.added)
    parts += [f"{change.n_removed:,} left out"] * bool(change.n_removed)
    return {
        "id": new_id("upd"),
        "edits": change.edits,
        "summary": f"Updated from feedback: {', '.join(parts)}",
        "actor_id": actor.id,
        "source": {
            "rows_hash": feedback_rows.digest_of(_filter(dataset), rows),
            "n_rows": n_rows,
            "models": sorted({row.model_id for row in rows}),
        },
    }


def _told(dataset: Dataset, change: _Change) -> FeedbackUpdate:
    n_added, n_rows = len(change.added), change.n_kept + len(change.added)
    what = "pairs" if _filter(dataset).target == "pairs" else "takes"
    left_out = f" {change.n_left_out:,} more stay out: you have left their takes out." * bool(
        change.n_left_out
    )
    if not n_added and not change.n_removed:
        message = f"Nothing to do: the dataset has all {n_rows:,} {what} that its filter finds.{left_out}"
    else:
        message = (
            f"{n_added:,} {what} come, {change.n_removed:,} go, {change.n_kept:,} stay: "
            f"{n_rows:,} in version {dataset.version + 1}.{left_out}"
        )
    return FeedbackUpdate(
        n_added=n_added,
        n_removed=change.n_removed,
        n_kept=change.n_kept,
        n_left_out=change.n_left_out,
        n_rows=n_rows,
        is_up_to_date=not n_added and not change.n_removed,
        message=message,
    )


def _compare(session: Session, dataset: Dataset, rows: list[Chosen]) -> _Change:
    query = select(Clip).where(Clip.dataset_id == dataset.id).order_by(col(Clip.position))
    clips = list(session.exec(query))
    is_pairs = _filter(dataset).target == "pairs"
    return _compare_pairs(clips, rows) if is_pairs else _compare_takes(clips, rows)


def _is_kept_out(clip: Clip) -> bool:
    """Whether somebody, or the decoder, has left a clip out, so that no update takes it back."""
    if clip.status is ClipStatus.REJECTED:
        return True
    return clip.status is ClipStatus.EXCLUDED and (clip.exclusion_id is not None or clip.reason == _BY_HAND)


def _compare_takes(clips: Iterable[Clip], rows: Iterable[Chosen]) -> _Change:
    wanted = {row.better[0]: row for row in rows}
    change = _Change()
    for clip in clips:
        row = wanted.pop(_take_of(clip), None)
        if _is_kept_out(clip):
            change.n_left_out += row is not None
        elif row is None and clip.status is ClipStatus.OK:
            change.n_removed += 1
            change.edits[clip.id] = _out()
        elif row is not None and clip.status is ClipStatus.OK:
            change.n_kept += 1
        elif row is not None:
            change.added.append(row)
            change.edits[clip.id] = _in()
    for take_id, row in wanted.items():
        change.added.append(row)
        fields = {"text": row.prompt}
        change.recordings.append((feedback_rows.copy_name(take_id, 1), row.better, fields))
    return change


def _compare_pairs(clips: list[Clip], rows: Iterable[Chosen]) -> _Change:
    """Pairs keep their numbers, so that a version differs from the one before only in what has changed."""
    wanted = {_pair_of(row): row for row in rows}
    blocked = {_take_of(clip) for clip in clips if _is_kept_out(clip)}
    numbers = _numbers(clip for clip in clips if _is_kept_out(clip) or clip.status is ClipStatus.OK)
    there = {pair: number for number, pair in numbers.items()}
    change = _Change()
    for pair in there:
        if not blocked.isdisjoint(pair):
            continue
        change.n_kept += pair in wanted
        change.n_removed += pair not in wanted
    new: dict[int, Chosen] = {}
    next_number = max((n for clip in clips for n, _ in _marks(clip)), default=0) + 1
    for pair, row in wanted.items():
        if not blocked.isdisjoint(pair):
            change.n_left_out += 1
        elif pair not in there:
            new[next_number] = row
            next_number += 1
    change.added = list(new.values())
    stay = {number for number, pair in numbers.items() if pair in wanted}
    _relabel(change, clips, stay, new)
    return change


def _relabel(change: _Change, clips: Iterable[Clip], stay: set[int], new: Mapping[int, Chosen]) -> None:
    """Take marks of pairs that go off, and put those of pairs that come on clips with room, or new ones."""
    labels: dict[str, str] = {}  # by clip: the marks that stay
    places: dict[str, list[Clip]] = {}
    for clip in clips:
        is_used = clip.status is ClipStatus.OK or _is_kept_out(clip)
        marks = [f"{n}{sign}" for n, sign in _marks(clip) if n in stay] if is_used else []
        labels[clip.id] = " ".join(marks)
        if not _is_kept_out(clip):
            places.setdefault(_take_of(clip), []).append(clip)
    fresh: dict[str, list[Recording]] = {}
    for number, row in new.items():
        for file, sign in zip(feedback_rows.files_of(row), "+-", strict=True):
            mark = f"{number}{sign}"
            here = places.get(file[0], [])
            place = next((c for c in here if len(labels[c.id]) + 1 + len(mark) <= MAX_LABEL), None)
            if place is not None:
                labels[place.id] = f"{labels[place.id]} {mark}".strip()
                continue
            made = fresh.setdefault(file[0], [])
            if made and len(made[-1][2]["label"]) + 1 + len(mark) <= MAX_LABEL:
                made[-1][2]["label"] += f" {mark}"
            else:
                name = feedback_rows.copy_name(file[0], len(here) + len(made) + 1)
                made.append((name, file, {"text": row.prompt, "label": mark}))
    change.recordings = [recording for made in fresh.values() for recording in made]
    for clip in clips:
        label = labels[clip.id] or None
        if label == (clip.label or None) and (clip.status is ClipStatus.OK or _is_kept_out(clip)):
            continue
        if label is not None:
            change.edits[clip.id] = {"label": label} | ({} if _is_kept_out(clip) else _in())
        elif clip.status is ClipStatus.OK:
            change.edits[clip.id] = {"label": None} | _out()


def _numbers(clips: Iterable[Clip]) -> dict[int, Row]:
    """By number the takes of each whole pair."""
    halves: dict[int, dict[str, str]] = {}
    for clip in clips:
        for number, sign in _marks(clip):
            halves.setdefault(number, {})[sign] = _take_of(clip)
    return {number: (half["+"], half["-"]) for number, half in halves.items() if len(half) == 2}


def _marks(clip: Clip) -> list[tuple[int, str]]:
    found = (MARK.fullmatch(mark) for mark in (clip.label or "").split())
    return [(int(mark[1]), mark[2]) for mark in found if mark is not None]


def _take_of(clip: Clip) -> str:
    found = _TAKE.fullmatch(clip.filename)
    return found[1] if found else clip.filename


def _pair_of(row: Chosen) -> Row:
    return tuple(file[0] for file in feedback_rows.files_of(row))


def _out() -> dict[str, Any]:
    return {"status": ClipStatus.EXCLUDED.value, "reason": NO_LONGER, "exclusion_id": None}


def _in() -> dict[str, Any]:
    return {"status": ClipStatus.OK.value, "reason": None, "exclusion_id": None}
