"""What the shell completes: ids of one's own things, newest first, with names; accounts for an admin.

Asked while somebody types, so nothing is made, migrated or said here; what can't be read has no ids.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlalchemy import literal
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from qlora_studio.commands.console import known_actor
from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    Adapter,
    ApiToken,
    BaseAudioModel,
    Clip,
    Credential,
    Dataset,
    Dictation,
    Generation,
    HubPush,
    Job,
    JobGroup,
    ListeningTest,
    PromptTemplate,
    Take,
    User,
)

_MOST = 30


def _offer(
    key: Any, label: Any, *, of: Callable[[User], Any], newest: Any
) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """Offers what begins as the word that is being typed: column `key`, where `of` an actor holds."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        settings = get_settings()
        if not settings.database_url and not (settings.data_path / "studio.db").exists():
            return []
        try:
            actor = known_actor(ctx.params.get("user") or "")
            if actor is None:
                return []
            with db.read() as session:
                found = select(key, label).where(of(actor), col(key).startswith(incomplete, autoescape=True))
                rows = session.exec(found.order_by(col(newest).desc()).limit(_MOST))
                return [(word, " ".join(name.split())[:60]) for word, name in rows]
        except (StudioError, SQLAlchemyError):
            return []

    return complete


def _ids_of(table: Any, label: str = "name") -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    return _offer(
        table.id, getattr(table, label), of=lambda actor: table.owner_id == actor.id, newest=table.created_at
    )


_clips = _offer(
    Clip.id,
    Clip.filename,
    of=lambda actor: col(Clip.dataset_id).in_(select(Dataset.id).where(Dataset.owner_id == actor.id)),
    newest=Clip.position,  # they come in no other order
)
_tokens = _offer(
    ApiToken.id, ApiToken.name, of=lambda actor: ApiToken.user_id == actor.id, newest=ApiToken.created_at
)
_accounts = _offer(
    User.username, User.name, of=lambda actor: literal(actor.role is Role.ADMIN), newest=User.created_at
)

DatasetId = Annotated[str, typer.Argument(autocompletion=_ids_of(Dataset))]
ModelId = Annotated[str, typer.Argument(autocompletion=_ids_of(BaseAudioModel))]
JobId = Annotated[str, typer.Argument(autocompletion=_ids_of(Job))]
AdapterId = Annotated[str, typer.Argument(autocompletion=_ids_of(Adapter))]
ClipId = Annotated[str, typer.Argument(autocompletion=_clips)]
CredentialId = Annotated[str, typer.Argument(autocompletion=_ids_of(Credential))]
DictationId = Annotated[str, typer.Argument(autocompletion=_ids_of(Dictation, "model_name"))]
GenerationId = Annotated[str, typer.Argument(autocompletion=_ids_of(Generation, "prompt"))]
PushId = Annotated[str, typer.Argument(autocompletion=_ids_of(HubPush, "repo_id"))]
SweepId = Annotated[str, typer.Argument(autocompletion=_ids_of(JobGroup))]
TakeId = Annotated[str, typer.Argument(autocompletion=_ids_of(Take, "id"))]
TemplateId = Annotated[str, typer.Argument(autocompletion=_ids_of(PromptTemplate))]
TestId = Annotated[str, typer.Argument(autocompletion=_ids_of(ListeningTest))]
TokenId = Annotated[str, typer.Argument(autocompletion=_tokens)]
AccountName = Annotated[str, typer.Argument(help="The username.", autocompletion=_accounts)]
ModelOption = Annotated[
    str, typer.Option("--model", help="The model's id.", autocompletion=_ids_of(BaseAudioModel))
]
AdapterOption = Annotated[
    str,
    typer.Option(
        "--adapter",
        help="One of its adapters' ids, or “active” for its default.",
        autocompletion=_ids_of(Adapter),
    ),
]
