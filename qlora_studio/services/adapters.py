"""The registry of adapters: look at them, sort them in, make one its base model's default, delete them."""

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import String, cast, func
from sqlalchemy import update as sql_update
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import AdapterStage, Verdict
from qlora_studio.contracts.inference import MAX_STRENGTH
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, Doubtful, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.adapter_schemas import (
    ACTIVE,
    AdapterUpdate,
    AdapterView,
    Changed,
    Choices,
    Chosen,
)
from qlora_studio.services.datasets import order_by
from qlora_studio.storage import layout, orphans

_WEIGHTS = "adapter_model.safetensors"
_SORTS: dict[str, Any] = {
    "name": func.lower(col(Adapter.name)),
    "created_at": col(Adapter.created_at),
    "size_bytes": col(Adapter.size_bytes),
    "stage": col(Adapter.stage),
    "model": func.lower(col(BaseAudioModel.name)),
    "version": col(Adapter.version),
}


def get_view(session: Session, *, actor: User, adapter_id: str, action: Action = Action.HOLD) -> AdapterView:
    """Return an adapter that the actor may do this to; without an action: one of their own.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: the actor sees it, and may not do this.
    """
    return _view(session, access.get(session, Adapter, adapter_id, actor=actor, action=action))


def list_adapters(
    session: Session,
    *,
    actor: User,
    query: str = "",
    stage: AdapterStage | None = None,
    model_id: str | None = None,
    dataset_id: str | None = None,
    tag: str | None = None,
    verdict: Verdict | None = None,
    archived: bool = False,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
    shelf: Shelf = Shelf.MINE,
    action: Action = Action.SEE,
) -> tuple[list[AdapterView], int]:
    """Return one page of the actor's adapters and how many there are in all.

    Args:
        query: part of a name, an id, a note, a tag or the base model's name.
        archived: those that were put away instead of the others.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    within = access.within(Adapter, actor=actor, shelf=shelf, action=action)
    where = [within, col(Adapter.archived_at).is_not(None) == archived]
    if stage is not None:
        where.append(col(Adapter.stage) == stage)
    if model_id is not None:
        where.append(col(Adapter.base_model_id) == model_id)
    if dataset_id is not None:
        where.append(col(Adapter.dataset_id) == dataset_id)
    if verdict is not None:
        where.append(col(Adapter.certificate)["verdict"].as_string() == verdict.value)
    if tag is not None:  # as it is stored, with its quotes: a whole one
        where.append(cast(Adapter.tags, String).contains(json.dumps(tag.strip().lower()), autoescape=True))
    if text := query.strip():
        where.append(_matches(text))
    joined = (
        select(Adapter).join(BaseAudioModel, col(BaseAudioModel.id) == Adapter.base_model_id).where(*where)
    )
    total = session.exec(select(func.count()).select_from(joined.subquery())).one()
    rows = joined.order_by(*order_by(sort, _SORTS, tie=col(Adapter.id)))
    page_of = session.exec(rows.offset((page - 1) * page_size).limit(page_size))
    return [_view(session, adapter) for adapter in page_of], total


def _matches(text: str) -> Any:
    columns = (col(Adapter.name), col(Adapter.id), col(Adapter.notes), col(BaseAudioModel.name))
    tags = cast(Adapter.tags, String).icontains(json.dumps(text)[1:-1], autoescape=True)
    return or_(*(column.icontains(text, autoescape=True) for column in columns), tags)


def list_choices(session: Session, *, actor: User) -> Choices:
    """Return what the actor's adapters can be filtered by: only what one of them has."""
    mine = Adapter.owner_id == actor.id

    def named(table: Any, key: Any) -> list[tuple[str, str]]:
        found = select(table.id, table.name).join(Adapter, key == table.id).where(mine)
        return [(row[0], row[1]) for row in session.exec(found.distinct().order_by(table.name, table.id))]

    tags = session.exec(select(Adapter.tags).where(mine))
    return Choices(
        tags=sorted({tag for some in tags for tag in some}),
        models=named(BaseAudioModel, col(Adapter.base_model_id)),
        datasets=named(Dataset, col(Adapter.dataset_id)),
    )


