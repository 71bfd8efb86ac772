"""From planned clips to rows of the table: hash, look up what was measured before, decode the rest.

Work goes in batches: one question to the database, and a child that always has a next file.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from qlora_studio.audio.decode import ClipFacts
from qlora_studio.contracts.enums import ClipStatus, Split
from qlora_studio.core.ids import new_id
from qlora_studio.db import engine
from qlora_studio.db.models import Clip
from qlora_studio.ingest import blobs
from qlora_studio.ingest.decoding import DecoderPool, Verdict
from qlora_studio.ingest.matching import PlannedClip

BATCH_CLIPS = 16
BATCH_BYTES = 64 << 20
_FACTS = tuple(field.name for field in fields(ClipFacts))
_FACT_COLUMNS = [getattr(Clip, name) for name in _FACTS]
_SILENT = "Silent: nothing in it is louder than -80 dB. Include it if that is meant."
_NOTHING_MEASURED = {
    name: field.default
    for name, field in Clip.model_fields.items()
    if name in (*_FACTS, "sha256", "size_bytes", "reason", "exclusion_id")
}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Examined:
    """A clip's row with all of its columns, and the bytes to keep: None for a rejected one."""

    row: Row
    path: Path | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Planned clips that are examined together; the first has number `position` in the dataset."""

    position: int
    clips: list[PlannedClip]


def cut(planned: Sequence[PlannedClip]) -> Iterator[Batch]:
    """Cut a plan into batches, so many clips or bytes each."""
    batch, n_bytes = Batch(0, []), 0
    for position, clip in enumerate(planned):
        size = clip.path.stat().st_size if clip.path is not None and clip.reason is None else 0
        if batch.clips and (len(batch.clips) >= BATCH_CLIPS or n_bytes + size > BATCH_BYTES):
            yield batch
            batch, n_bytes = Batch(position, []), 0
        batch.clips.append(clip)
        n_bytes += size
    if batch.clips:
        yield batch


def examine(batch: Batch, *, dataset_id: str, pool: DecoderPool, kept: set[str]) -> list[Examined]:
    """Turn planned clips into rows and store their originals; `kept` is filled with the hashes of these."""
    paths = [clip.path for clip in batch.clips if clip.reason is None and clip.path is not None]
    hashes = {path: _sha256(path) for path in paths}
    known = _known(set(hashes.values()))
    fresh = [path for path in paths if hashes[path] not in known]
    verdicts: dict[Path, Verdict] = dict(zip(fresh, pool.inspect_many(fresh), strict=True))
    done = []
    for position, planned in enumerate(batch.clips, batch.position):
        row = _blank_row(dataset_id, position, planned)
        if planned.reason is not None or planned.path is None:
            done.append(_rejected(row, planned.reason or "Missing file."))
            continue
        row["size_bytes"] = planned.path.stat().st_size
        sha256 = hashes[planned.path]
        verdict = known.get(sha256) or verdicts[planned.path]
        if isinstance(verdict, str):
            done.append(_rejected(row, verdict))
            continue
        kept.add(sha256)
        blobs.keep(planned.path, sha256)
        done.append(_measured(row, planned.path, sha256, verdict))
    return done


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known(hashes: set[str]) -> dict[str, ClipFacts]:
    """Facts measured before for the same bytes, so that they are decoded only once."""
    query = select(Clip.sha256, *_FACT_COLUMNS).where(
        col(Clip.sha256).in_(hashes), col(Clip.peaks).is_not(None), col(Clip.fingerprint).is_not(None)
    )
    with engine.read() as session:
        return {sha256: ClipFacts(*facts) for sha256, *facts in session.exec(query)}


def _blank_row(dataset_id: str, position: int, planned: PlannedClip) -> Row:
    labels = planned.labels
    return {
        **_NOTHING_MEASURED,
        "id": new_id("clip"),
        "dataset_id": dataset_id,
        "position": position,
        "filename": planned.name,
        "text": labels.text,
        "label": labels.label,
        "speaker": labels.speaker,
        "split": labels.split or Split.TRAIN,
        "status": ClipStatus.OK,
    }


def _measured(row: Row, path: Path, sha256: str, facts: ClipFacts) -> Examined:
    row["sha256"] = sha256
    row |= {name: getattr(facts, name) for name in _FACTS}
    if facts.is_silent:
        row["status"], row["reason"] = ClipStatus.EXCLUDED, _SILENT
    return Examined(row, path)


def _rejected(row: Row, reason: str) -> Examined:
    row["status"], row["reason"] = ClipStatus.REJECTED, reason[:500]
    return Examined(row, None)
