"""Adapters on their way to the Hugging Face Hub: asked for, sent in the background, taken up after a restart.

A push is a row. Whoever sends it (a thread of the server, or the command line) holds its file lock, so it
is sent once however often it is begun; the kernel lets go of it when the process ends. Cancelling is a change
of the row, which the sender sees within half a second.
"""

import json
import logging
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import CursorResult, func
from sqlmodel import Session, col, desc, select, update

from qlora_studio.contracts.merging import REPORT
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.contracts.spec import Strict
from qlora_studio.core import secrets
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StudioError, TooLarge
from qlora_studio.core.hub import check_repo_id
from qlora_studio.db import engine as db
from qlora_studio.db import notices
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Adapter, BaseAudioModel, HubPush, User
from qlora_studio.db.models.dataset import Credential
from qlora_studio.services import adapters, audit, cards, credentials, hub_upload
from qlora_studio.services.hub_upload import Progress, Upload, UploadStopped
from qlora_studio.storage import holding, layout

ACTIVE = ("waiting", "running")
MAX_ACTIVE = 5  # of one account
_AT_ONCE = threading.Semaphore(2)
_TELL_EVERY_S = 0.5
_LONG = timedelta(seconds=30)  # who pushed looks elsewhere by then
_GONE = "Its credential was deleted. Choose another and push again."
_CONFIG = "adapter_config.json"
_log = logging.getLogger(__name__)


class PushCreate(Strict):
    """Where to push to, and with which token.

    Attributes:
        repo_id: `name` or `owner/name`; a name alone is taken under the token's own account.
        credential_id: one of the actor's credentials for the Hub; its token needs write access.
        weights: `adapter`, or `merged` for the model that it was merged into.
    """

    repo_id: Annotated[str, Field(min_length=1, max_length=200)]
    credential_id: Annotated[str, Field(min_length=1, max_length=32)]
    is_private: bool = True
    weights: Literal["adapter", "merged"] = "adapter"


class PushPublic(BaseModel):
    """A push as the REST API answers it. Sizes in bytes."""

    id: str
    adapter_id: str
    credential_id: str | None
    repo_id: str
    weights: str
    is_private: bool
    status: str
    done_bytes: int
    total_bytes: int
    url: str
    error: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, push: HubPush) -> "PushPublic":
        """Return the public form of a push."""
        return cls(**{name: getattr(push, name) for name in cls.model_fields})


# -- asked for -----------------------------------------------------------------------------------------


def start(
    session: Session, *, actor: User, adapter_id: str, form: PushCreate, in_background: bool = True
) -> HubPush:
    """Ask for a push; while one of the same adapter to the same place is under way, that one is it.

    Args:
        in_background: begin it in a thread of this process as soon as the row is on disk.

    Raises:
        NotFound: the adapter isn't the actor's.
        InvalidInput: the name can't be a repository's, or the credential isn't the actor's for the Hub.
        Conflict: there is nothing to push.
        TooLarge: too many pushes of the actor's are under way.
    """
    adapters.require_trainer(actor)
    adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id).adapter
    repo_id = _check_name(form.repo_id)
    _check_credential(session, actor, form.credential_id)
    mine = select(HubPush).where(col(HubPush.owner_id) == actor.id, col(HubPush.status).in_(ACTIVE))
    same = mine.where(col(HubPush.adapter_id) == adapter.id, col(HubPush.repo_id) == repo_id)
    push = session.exec(same.where(col(HubPush.weights) == form.weights)).first()
    if push is None:
        if session.exec(select(func.count()).select_from(mine.subquery())).one() >= MAX_ACTIVE:
            raise TooLarge(f"{MAX_ACTIVE} of your pushes are under way, the most at once. Wait for one.")
        total = sum(size for _, size in _list_files(adapter, form.weights))
        push = HubPush(owner_id=actor.id, adapter_id=adapter.id, total_bytes=total, repo_id=repo_id,
                       **form.model_dump(exclude={"repo_id"}))  # fmt: skip
        session.add(push)
        session.flush()
        _audit(session, actor, "adapter.push", adapter, push)
    if in_background:
        push_id = push.id
        after_commit(session, lambda: launch(push_id))
    return push


