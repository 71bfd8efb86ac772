"""Adapters that jobs have left: look at them, name them and delete them."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import event, func
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import AdapterStage, Role
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import audit
from qlora_studio.services.datasets import order_by
from qlora_studio.storage import layout, orphans

_SORTS: dict[str, Any] = {
    "name": func.lower(col(Adapter.name)),
    "created_at": col(Adapter.created_at),
    "size_bytes": col(Adapter.size_bytes),
    "stage": col(Adapter.stage),
    "model": func.lower(col(BaseAudioModel.name)),
}


@dataclass(frozen=True)
class AdapterView:
    """An adapter with the names of what it came from."""

    adapter: Adapter
    model_name: str
    dataset_name: str
    job_name: str


class AdapterUpdate(Strict):
    """What may be changed of an adapter; what is left out stays."""

    name: str | None = None
    stage: AdapterStage | None = None


class AdapterPublic(BaseModel):
    """An adapter as the REST API answers it."""

    id: str
    name: str
    base_model_id: str
    base_model_name: str
    job_id: str | None
    dataset_id: str | None
    dataset_version: int
    metrics: dict[str, Any]
    base_metrics: dict[str, Any]
    certificate: dict[str, Any]
    origin: dict[str, Any]
    stage: AdapterStage
    is_active: bool
    size_bytes: int
    created_at: datetime

    @classmethod
    def of(cls, view: AdapterView) -> "AdapterPublic":
        """Return the public form of an adapter."""
        same = set(cls.model_fields) - {"base_model_name"}
        return cls(**{name: getattr(view.adapter, name) for name in same}, base_model_name=view.model_name)


def get_view(session: Session, *, actor: User, adapter_id: str) -> AdapterView:
    """Return one of the actor's adapters.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    adapter = session.get(Adapter, adapter_id)
    if adapter is None or adapter.owner_id != actor.id:
        raise NotFound("There is no such adapter.")
    return _view(session, adapter)


def list_adapters(
    session: Session,
    *,
    actor: User,
    query: str = "",
    stage: AdapterStage | None = None,
    model_id: str | None = None,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[AdapterView], int]:
    """Return one page of the actor's adapters and how many there are in all.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    where = [col(Adapter.owner_id) == actor.id]
    if stage is not None:
        where.append(col(Adapter.stage) == stage)
    if model_id is not None:
        where.append(col(Adapter.base_model_id) == model_id)
    if text := query.strip():
        columns = (col(Adapter.name), col(Adapter.id), col(BaseAudioModel.name))
        where.append(or_(*(c.icontains(text, autoescape=True) for c in columns)))
    joined = (
        select(Adapter).join(BaseAudioModel, col(BaseAudioModel.id) == Adapter.base_model_id).where(*where)
    )
    total = session.exec(select(func.count()).select_from(joined.subquery())).one()
    rows = joined.order_by(*order_by(sort, _SORTS, tie=col(Adapter.id)))
    page_of = session.exec(rows.offset((page - 1) * page_size).limit(page_size))
    return [_view(session, adapter) for adapter in page_of], total


def update(session: Session, *, actor: User, adapter_id: str, form: AdapterUpdate) -> AdapterView:
    """Rename an adapter or change its stage.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: the name is empty or too long.
    """
    require_trainer(actor)
    adapter = get_view(session, actor=actor, adapter_id=adapter_id).adapter
    if form.name is not None:
        name = " ".join(form.name.split())
        if not 1 <= len(name) <= 120:
            message = "The name has 1 to 120 characters."
            raise InvalidInput(message, fields={"name": message})
        adapter.name = name
    if form.stage is not None:
        adapter.stage = form.stage
    session.add(adapter)
    _audit(session, actor, "adapter.update", adapter)
    return _view(session, adapter)


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

    def remove(_: object) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    event.listen(session, "after_commit", remove, once=True)


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


def _audit(session: Session, actor: User, action: str, adapter: Adapter) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="adapter",
        object_id=adapter.id,
        object_name=adapter.name,
    )


def require_trainer(actor: User) -> None:
    """Raise `Forbidden` for those who may only look."""
    if actor.role not in (Role.ADMIN, Role.TRAINER):
        raise Forbidden("Your role can look at adapters but not change them.")
