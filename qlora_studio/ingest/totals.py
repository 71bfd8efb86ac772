"""Counts, version and content hash of a dataset: counted from all its clips, or kept up with each change.

The content hash is a multiset hash: the sum, modulo 2**256, of a SHA-256 for each usable or left out clip
(after Clarke et al. 2003, "Incremental multiset hash functions"). So the order of clips doesn't matter, and
one changed clip costs one subtraction and one addition, however many clips there are. It names a content;
it is no seal against somebody who searches for a second content with the same sum.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, update
from sqlmodel import Session, col, delete, select

from qlora_studio.contracts.enums import ClipStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import Clip, ClipChange, Dataset, DatasetVersion

CONTENT = ("sha256", "text", "label", "speaker", "split", "status")
_BESIDE = ("reason", "exclusion_id")  # changed along with the content, but no part of it
_MODULUS = 2**256
_FEW = 500  # so many ids are asked for by name; for more the dataset's clips are read in one go
_COLUMNS = [getattr(Clip, name) for name in CONTENT]


@dataclass(slots=True)
class Tally:
    """What is known of a set of clips without looking at them again. `duration_s` is of the usable ones."""

    n_clips: int = 0
    n_excluded: int = 0
    n_rejected: int = 0
    duration_s: float = 0.0
    content: int = 0

    def add(self, fields: Mapping[str, Any], duration_s: float, sign: int = 1) -> None:
        """Count one clip in (`sign` 1) or out (-1)."""
        status = ClipStatus(fields["status"])
        if status is ClipStatus.REJECTED:
            self.n_rejected += sign
            return
        self.content = (self.content + sign * _digest(fields)) % _MODULUS
        if status is ClipStatus.OK:
            self.n_clips += sign
            self.duration_s += sign * duration_s
        else:
            self.n_excluded += sign

    @property
    def content_hash(self) -> str:
        """64 hexadecimal digits."""
        return f"{self.content:064x}"


def refresh(
    session: Session, dataset: Dataset, *, summary: str = "Taken in", actor_id: str | None = None
) -> None:
    """Count all clips again and, if the content has changed, make the next version. The caller commits.

    For clips that were taken in anew. What they were before isn't known then, so former versions are
    forgotten; to change clips of a dataset that is in use call `change`.
    """
    session.flush()
    tally = count(session, dataset.id)
    if tally.content_hash != dataset.content_hash:
        for table in (ClipChange, DatasetVersion):
            session.exec(delete(table).where(col(table.dataset_id) == dataset.id))
        _make_version(session, dataset, tally, summary=summary, actor_id=actor_id)
    sizes = session.exec(select(Clip.size_bytes).where(col(Clip.dataset_id) == dataset.id))
    dataset.size_bytes = sum(sizes)
    dataset.report_key = ""
    _keep(session, dataset, tally)


def change(
    session: Session,
    dataset: Dataset,
    edits: Mapping[str, Mapping[str, Any]],
    *,
    summary: str,
    actor_id: str | None,
    added: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Change clips and make the dataset's next version, if anything differs. The caller commits.

    Costs what is changed, not what the dataset holds.

    Args:
        edits: by clip id the new values of fields of `CONTENT`, and of `reason` and `exclusion_id`.
        added: whole rows of clips that weren't there before; in former versions they are left out.
        summary: what was done, in a few words for people.

    Returns:
        How many clips have another content than before.
    """
    session.flush()
    session.refresh(dataset, with_for_update=True)
    tally = _known(session, dataset)
    changed: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for clip_id, before, duration_s in _contents(session, dataset.id, edits):
        after = before | {key: _plain(v) for key, v in edits[clip_id].items() if key in CONTENT}
        if after != before:
            tally.add(before, duration_s, -1)
            tally.add(after, duration_s)
            fields = [key for key in CONTENT if after[key] != before[key]]
            changed.append((clip_id, {k: before[k] for k in fields}, {k: after[k] for k in fields}))
    _write_clips(session, dataset.id, edits)
    if added:
        changed += _add_clips(session, dataset, tally, added)
    if changed:
        _make_version(session, dataset, tally, summary=summary, actor_id=actor_id)
        _write_changes(session, dataset, changed)
    if changed or added:
        _keep(session, dataset, tally)
    return len(changed)


