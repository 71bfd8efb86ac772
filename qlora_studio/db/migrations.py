"""Bring the database to the newest schema; each migration is whole or not there at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from qlora_studio.core.errors import Conflict
from qlora_studio.db.engine import get_engine, translated

if TYPE_CHECKING:
    from alembic.config import Config

_ROOT = Path(__file__).resolve().parents[2]


def make_config(engine: Engine | None = None) -> "Config":
    """Return alembic's configuration for a database, by default the one of the settings."""
    from alembic.config import Config

    config = Config(str(_ROOT / "alembic.ini"))
    config.set_main_option("script_location", str(_ROOT / "alembic"))
    config.attributes["engine"] = engine or get_engine()
    return config


def newest() -> str:
    """The newest revision: a migration's file is named after its own."""
    return max(path.name for path in (_ROOT / "alembic/versions").glob("*.py")).partition("_")[0]


def is_known(revision: str) -> bool:
    """Whether this version has a migration of that name; a newer version's database has others."""
    return any((_ROOT / "alembic/versions").glob(f"{revision}_*.py")) if revision.isalnum() else False


def is_current(engine: Engine) -> bool:
    """Whether a database has every migration; one that can't be asked hasn't."""
    return _revisions_of(engine) == [newest()]


def _revisions_of(engine: Engine) -> list[str]:
    try:
        with engine.connect() as connection:
            return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    except DatabaseError:
        return []


def upgrade(engine: Engine | None = None) -> None:
    """Run every migration that the database lacks.

    Raises:
        Conflict: a newer version has had it; nothing was changed.
        StorageFull: the database's volume is full.
        DatabaseBusy: another process holds it, or its server can't be reached.
    """
    engine = engine or get_engine()
    found = _revisions_of(engine)
    if found == [newest()]:
        return  # as nearly always; a server that starts again need not load alembic for that
    if unknown := [revision for revision in found if not is_known(revision)]:
        raise Conflict(
            f"The database is of a newer version (schema {unknown[0]}; this one knows {newest()}). Start "
            "that version, or restore the backup made before the upgrade: "
            "qlora-studio restore FILE --replace."
        )
    from alembic import command

    with translated():
        command.upgrade(make_config(engine), "head")
