"""The migrations and the tables say the same."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlmodel import SQLModel

import qlora_studio.db.models  # noqa: F401
from qlora_studio.db.engine import get_engine


def test_empty_to_head_equals_the_tables_with_types(data_folder):
    with get_engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, SQLModel.metadata)
    assert differences == []


def test_every_table_is_there(data_folder):
    names = set(inspect(get_engine()).get_table_names())
    assert set(SQLModel.metadata.tables) <= names


def test_upgrading_twice_changes_nothing(data_folder):
    from qlora_studio.db import migrations

    migrations.upgrade()
    assert "user" in inspect(get_engine()).get_table_names()
