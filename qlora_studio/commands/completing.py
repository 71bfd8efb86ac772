"""Ids that the shell completes: of one's own things, the newest first, with their names.

Asked while somebody types, so nothing is made, migrated or said here; what can't be read has no ids.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from qlora_studio.commands.console import known_actor
from qlora_studio.core.errors import StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job

_MOST = 30


def _ids_of(table: Any) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        settings = get_settings()
        if not settings.database_url and not (settings.data_path / "studio.db").exists():
            return []
        try:
            actor = known_actor(ctx.params.get("user") or "")
            if actor is None:
                return []
            with db.read() as session:
                mine = select(table.id, table.name).where(table.owner_id == actor.id)
                found = mine.where(col(table.id).startswith(incomplete, autoescape=True))
                rows = session.exec(found.order_by(col(table.created_at).desc()).limit(_MOST))
                return [(key, name) for key, name in rows]
        except (StudioError, SQLAlchemyError):
            return []

    return complete


DatasetId = Annotated[str, typer.Argument(autocompletion=_ids_of(Dataset))]
ModelId = Annotated[str, typer.Argument(autocompletion=_ids_of(BaseAudioModel))]
JobId = Annotated[str, typer.Argument(autocompletion=_ids_of(Job))]
AdapterId = Annotated[str, typer.Argument(autocompletion=_ids_of(Adapter))]
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
