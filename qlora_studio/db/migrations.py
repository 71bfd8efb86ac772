"""Bring the database to the newest schema; each migration is whole or not there at all."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from qlora_studio.db.engine import get_engine

_ROOT = Path(__file__).resolve().parents[2]


def make_config(engine: Engine | None = None) -> Config:
    """Return alembic's configuration for a database, by default the one of the settings."""
    config = Config(str(_ROOT / "alembic.ini"))
    config.set_main_option("script_location", str(_ROOT / "alembic"))
    config.attributes["engine"] = engine or get_engine()
    return config


def upgrade(engine: Engine | None = None) -> None:
    """Run every migration that the database lacks."""
    command.upgrade(make_config(engine), "head")
