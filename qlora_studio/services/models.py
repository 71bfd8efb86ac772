"""Base models: register, list, read, edit, delete. `model_intake` does the work on the files."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus, ModelStatus, Task
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, TooLarge
from qlora_studio.core.hub import check_repo_id, check_revision
from qlora_studio.core.ids import new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models.adapter import Adapter
from qlora_studio.db.models.job import Job
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.db.models.user import User
from qlora_studio.examples import catalog
from qlora_studio.ingest import staging
from qlora_studio.ingest.names import clean_name
from qlora_studio.modelfiles import prepare
from qlora_studio.modelfiles.check import CheckedModel, check_folder
from qlora_studio.modelfiles.roots import resolve_folder
from qlora_studio.services import access, audit, model_intake, model_uploads
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.model_schemas import (
    ModelCreate,
    ModelUpdate,
    PathSource,
    StarterSource,
    UploadSource,
)

HASH_AT_ONCE_BYTES = 512 * 2**20
_SORTABLE = ("name", "created_at", "n_parameters", "size_bytes", "status", "task", "architecture")


@dataclass(frozen=True)
class ModelUsage:
    """What depends on a model."""

    jobs: list[Job]
    adapters: list[Adapter]
    whose: dict[str, str] = field(default_factory=dict)  # ` of …` by id, of those that are somebody else's

    @property
    def is_busy(self) -> bool:
        return any(job.status in (*ACTIVE_STATUSES, JobStatus.QUEUED) for job in self.jobs)

    def names(self) -> list[str]:
        return [f"job “{job.name}”{self.whose.get(job.id, '')}" for job in self.jobs] + [
            f"adapter “{a.name}”{self.whose.get(a.id, '')}" for a in self.adapters
        ]


def register(session: Session, *, actor: User, data: ModelCreate) -> BaseAudioModel:
    """Register a model. A path is checked at once; a Hub model downloads in the background after the commit.

    Raises:
        Forbidden: the actor may not add models.
        ModelRefused: it can't be trained here.
        InvalidInput: a field is wrong, or task or architecture are not what the files say.
        TooLarge: the actor has all the models that one account may.
    """
    access.require_role(actor, of="model")
    if isinstance(data.source, StarterSource):
        return add_starter(session, actor=actor, which=data.source.name)
    _check_count(session, actor)
    if isinstance(data.source, PathSource):
        return _register_path(session, actor, data, data.source)
    if isinstance(data.source, UploadSource):
        return _await_files(session, actor, data)
    repo_id, revision = check_repo_id(data.source.repo_id), check_revision(data.source.revision)
    model = BaseAudioModel(
        owner_id=actor.id,
        name=data.name or repo_id,
        description=data.description,
        task=data.task or Task.SPEECH_TO_TEXT,
        architecture=data.architecture,
        source={"kind": "hub", "repo_id": repo_id, "revision": revision},
        status=ModelStatus.DOWNLOADING,
    )
    return store(session, actor, model)


def _check_count(session: Session, actor: User) -> None:
    mine = select(func.count()).where(col(BaseAudioModel.owner_id) == actor.id)
    if (n_models := session.exec(mine).one()) >= get_settings().max_models_per_user:
        raise TooLarge(f"You have {n_models:,} models, the most one account may. Delete one first.")


def _await_files(session: Session, actor: User, data: ModelCreate) -> BaseAudioModel:
    model = BaseAudioModel(
        owner_id=actor.id,
        name=data.name or "Uploaded model",
        description=data.description,
        task=data.task or Task.SPEECH_TO_TEXT,
        architecture=data.architecture,
        source={"kind": "upload"},
        status=ModelStatus.AWAITING_FILES,
    )
    return store(session, actor, model)


def _register_path(session: Session, actor: User, data: ModelCreate, source: PathSource) -> BaseAudioModel:
    roots = get_settings().model_root_paths
    folder = resolve_folder(source.path, roots)
    checked = check_folder(folder, roots=roots, task=data.task)
    _check_claims(checked, data)
    model = BaseAudioModel(
        id=new_id("mod"),
        owner_id=actor.id,
        name=data.name or folder.name,
        description=data.description,
        task=checked.task,
        architecture=checked.architecture,
        source={"kind": "path", "path": str(folder)},
        size_bytes=checked.size_bytes,
    )
    if checked.size_bytes <= HASH_AT_ONCE_BYTES:
        intake = model_intake.take_in(folder, model.id, placement="link", roots=roots, task=checked.task)
        model_intake.fill_in(model, intake)
    return store(session, actor, model)


def _check_claims(checked: CheckedModel, data: ModelCreate) -> None:
    fields: dict[str, str] = {}
    if data.task and data.task != checked.task:
        fields["task"] = f"The files are of a model for {checked.task.value}, not {data.task.value}."
    if data.architecture and data.architecture != checked.architecture:
        fields["architecture"] = f"The files are of a {checked.architecture}, not a {data.architecture[:80]}."
    if fields:
        raise InvalidInput(" ".join(fields.values()), fields=fields)


def add_starter(session: Session, *, actor: User, which: str = "speech") -> BaseAudioModel:
    """Add a small model that comes with the studio; a second call gives the same one.

    Args:
        session: Of a write.
        actor: Who gets it.
        which: A key of `catalog.STARTERS`.

    Raises:
        Forbidden: the actor may not add models.
    """
    access.require_role(actor, of="model")
    mine = select(BaseAudioModel).where(BaseAudioModel.owner_id == actor.id)
    starters = session.exec(mine.where(col(BaseAudioModel.source)["kind"].as_string() == "starter")).all()
    for existing in starters:
        if existing.source.get("name", "speech") == which:  # the first ones had no name
            return existing
    example = catalog.STARTERS[which]
    model = BaseAudioModel(
        id=new_id("mod"),
        owner_id=actor.id,
        name=example.name,
        description=example.description,
        task=example.task,
        source={"kind": "starter", "name": which},
    )
    folder = Path(catalog.starter_model_path(which))
    model_intake.fill_in(model, model_intake.take_in(folder, model.id, placement="copy"))
    return store(session, actor, model)


def store(session: Session, actor: User, model: BaseAudioModel) -> BaseAudioModel:
    """Add a model's row; what it still needs begins after the commit."""
    session.add(model)
    audit.record(
        session,
        actor=actor,
        action="model.create",
        object_type="model",
        object_id=model.id,
        object_name=model.name,
        details={"source": model.source.get("kind", "")},
    )
    session.flush()
    if model.status not in (ModelStatus.READY, ModelStatus.AWAITING_FILES):
        after_commit(session, lambda: model_intake.start(model.id))
    return model