def update(session: Session, *, actor: User, adapter_id: str, form: AdapterUpdate) -> Changed:
    """Rename an adapter, sort it in, put it away or take it back.

    One adapter of each owner and base model is in production: another one that gets there sends it back to
    being a candidate.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: the name is empty or too long.
    """
    require_trainer(actor)
    adapter = get_view(session, actor=actor, adapter_id=adapter_id).adapter
    if form.name is not None:
        name = " ".join(form.name.split())
        if not 1 <= len(name) <= 120:
            _refuse("name", "The name has 1 to 120 characters.")
        adapter.name = name
    if form.tags is not None:
        adapter.tags = list(dict.fromkeys(form.tags))
    if form.notes is not None:
        adapter.notes = form.notes.strip()
    if form.archived is not None and form.archived != (adapter.archived_at is not None):
        adapter.archived_at = utc_now() if form.archived else None
        adapter.is_active = adapter.is_active and not form.archived
    replaced = _set_stage(session, actor, adapter, form.stage) if form.stage is not None else None
    session.add(adapter)
    details = form.model_dump(mode="json", exclude={"name", "notes"}, exclude_none=True)
    _audit(session, actor, "adapter.update", adapter, **details, **_named("replaces", replaced))
    return Changed(_view(session, adapter), replaced)


def in_production(session: Session, *, actor: User, model_id: str) -> Adapter | None:
    """Return the actor's adapter of a base model that is in production; the newest of several old ones."""
    mine = (Adapter.owner_id == actor.id, Adapter.base_model_id == model_id)
    found = select(Adapter).where(*mine, Adapter.stage == AdapterStage.PRODUCTION)
    return session.exec(found.order_by(col(Adapter.created_at).desc())).first()


def _set_stage(session: Session, actor: User, adapter: Adapter, stage: AdapterStage) -> Adapter | None:
    replaced = None
    if stage is AdapterStage.PRODUCTION:
        _lock_model(session, adapter.base_model_id)
        replaced = in_production(session, actor=actor, model_id=adapter.base_model_id)
        replaced = None if replaced is adapter else replaced
        others = _others_of(adapter, Adapter.stage == AdapterStage.PRODUCTION)
        session.execute(others.values(stage=AdapterStage.CANDIDATE))
    adapter.stage = stage
    return replaced


def activate(
    session: Session,
    *,
    actor: User,
    adapter_id: str,
    strength: float = 1.0,
    insist: bool = False,
    model_id: str | None = None,
) -> AdapterView:
    """Make an adapter the default of its base model; one that was it before is it no longer.

    Args:
        strength: the share of the adapter that counts, 0 to 2.
        insist: even if its certificate says that it is broken, or its base model has changed since.
        model_id: refuse unless this is its base model, if one is given.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: the strength is out of bounds, or the adapter belongs to another model.
        Conflict: it is archived, or its files are gone.
        Doubtful: it has to be insisted upon.
    """
    require_trainer(actor)
    adapter = get_view(session, actor=actor, adapter_id=adapter_id).adapter
    if not 0 <= strength <= MAX_STRENGTH:
        _refuse("strength", f"The strength goes from 0 to {MAX_STRENGTH:g}.")
    if model_id not in (None, adapter.base_model_id):
        _refuse("model_id", "This adapter belongs to another model.")
    model = _lock_model(session, adapter.base_model_id)
    if adapter.archived_at is not None:
        raise Conflict("This adapter is archived. Take it back first.")
    folder_of(adapter)
    if not insist and (doubt := _doubt(adapter, model)):
        raise Doubtful(f"{doubt} Insist if you want it all the same.")
    before = active_for(session, actor=actor, model_id=adapter.base_model_id)
    session.execute(_others_of(adapter, col(Adapter.is_active)).values(is_active=False))
    adapter.is_active, adapter.active_strength = True, strength
    session.add(adapter)
    replaced = _named("replaces", before if before is not adapter else None)
    _audit(session, actor, "adapter.activate", adapter, strength=strength, insist=insist, **replaced)
    session.flush()
    return _view(session, adapter)


def deactivate(session: Session, *, actor: User, adapter_id: str) -> AdapterView:
    """Leave an adapter's base model without a default; nothing happens if it wasn't that.

    Raises:
        NotFound: it isn't the actor's.
    """
    require_trainer(actor)
    view = get_view(session, actor=actor, adapter_id=adapter_id)
    if view.adapter.is_active:
        view.adapter.is_active = False
        session.add(view.adapter)
        _audit(session, actor, "adapter.deactivate", view.adapter)
    return view