def get_push(session: Session, *, actor: User, push_id: str) -> HubPush:
    """Return one of the actor's pushes.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    push = session.get(HubPush, push_id)
    if push is None or push.owner_id != actor.id:
        raise NotFound("There is no such push.")
    return push


def list_pushes(
    session: Session, *, actor: User, adapter_id: str | None = None, page: int = 1, page_size: int = 25
) -> tuple[list[HubPush], int]:
    """Return one page of the actor's pushes, newest first, and how many there are in all."""
    query = select(HubPush).where(col(HubPush.owner_id) == actor.id)
    if adapter_id is not None:
        query = query.where(col(HubPush.adapter_id) == adapter_id)
    total = session.exec(select(func.count()).select_from(query.subquery())).one()
    newest = query.order_by(desc(col(HubPush.created_at)), desc(col(HubPush.id)))
    return list(session.exec(newest.offset((page - 1) * page_size).limit(page_size))), total


def cancel(session: Session, *, actor: User, push_id: str) -> None:
    """Cancel a push that is under way, or forget one that has ended. What the Hub has by then stays there.

    Raises:
        NotFound: it isn't the actor's.
    """
    adapters.require_trainer(actor)
    push = get_push(session, actor=actor, push_id=push_id)
    adapter = session.get_one(Adapter, push.adapter_id)
    if push.status in ACTIVE:
        push.status, push.finished_at = "cancelled", utc_now()
        session.add(push)
        _audit(session, actor, "adapter.push_cancel", adapter, push)
    else:
        session.delete(push)


def _check_name(repo_id: str) -> str:
    try:
        return check_repo_id(repo_id)
    except InvalidInput as error:
        sentence = "A repository's name looks like “anna/prompts-lora”: letters, digits, “-”, “_” and “.”."
        raise InvalidInput(sentence, fields={"repo_id": sentence}) from error


def _check_credential(session: Session, actor: User, credential_id: str) -> None:
    try:
        credential = credentials.get_credential(session, actor=actor, credential_id=credential_id)
    except NotFound:
        credential = None
    if credential is None or credential.kind != "hub":
        message = "Choose one of your credentials for the Hugging Face Hub."
        raise InvalidInput(message, fields={"credential_id": message})


def _folder(adapter: Adapter, weights: str) -> Path:
    """Where the files lie.

    Raises:
        Conflict: they are gone, or the adapter was not merged.
    """
    if weights == "merged":
        folder = layout.merged_path(adapter.id)
        if not (folder / REPORT).is_file():
            raise Conflict("The adapter has not been merged yet. Merge it on its page first.")
        return folder
    return adapters.folder_of(adapter)


def _list_files(adapter: Adapter, weights: str) -> list[tuple[Path, int]]:
    """The files to push and their sizes; the card comes besides."""
    folder = _folder(adapter, weights)
    left_out = {"README.md", REPORT}
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
    return [(p, p.stat().st_size) for p in files if p.relative_to(folder).as_posix() not in left_out]


# -- sent ----------------------------------------------------------------------------------------------


def launch(push_id: str) -> threading.Thread:
    """Send a push in a thread of this process; nothing happens if it is being sent already."""

    def work() -> None:
        with _AT_ONCE:
            run(push_id)

    thread = threading.Thread(target=work, name=f"push {push_id}", daemon=True)
    thread.start()
    return thread


def recover() -> None:
    """Take up the pushes that an earlier server was about."""
    with db.read() as session:
        unfinished = list(session.exec(select(HubPush.id).where(col(HubPush.status).in_(ACTIVE))))
    for push_id in unfinished:
        launch(push_id)


def run(push_id: str) -> None:
    """Send a push to its end, here; does nothing if somebody else is about it, or it has ended."""
    with holding.held(layout.data_path() / "pushes" / f"{push_id}.lock") as is_ours:
        if not is_ours or not _change(push_id, status="running"):
            return
        try:
            url = _send(push_id)
        except UploadStopped:
            return
        except StudioError as error:
            _end(push_id, status="failed", error=error.message[:1000])
        except Exception as error:
            _log.exception("push %s failed", push_id)
            _end(push_id, status="failed", error=f"The push failed ({type(error).__name__}). Try again.")
        else:
            _end(push_id, status="succeeded", url=url)


