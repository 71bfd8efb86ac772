"""The migrations and the tables say the same."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, DateTime, String, column, inspect, select, table, text
from sqlmodel import SQLModel

import qlora_studio.db.models  # noqa: F401
from qlora_studio.db import migrations
from qlora_studio.db.engine import get_engine, make_engine
from qlora_studio.db.models import Job
from qlora_studio.db.models.generation import key_of_prompt
from tests.databases import is_sqlite

SEARCH = re.compile(
    r"(dataset|clip|generation)_search(_\w+)?|(dataset|generation|owner)_place|dataset_count"
)  # SQLite's own, see `db.search`


def _is_ours(_object, name, kind, _reflected, _compare_to) -> bool:
    if kind == "index" and name == "ix_clip_by_text":
        return is_sqlite()  # elsewhere an index can't hold a long text
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


@pytest.mark.sqlite("triggers keep its search")
def test_no_migration_has_lost_the_triggers_that_keep_search_right(data_folder):
    with get_engine().connect() as connection:
        found = set(
            connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
        )
    tables = ("dataset_search", "clip_search", "dataset_count", "generation_search")
    assert found == {f"{table}_{event}" for table in tables for event in ("insert", "update", "delete")}


def test_upgrading_twice_changes_nothing(data_folder):
    migrations.upgrade()
    assert "user" in inspect(get_engine()).get_table_names()


def test_files_are_named_after_their_revisions():
    """So the newest one is known without alembic."""
    scripts = ScriptDirectory.from_config(migrations.make_config())
    assert scripts.get_heads() == [migrations.newest()]
    assert all(Path(one.path).name.startswith(f"{one.revision}_") for one in scripts.walk_revisions())


def test_a_database_is_current_at_the_newest_revision_only(data_folder):
    assert migrations.is_current(get_engine())
    command.downgrade(migrations.make_config(), "0004")
    assert not migrations.is_current(get_engine())
    migrations.upgrade()
    assert migrations.is_current(get_engine())
    assert not migrations.is_current(make_engine("sqlite://"))


def test_jobs_keep_their_order_and_samples_when_the_queue_gets_ranks(data_folder):
    config = migrations.make_config()
    command.downgrade(config, "0004")
    with get_engine().connect().execution_options(studio_write=True) as connection, connection.begin():
        _let_strangers_in(connection)
        for job_id, minute in (("job_a", 1), ("job_b", 0)):
            _insert(connection, "job", id=job_id, created_at=datetime(2023, 11, 14, 22, minute, tzinfo=UTC))
        _insert(connection, "job_sample", job_id="job_a")
        for table in ("user", "dataset", "model"):
            _insert(connection, table, id="")
    command.upgrade(config, "head")
    with get_engine().connect() as connection:
        rows = connection.execute(select(Job.id, Job.rank, Job.actual).order_by(Job.rank)).all()
        assert [tuple(row) for row in rows] == [
            ("job_b", 1_699_999_200.0, {}),
            ("job_a", 1_699_999_260.0, {}),
        ]
    command.downgrade(config, "0004")
    with get_engine().connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job_sample")).scalar_one() == 1
        assert "rank" not in {column["name"] for column in inspect(connection).get_columns("job")}
    command.upgrade(config, "head")


def test_takes_that_are_there_are_counted(data_folder):
    config = migrations.make_config()
    command.downgrade(config, "0006")
    with get_engine().connect().execution_options(studio_write=True) as connection, connection.begin():
        _let_strangers_in(connection)
        _insert(connection, "user", id="")
        _insert(connection, "generation", id="", status="failed", prompt="rain")
        for number, mean in enumerate((None, 4.0, 4.0)):
            _insert(connection, "take", id=f"take_{number}", position=number, mean_stars=mean)
    command.upgrade(config, "head")
    with get_engine().connect() as connection:
        takes = connection.execute(text("SELECT mean_stars, n FROM take_tally ORDER BY mean_stars")).all()
        made = connection.execute(text("SELECT status, n FROM generation_tally")).all()
        key = connection.execute(text("SELECT prompt_key FROM generation")).scalar_one()
    assert [tuple(row) for row in takes] == [(0.0, 1), (4.0, 2)]
    assert [tuple(row) for row in made] == [("failed", 1)]
    assert key == key_of_prompt("rain"), "takes of a text are found by its key"


def _let_strangers_in(connection) -> None:
    """Rows may name others that aren't there, until the transaction ends."""
    late = "PRAGMA defer_foreign_keys=ON" if is_sqlite() else "SET LOCAL session_replication_role = replica"
    connection.execute(text(late))


def _insert(connection, name, **values):
    """Add a row whose other columns hold nothing much, whatever columns there are."""
    columns = inspect(connection).get_columns(name)
    for each in columns:
        if not each["nullable"]:
            values.setdefault(each["name"], _nothing_much(each["type"]))
    connection.execute(table(name, *(column(c["name"], c["type"]) for c in columns)).insert().values(values))


def _nothing_much(kind):
    if isinstance(kind, DateTime):
        return datetime(2023, 11, 14, tzinfo=UTC)
    return {} if isinstance(kind, JSON) else "" if isinstance(kind, String) else kind.python_type()


def test_takes_of_listening_tests_are_told_from_others(data_folder):
    config = migrations.make_config()
    command.downgrade(config, "0014")
    with get_engine().connect().execution_options(studio_write=True) as connection, connection.begin():
        _let_strangers_in(connection)
        for table in ("user", "listening_test"):
            _insert(connection, table, id="")
        for name in ("a", "b"):
            _insert(connection, "generation", id=f"gen_{name}", status="succeeded", prompt_key=name)
            _insert(connection, "take", id=f"take_{name}", generation_id=f"gen_{name}", n_ratings=1)
            _insert(connection, "rating", take_id=f"take_{name}", tags=["warm"])
        _insert(connection, "listening_cell", generation_id="gen_b")
        connection.execute(text("INSERT INTO take_tally VALUES ('', '', 0, 2)"))
    command.upgrade(config, "head")

    def rows(sql: str) -> list[tuple]:
        with get_engine().connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    made = "SELECT id, listening_test_id, is_rated, is_favorite FROM generation ORDER BY id"
    assert rows(made) == [("gen_a", None, 1, 0), ("gen_b", "", 1, 0)]
    assert rows("SELECT n FROM take_tally") == rows("SELECT n FROM generation_tally") == [(1,)]
    assert rows("SELECT prompt_key, n_takes, n_rated FROM prompt_tally") == [("a", 1, 1)]
    assert rows("SELECT n FROM criterion_tally") == rows("SELECT n FROM feedback_day") == [(1,)]
    assert rows("SELECT tag, generation_id FROM generation_tag") == [("warm", "gen_a"), ("warm", "gen_b")]
    command.downgrade(config, "0014")
    assert rows("SELECT n FROM take_tally") == [(2,)]
    command.upgrade(config, "head")