def find_merged(session: Session, *, actor: User, adapter_id: str) -> BaseAudioModel | None:
    """Return the newest of the actor's models that an adapter was merged into, if there is one."""
    is_of_adapter = col(BaseAudioModel.source)["adapter_id"].as_string() == adapter_id
    mine = col(BaseAudioModel.owner_id) == actor.id
    newest_first = col(BaseAudioModel.created_at).desc()
    return session.exec(select(BaseAudioModel).where(mine, is_of_adapter).order_by(newest_first)).first()


def list_models(
    session: Session,
    *,
    actor: User,
    query: str = "",
    status: ModelStatus | None = None,
    task: Task | None = None,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
    shelf: Shelf = Shelf.MINE,
    action: Action = Action.SEE,
) -> tuple[list[BaseAudioModel], int]:
    """Return one page of the actor's models and how many match.

    Args:
        query: part of the name, description or architecture.
        sort: a column, with a leading “-” for falling order.

    Raises:
        InvalidInput: there is no such column to sort by.
    """
    within = access.within(BaseAudioModel, actor=actor, shelf=shelf, action=action)
    statement = select(BaseAudioModel).where(within)
    if query:
        texts = (BaseAudioModel.name, BaseAudioModel.description, BaseAudioModel.architecture)
        matches = [col(text).icontains(query[:200], autoescape=True) for text in texts]
        statement = statement.where(matches[0] | matches[1] | matches[2])
    if status is not None:
        statement = statement.where(BaseAudioModel.status == status)
    if task is not None:
        statement = statement.where(BaseAudioModel.task == task)
    total = session.exec(select(func.count()).select_from(statement.subquery())).one()
    column = sort.removeprefix("-")
    if column not in _SORTABLE:
        raise InvalidInput(
            f"Models can be sorted by {', '.join(_SORTABLE)}.", fields={"sort": "no such column"}
        )
    order = col(getattr(BaseAudioModel, column))
    statement = statement.order_by(
        order.desc() if sort.startswith("-") else order.asc(), col(BaseAudioModel.id)
    )
    return list(session.exec(statement.offset((page - 1) * page_size).limit(page_size))), total


def find_model(
    session: Session, *, actor: User, model_id: str, action: Action = Action.HOLD
) -> BaseAudioModel | None:
    """Return the model, or None if the actor may not do this to it."""
    with suppress(Forbidden):
        return access.find(session, BaseAudioModel, model_id, actor=actor, action=action)
    return None


def get_model(
    session: Session, *, actor: User, model_id: str, action: Action = Action.HOLD
) -> BaseAudioModel:
    """Return a model that the actor may do this to; without an action: one of their own.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: the actor sees it, and may not do this.
    """
    return access.get(session, BaseAudioModel, model_id, actor=actor, action=action)


def update_model(session: Session, *, actor: User, model_id: str, data: ModelUpdate) -> BaseAudioModel:
    """Change name or description.

    Raises:
        NotFound: not there, or not the actor's.
        InvalidInput: the name is empty.
    """
    access.require_role(actor, of="model")
    model = get_model(session, actor=actor, model_id=model_id)
    if data.name is not None:
        model.name = data.name.strip()
        if not model.name:
            raise InvalidInput("Give the model a name.", fields={"name": "Give the model a name."})
    if data.description is not None:
        model.description = data.description.strip()
    model.updated_at = utc_now()
    session.add(model)
    audit.record(
        session,
        actor=actor,
        action="model.update",
        object_type="model",
        object_id=model.id,
        object_name=model.name,
    )
    return model