def count(session: Session, dataset_id: str) -> Tally:
    """Count a dataset's clips from scratch."""
    tally = Tally()
    for _, fields, duration_s in _contents(session, dataset_id, None):
        tally.add(fields, duration_s)
    return tally


def _digest(fields: Mapping[str, Any]) -> int:
    line = json.dumps([fields[name] for name in CONTENT])
    return int.from_bytes(hashlib.sha256(line.encode()).digest())


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


def _known(session: Session, dataset: Dataset) -> Tally:
    """The tally kept in the dataset's row; counted when no version was recorded yet, which is then done."""
    if session.get(DatasetVersion, (dataset.id, dataset.version)) is None:
        tally = count(session, dataset.id)
        dataset.version -= 1  # the present content, under its number
        _make_version(session, dataset, tally, summary="Before versions were kept", actor_id=None)
        return tally
    return Tally(
        dataset.n_clips,
        dataset.n_excluded,
        dataset.n_rejected,
        dataset.duration_s,
        int(dataset.content_hash, 16),
    )


def _contents(
    session: Session, dataset_id: str, ids: Iterable[str] | None
) -> Iterator[tuple[str, dict[str, Any], float]]:
    query = select(Clip.id, Clip.duration_s, *_COLUMNS).where(col(Clip.dataset_id) == dataset_id)
    wanted = None if ids is None else set(ids)
    if wanted is not None and len(wanted) <= _FEW:
        query = query.where(col(Clip.id).in_(wanted))
    for clip_id, duration_s, *values in session.exec(query.order_by(col(Clip.position))):  # as they lie there
        if wanted is None or clip_id in wanted:
            yield clip_id, dict(zip(CONTENT, map(_plain, values), strict=True)), duration_s


def _add_clips(
    session: Session, dataset: Dataset, tally: Tally, added: Sequence[Mapping[str, Any]]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Write new clips down; returns the changes that those are which can be used."""
    session.connection().execute(insert(Clip), [dict(row) for row in added])
    changed: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for row in added:
        tally.add({name: _plain(row[name]) for name in CONTENT}, row["duration_s"])
        dataset.size_bytes += row["size_bytes"]
        if row["status"] is ClipStatus.OK:
            changed.append(
                (row["id"], {"status": ClipStatus.EXCLUDED.value}, {"status": ClipStatus.OK.value})
            )
    return changed


def _write_clips(session: Session, dataset_id: str, edits: Mapping[str, Mapping[str, Any]]) -> None:
    """One statement for each set of columns; clips that the session holds are read again."""
    batches: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for clip_id, values in edits.items():
        names = tuple(name for name in (*CONTENT, *_BESIDE) if name in values)
        if names:
            batches[names].append({"key": clip_id, **{f"to_{name}": values[name] for name in names}})
    for names, rows in batches.items():
        statement = update(Clip).where(col(Clip.id) == bindparam("key"), col(Clip.dataset_id) == dataset_id)
        values = {name: bindparam(f"to_{name}") for name in names}
        session.connection().execute(statement.values(values), rows)
    for held in [item for item in session.identity_map.values() if isinstance(item, Clip)]:
        if held.id in edits:
            session.refresh(held)


def _make_version(
    session: Session, dataset: Dataset, tally: Tally, *, summary: str, actor_id: str | None
) -> None:
    dataset.version += 1
    dataset.content_hash = tally.content_hash
    session.add(
        DatasetVersion(
            dataset_id=dataset.id,
            number=dataset.version,
            content_hash=tally.content_hash,
            n_clips=tally.n_clips,
            duration_s=tally.duration_s,
            summary=summary[:300],
            created_by=actor_id,
        )
    )


def _write_changes(
    session: Session, dataset: Dataset, changed: Iterable[tuple[str, dict[str, Any], dict[str, Any]]]
) -> None:
    rows = [
        {"dataset_id": dataset.id, "version": dataset.version, "clip_id": i, "before": b, "after": a}
        for i, b, a in changed
    ]
    session.connection().execute(insert(ClipChange), rows)


def _keep(session: Session, dataset: Dataset, tally: Tally) -> None:
    dataset.n_clips, dataset.n_excluded, dataset.n_rejected = (
        tally.n_clips,
        tally.n_excluded,
        tally.n_rejected,
    )
    dataset.duration_s = max(0.0, tally.duration_s) if tally.n_clips else 0.0
    dataset.updated_at = utc_now()
    session.add(dataset)