def active_for(session: Session, *, actor: User, model_id: str) -> Adapter | None:
    """Return the adapter that the actor has made a base model's default, if there is one."""
    mine = (Adapter.owner_id == actor.id, Adapter.base_model_id == model_id, col(Adapter.is_active))
    return session.exec(select(Adapter).where(*mine)).first()


def choose(
    session: Session, *, actor: User, model_id: str, adapter_id: str | None, strength: float
) -> Chosen:
    """Return which adapter a request means: `active` is the model's default at its own strength, or none."""
    if adapter_id != ACTIVE:
        return Chosen(adapter_id or None, strength)
    adapter = active_for(session, actor=actor, model_id=model_id)
    return Chosen(adapter.id, adapter.active_strength) if adapter else Chosen(None, strength)


def folder_of(adapter: Adapter) -> Path:
    """Return where an adapter's files lie.

    Raises:
        Conflict: they are gone.
    """
    folder = Path(adapter.path)
    if not (folder / _WEIGHTS).is_file():
        raise Conflict(
            f"The files of “{adapter.name}” are no longer on the disk. Put them back, or train it again."
        )
    return folder


def _doubt(adapter: Adapter, model: BaseAudioModel | None) -> str:
    """Why somebody may not want an adapter as the default."""
    if adapter.certificate.get("verdict") == Verdict.BROKEN:
        return "The certificate of this adapter says that it is broken."
    hashes = {adapter.base_model_hash, model.content_hash if model else ""} - {""}
    return "Its base model has changed since this adapter was made." if len(hashes) > 1 else ""


def _lock_model(session: Session, model_id: str) -> BaseAudioModel | None:
    """Keep others from choosing among a model's adapters meanwhile; SQLite has one writer anyway."""
    chosen = select(BaseAudioModel).where(BaseAudioModel.id == model_id).with_for_update()
    return session.exec(chosen).first()


def _others_of(adapter: Adapter, condition: Any) -> Any:
    """A change of the owner's other adapters of the same base that fulfil a condition."""
    same = (Adapter.owner_id == adapter.owner_id, Adapter.base_model_id == adapter.base_model_id)
    return sql_update(Adapter).where(*same, col(Adapter.id) != adapter.id, condition)


def delete(session: Session, *, actor: User, adapter_id: str) -> None:
    """Delete an adapter and its files; the job that made it stays.

    Raises:
        NotFound: it isn't the actor's.
    """
    require_trainer(actor)
    adapter = get_view(session, actor=actor, adapter_id=adapter_id).adapter
    _audit(session, actor, "adapter.delete", adapter)
    session.delete(adapter)
    folders = [layout.merged_path(adapter.id)]
    own = (layout.data_path() / "runs", layout.imported_path(adapter.id))
    if any(Path(adapter.path).is_relative_to(place) for place in own):
        folders.append(Path(adapter.path))

    def remove() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    after_commit(session, remove)


def sweep_leftovers() -> None:
    """Remove what killed processes have left of adapters that were being merged or taken in."""
    with db.read() as session:
        known = set(session.exec(select(Adapter.id)))
    for place in ("merged", "adapters"):
        orphans.sweep(layout.data_path() / place, known.__contains__)


def file_name(name: str, *, instead: str = "adapter") -> str:
    """A name that is safe in a header and on any disk; `instead` when nothing of it is."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
    return safe.strip("-.")[:80] or instead


def _view(session: Session, adapter: Adapter) -> AdapterView:
    model = session.get(BaseAudioModel, adapter.base_model_id)
    dataset = session.get(Dataset, adapter.dataset_id) if adapter.dataset_id else None
    job = session.get(Job, adapter.job_id) if adapter.job_id else None
    return AdapterView(
        adapter=adapter,
        model_name=model.name if model else "",
        dataset_name=dataset.name if dataset else "",
        job_name=job.name if job else "",
    )


def _named(what: str, adapter: Adapter | None) -> dict[str, str]:
    return {what: adapter.name} if adapter else {}


def _audit(session: Session, actor: User, action: str, adapter: Adapter, **details: Any) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="adapter",
        object_id=adapter.id,
        object_name=adapter.name,
        details=details,
    )


def _refuse(field: str, sentence: str) -> NoReturn:
    raise InvalidInput(sentence, fields={field: sentence})


def require_trainer(actor: User) -> None:
    """Raise `Forbidden` for those who may only look."""
    access.require_role(actor, of="adapter")
