"""Weights sent from a browser or a script: received into staging, then checked like any other model.

`POST /models` with the source `upload` makes a row that is `awaiting_files`; each file is streamed to
`staging/<model id>/`; the check gives them back their names, and what passes moves to `models/<model id>/`.
"""

from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus
from qlora_studio.core.errors import Conflict, InvalidInput, TooLarge
from qlora_studio.core.settings import get_settings
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.ingest import quota, staging
from qlora_studio.ingest.names import clean_name
from qlora_studio.modelfiles.names import is_wanted, why_unwanted
from qlora_studio.modelfiles.weights import MAX_SHARDS
from qlora_studio.services import model_intake

_MAX_FILES = MAX_SHARDS + 64
_OPEN = (ModelStatus.AWAITING_FILES, ModelStatus.ERROR)


def check_name(raw: str) -> str:
    """Return a file's name if it can be part of a model.

    Raises:
        InvalidInput: it can't; the sentence says why.
    """
    if not is_wanted(raw):
        sentence = why_unwanted(clean_name(raw))
        raise InvalidInput(sentence, fields={"filename": sentence})
    return raw


def check_open(model: BaseAudioModel) -> None:
    """Make sure that a model awaits files, so that they can be sent and taken back.

    Raises:
        Conflict: it takes none, or none any more.
    """
    if model.source.get("kind") != "upload":
        raise Conflict("This model doesn't come from uploaded files.")
    if model.status not in _OPEN:
        raise Conflict("This model's files are in. Register another one for other files.")


def check_room(session: Session, *, actor: User, model: BaseAudioModel) -> int:
    """Return how many bytes may be added to a model that awaits files.

    Raises:
        Conflict: it takes no files, or none any more.
        TooLarge: the model, or the account, has reached its limit.
    """
    check_open(model)
    settings = get_settings()
    n_files, held = staging.count(model.id)
    if held >= settings.max_upload_bytes or n_files >= _MAX_FILES:
        raise TooLarge(
            f"A model may have {_MAX_FILES} files and {settings.max_upload_bytes / 2**30:.0f} GB in all."
        )
    left = quota.limit_bytes(session, actor.id) - quota.held_bytes(session, actor.id)
    if left <= 0:
        raise TooLarge("Your account is full. Delete a dataset or a model first.")
    return min(left, settings.max_upload_bytes - held)


def start_check(session: Session, model: BaseAudioModel) -> BaseAudioModel:
    """Have what was received checked, after the commit.

    Raises:
        Conflict: something is missing or not whole.
    """
    received = staging.list_received(model.id)
    partly = [item.name for item in received if not item.is_complete]
    if partly:
        raise Conflict(f"{partly[0]} isn't whole yet. Send the rest of it, or take it back.")
    names = {item.name for item in received}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise Conflict("Send config.json and the weights, model.safetensors, first.")
    model.status, model.error = ModelStatus.CHECKING, None
    session.add(model)
    after_commit(session, lambda: model_intake.start(model.id))
    return model