def _send(push_id: str) -> str:
    with db.read() as session:
        push = session.get_one(HubPush, push_id)
        wanted = _prepare(session, push)
    _change(push_id, total_bytes=wanted.total_bytes)
    next_tell = 0.0

    def tell(done_bytes: int) -> None:
        nonlocal next_tell
        if time.monotonic() < next_tell:
            return
        next_tell = time.monotonic() + _TELL_EVERY_S
        try:
            is_wanted = _change(push_id, done_bytes=done_bytes)
        except StudioError:
            return  # the database is busy; it is told later
        if not is_wanted:
            raise UploadStopped

    def note_repo(name: str) -> None:
        if not _change(push_id, repo_id=name, has_repo=True):
            raise UploadStopped

    url = hub_upload.upload(wanted, Progress(tell), on_repo=note_repo)
    _change(push_id, done_bytes=wanted.total_bytes)
    return url


def _prepare(session: Session, push: HubPush) -> Upload:
    adapter = session.get_one(Adapter, push.adapter_id)
    folder = _folder(adapter, push.weights)
    card = cards.make_card(session, adapter=adapter, is_merged=push.weights == "merged")
    files: dict[str, Path | bytes] = {"README.md": card.encode()}
    files |= {p.relative_to(folder).as_posix(): p for p, _ in _list_files(adapter, push.weights)}
    model = session.get(BaseAudioModel, adapter.base_model_id)
    if model is not None and (base := cards.hub_id(model.source)) and _CONFIG in files:
        files[_CONFIG] = _name_base(folder / _CONFIG, base)
    return Upload(
        repo_id=push.repo_id,
        is_private=push.is_private,
        files=files,
        message=f"{'Model' if push.weights == 'merged' else 'Adapter'} from QLoRA Studio",
        may_exist=push.has_repo or _was_made_here(session, push),
        token=_token(session, push),
    )


def _name_base(path: Path, base: str) -> bytes:
    """An adapter's config that names its base as the Hub does, so that PEFT finds it by itself."""
    config = json.loads(path.read_bytes())
    return (json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True) + "\n").encode()


def _was_made_here(session: Session, push: HubPush) -> bool:
    """Whether an earlier push of the same person has made the repository; its id has the owner by then."""
    made = select(HubPush.repo_id).where(col(HubPush.owner_id) == push.owner_id, col(HubPush.has_repo))
    return any(push.repo_id in (name, name.rpartition("/")[2]) for name in session.exec(made))


def _token(session: Session, push: HubPush) -> str:
    credential = session.get(Credential, push.credential_id) if push.credential_id else None
    if credential is None or credential.owner_id != push.owner_id or credential.kind != "hub":
        raise Conflict(_GONE)
    return str(json.loads(secrets.unseal(credential.ciphertext))["token"])


def _change(push_id: str, **values: Any) -> bool:
    """Change the row of a push that is under way; False when it is not any more."""
    with db.write() as session:
        return _change_in(session, push_id, **values)


def _change_in(session: Session, push_id: str, **values: Any) -> bool:
    active = update(HubPush).where(col(HubPush.id) == push_id, col(HubPush.status).in_(ACTIVE))
    result = session.execute(active.values(**values))
    return isinstance(result, CursorResult) and result.rowcount == 1


def _finish(push_id: str, **values: Any) -> None:
    """Write down how a push ended, and tell its owner; of one that took a moment only what went wrong."""
    with db.write() as session:
        if not _change_in(session, push_id, **values):
            return
        push = session.get_one(HubPush, push_id)
        adapter = session.get_one(Adapter, push.adapter_id)
        is_done = push.status == "succeeded"
        if is_done and utc_now() - push.created_at < _LONG:
            return
        notices.add(
            session,
            user_id=push.owner_id,
            kind=NoticeKind.PUSH_SUCCEEDED if is_done else NoticeKind.PUSH_FAILED,
            title=f"“{adapter.name}” " + ("is on the Hub" if is_done else "could not be pushed to the Hub"),
            body=push.url if is_done else push.error,
            href=f"/adapters/{adapter.id}",
        )


def _end(push_id: str, **values: Any) -> None:
    """Write down how a push ended; while the database is busy or full, try again for a while."""
    for seconds in (1, 5, 20, 60, 0):
        try:
            _finish(push_id, finished_at=utc_now(), **values)
            return
        except StudioError as error:
            _log.warning("push %s: its end could not be written: %s", push_id, error.message)
        time.sleep(seconds)


def _audit(session: Session, actor: User, action: str, adapter: Adapter, push: HubPush) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="adapter",
        object_id=adapter.id,
        object_name=adapter.name,
        details={"repo_id": push.repo_id, "is_private": push.is_private, "weights": push.weights},
    )