def recheck(session: Session, *, actor: User, model_id: str) -> BaseAudioModel:
    """Try a model that ended in error again: download it once more, or check its files once more.

    Of an upload, the files that were received are checked.

    Raises:
        NotFound: not there, or not the actor's.
        Conflict: its files have changed, or aren't all here.
    """
    access.require_role(actor, of="model")
    model = get_model(session, actor=actor, model_id=model_id)
    kind = model.source.get("kind")
    if kind == "upload" and model.status in (ModelStatus.AWAITING_FILES, ModelStatus.ERROR):
        return model_uploads.start_check(session, model)
    if model.status is ModelStatus.CHECKING:
        return model
    if model.status == ModelStatus.READY or kind not in ("hub", "path"):
        prepare.check_unchanged(Path(model.path), model.details.get("files", []), model.content_hash)
        return model
    model.status = ModelStatus.DOWNLOADING if kind == "hub" else ModelStatus.CHECKING
    model.error = None
    session.add(model)
    after_commit(session, lambda: model_intake.start(model.id))
    return model


def prepare_upload(session: Session, *, actor: User, model_id: str) -> int:
    """Return how many bytes may be sent to a model now.

    Raises:
        NotFound: not there, or not the actor's.
        Conflict: it takes no files, or none any more.
        TooLarge: the model, or the account, has reached its limit.
    """
    access.require_role(actor, of="model")
    model = get_model(session, actor=actor, model_id=model_id)
    return model_uploads.check_room(session, actor=actor, model=model)


def forget_file(session: Session, *, actor: User, model_id: str, name: str) -> None:
    """Take back a file that was sent to a model, or partly sent; one that isn't there is not an error.

    Raises:
        NotFound: not there, or not the actor's.
        Conflict: it takes no files, or none any more, or the file is being received right now.
    """
    access.require_role(actor, of="model")
    model_uploads.check_open(get_model(session, actor=actor, model_id=model_id))
    staging.forget(model_id, clean_name(name))


def get_usage(session: Session, *, actor: User, model_id: str) -> ModelUsage:
    """Return the jobs and adapters that depend on a model, newest first.

    Raises:
        NotFound: not there, or not the actor's.
    """
    model = get_model(session, actor=actor, model_id=model_id, action=Action.SEE)
    is_own = model.owner_id == actor.id  # others are told of their own only
    jobs = select(Job).where(Job.model_id == model_id).order_by(col(Job.created_at).desc())
    adapters = (
        select(Adapter).where(Adapter.base_model_id == model_id).order_by(col(Adapter.created_at).desc())
    )
    if not is_own:
        jobs, adapters = jobs.where(Job.owner_id == actor.id), adapters.where(Adapter.owner_id == actor.id)
    found = ModelUsage(list(session.exec(jobs)), list(session.exec(adapters)))
    return replace(found, whose=access.whose(session, actor.id, [*found.jobs, *found.adapters]))


def count_active_jobs(session: Session, *, model_ids: list[str]) -> dict[str, int]:
    """For each model that jobs are using now (or will), how many."""
    counted = (
        select(Job.model_id, func.count())
        .where(col(Job.model_id).in_(model_ids), col(Job.status).in_((*ACTIVE_STATUSES, JobStatus.QUEUED)))
        .group_by(col(Job.model_id))
    )
    return dict(session.exec(counted).all())


def delete_model(session: Session, *, actor: User, model_id: str) -> None:
    """Delete a model that nothing depends on; its files go after the commit.

    Raises:
        NotFound: not there, or not the actor's.
        Conflict: jobs or adapters use it; `users_of` names them.
    """
    access.require_role(actor, of="model")
    model = get_model(session, actor=actor, model_id=model_id)
    names = get_usage(session, actor=actor, model_id=model_id).names()
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise Conflict(
            f"“{model.name}” is used by {', '.join(names[:5])}{more}. Delete those first.", users_of=names
        )
    session.delete(model)
    audit.record(
        session,
        actor=actor,
        action="model.delete",
        object_type="model",
        object_id=model.id,
        object_name=model.name,
    )
    after_commit(session, lambda: model_intake.remove_files(model_id))


def check_unchanged(model: BaseAudioModel) -> None:
    """Make sure, before a job starts, that the files are still those that were checked.

    Raises:
        Conflict: the model is not ready, or a file is gone, changed or leads elsewhere.
    """
    if model.status != ModelStatus.READY:
        raise Conflict(f"The model “{model.name}” is not ready.")
    prepare.check_unchanged(Path(model.path), model.details.get("files", []), model.content_hash)
