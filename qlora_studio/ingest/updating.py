"""Add takes to a dataset from feedback that is in use, and leave out those that no longer belong to it.

The dataset keeps what it was until all new takes are in: a cancel, a crash or a fault costs the update alone.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.ingest import blobs, sources, splits, staging, totals
from qlora_studio.ingest.examining import Examined
from qlora_studio.ingest.matching import PlannedClip, match
from qlora_studio.ingest.refusal import Cancelled, DatasetGone, SourceRefused
from qlora_studio.ingest.splits import SplitItem
from qlora_studio.storage import atomic

UNDER_WAY = "updating"  # in a dataset's source: which update is being done
FAILED = "update_error"  # in a dataset's source: why the last one failed
_LOST = "What was to be updated is gone from the disk. Ask for the update again."
_log = logging.getLogger(__name__)

Examine = Callable[[list[PlannedClip]], Iterable[Examined]]


def write(dataset_id: str, order: dict[str, Any]) -> None:
    """Keep an order: `id`, `edits` of clips, what the `source` is afterwards, `summary` and `actor_id`."""
    atomic.write_text(staging.update_path(dataset_id), json.dumps(order))


def is_under_way(dataset: Dataset) -> bool:
    """Whether a dataset that is being processed was ready before, and only gets more takes."""
    return bool(dataset.source.get(UNDER_WAY))


def end(dataset: Dataset, *, message: str = "") -> None:
    """Leave a dataset as it was before the update; `message` says why, if it failed. The caller commits."""
    source = {name: value for name, value in dataset.source.items() if name not in (UNDER_WAY, FAILED)}
    dataset.source = source | ({FAILED: message[:1000]} if message else {})
    dataset.status, dataset.error = DatasetStatus.READY, None
    dataset.progress_done = dataset.progress_total = 0


def take_in(dataset: Dataset, examine: Examine) -> None:
    """Take the new takes in, and make the dataset's next version.

    Args:
        examine: decodes planned clips and keeps their originals.

    Raises:
        Cancelled: the update was called off.
        DatasetGone: the dataset was deleted.
        SourceRefused: the order is gone, or a take can't be used.
    """
    order = _read(dataset)
    plan = match(sources.from_chosen(dataset.id), task=dataset.task, mapping=dataset.mapping)
    examined = list(examine(plan.clips))
    for item in examined:
        if item.row["status"] is ClipStatus.REJECTED:
            raise SourceRefused(f"{item.row['filename']} can't be used: {item.row['reason']}")
        item.row.update({"status": ClipStatus.OK, "reason": None})  # a silent one was heard and chosen
    blobs.make_durable({item.row["sha256"] for item in examined})
    with engine.write() as session:
        row = session.get(Dataset, dataset.id)
        if row is None:
            raise DatasetGone
        if row.status is not DatasetStatus.PROCESSING or row.source.get(UNDER_WAY) != order["id"]:
            raise Cancelled
        for item in examined:
            if item.path is not None:
                blobs.keep(item.path, item.row["sha256"])  # again, under the write lock: see `blobs`
        apply(session, row, order, [item.row for item in examined])
        end(row)


def apply(session: Session, dataset: Dataset, order: dict[str, Any], added: list[dict[str, Any]]) -> None:
    """Write new clips and the changes of those that are there, as one version. The caller commits."""
    if added:
        most = select(func.max(Clip.position)).where(col(Clip.dataset_id) == dataset.id)
        first = (session.exec(most).one() or 0) + 1
        for number, row in enumerate(added):
            row["position"] = first + number
        _hold_out(session, dataset, added, order["edits"])
    edits = {
        clip_id: values | ({"status": ClipStatus(values["status"])} if "status" in values else {})
        for clip_id, values in order["edits"].items()
    }
    about = {"summary": order["summary"], "actor_id": order["actor_id"]}
    totals.change(session, dataset, edits, added=added, **about)
    dataset.source = dataset.source | order["source"]
    session.add(dataset)


def _hold_out(
    session: Session, dataset: Dataset, added: list[dict[str, Any]], edits: Mapping[str, Mapping[str, Any]]
) -> None:
    """Give new clips their splits: that of what they belong to, or else as if all were dealt out.

    Clips that were there stay where they are, or what was held out would be trained on.
    """
    query = select(Clip.id, Clip.sha256, Clip.text, Clip.split, Clip.label).where(
        col(Clip.dataset_id) == dataset.id, col(Clip.status) != ClipStatus.REJECTED
    )
    there = list(session.exec(query))
    items = [
        SplitItem(clip_id, sha256, text, edits.get(clip_id, {}).get("label", label))
        for clip_id, sha256, text, _, label in there
    ]
    items += [SplitItem(row["id"], row["sha256"], row["text"], row["label"]) for row in added]
    items = splits.untie_prompts(items, task=dataset.task)
    dealt = splits.assign(items, ratios=splits.DEFAULT_RATIOS, seed=0)
    side_of = {clip_id: split for clip_id, _, _, split, _ in there}
    known: dict[str, Split] = {}
    for group in splits.tied(items):
        sides = [side_of[item.id] for item in group if item.id in side_of]
        known.update({item.id: sides[0] for item in group if sides})
    fresh: list[dict[str, Any]] = []
    for row in added:
        found = known.get(row["id"])
        row["split"] = found or dealt[row["id"]]
        if found is None:
            fresh.append(row)
    has_held_out = Split.VALIDATION in {*(clip[3] for clip in there), *(row["split"] for row in added)}
    if fresh and not has_held_out:
        words = splits.words_of(fresh[0]["text"])
        for row in fresh:
            if splits.words_of(row["text"]) == words:
                row["split"] = Split.VALIDATION


def _read(dataset: Dataset) -> dict[str, Any]:
    try:
        order = json.loads(staging.update_path(dataset.id).read_text())
    except (OSError, ValueError) as error:
        _log.warning("update of %s: %s", dataset.id, error)
        raise SourceRefused(_LOST) from error
    if order["id"] != dataset.source.get(UNDER_WAY):
        raise Cancelled
    return order
