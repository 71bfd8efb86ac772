"""The migrations and the tables say the same."""

import re

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlmodel import SQLModel

import qlora_studio.db.models  # noqa: F401
from qlora_studio.db.engine import get_engine

SEARCH = re.compile(
    r"(dataset|clip)_search(_\w+)?|(dataset|owner)_place|dataset_count"
)  # SQLite's own, see `db.search`


def _is_ours(_object, name, kind, _reflected, _compare_to) -> bool:
    return not (kind == "table" and SEARCH.fullmatch(name))


@pytest.mark.filterwarnings("ignore:.*unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_empty_to_head_equals_the_tables_with_types(data_folder):
    with get_engine().connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": _is_ours}
        )
        differences = compare_metadata(context, SQLModel.metadata)
    assert differences == []


def test_every_table_is_there(data_folder):
    names = set(inspect(get_engine()).get_table_names())
    assert set(SQLModel.metadata.tables) <= names


def test_no_migration_has_lost_the_triggers_that_keep_search_right(data_folder):
    with get_engine().connect() as connection:
        found = set(
            connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
        )
    tables = ("dataset_search", "clip_search", "dataset_count")
    assert found == {f"{table}_{event}" for table in tables for event in ("insert", "update", "delete")}


def test_upgrading_twice_changes_nothing(data_folder):
    from qlora_studio.db import migrations

    migrations.upgrade()
    assert "user" in inspect(get_engine()).get_table_names()
