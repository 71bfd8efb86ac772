"""indexes to sort long lists by; in SQLite also an index of their words, and counts of datasets

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CLIP_SORTS = ("filename", "duration_s", "loudness_db", "label", "split", "status")
_DATASET_SORTS = ("created_at", "updated_at", "n_clips", "duration_s", "size_bytes", "status", "task")

# A clip's number in the index is its dataset's number and its position, a dataset's that of its owner and its
# own: what is searched together lies side by side, in order. Nothing is kept twice: the index holds no text,
# only where its trigrams are.
# A later migration that copies `clip` or `dataset`, as SQLite's batches do, must make the triggers again.
_CLIP_ROW = "(SELECT number FROM dataset_place WHERE dataset_id = {0}.dataset_id) * 16777216 + {0}.position"
_CLIP_TEXT = "{0}.filename, {0}.text, {0}.label, {0}.speaker"
_CLIP_OUT = f"""INSERT INTO clip_search (clip_search, rowid, filename, text, label, speaker)
    VALUES ('delete', {_CLIP_ROW.format("old")}, {_CLIP_TEXT.format("old")});"""
_CLIP_IN = f"""INSERT INTO clip_search (rowid, filename, text, label, speaker)
    VALUES ({_CLIP_ROW.format("new")}, {_CLIP_TEXT.format("new")});"""
_DATASET_ROW = """(SELECT number FROM owner_place WHERE owner_id = {0}.owner_id) * 4294967296
    + (SELECT number FROM dataset_place WHERE dataset_id = {0}.id)"""
_DATASET_OUT = f"""INSERT INTO dataset_search (dataset_search, rowid, name, description)
    VALUES ('delete', {_DATASET_ROW.format("old")}, old.name, old.description);"""
_DATASET_IN = f"""INSERT INTO dataset_search (rowid, name, description)
    VALUES ({_DATASET_ROW.format("new")}, new.name, new.description);"""
_OWNER_IN = "INSERT OR IGNORE INTO owner_place (owner_id) VALUES (new.owner_id);"
_CHANGED = "UPDATE owner_place SET changes = changes + 1 WHERE owner_id = {0}.owner_id;"
_COUNT_OUT = """UPDATE dataset_count SET n = n - 1
    WHERE owner_id = old.owner_id AND status = old.status AND task = old.task;"""
_COUNT_IN = """INSERT INTO dataset_count VALUES (new.owner_id, new.status, new.task, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;"""
_COUNTS = (
    """CREATE TABLE dataset_count (owner_id VARCHAR(32), status VARCHAR(32), task VARCHAR(32), n INTEGER,
        PRIMARY KEY (owner_id, status, task)) WITHOUT ROWID""",
    """INSERT INTO dataset_count
        SELECT owner_id, status, task, count(*) FROM dataset GROUP BY owner_id, status, task""",
    f"CREATE TRIGGER dataset_count_insert AFTER INSERT ON dataset BEGIN {_COUNT_IN} END",
    f"""CREATE TRIGGER dataset_count_delete AFTER DELETE ON dataset BEGIN
        {_COUNT_OUT} {_CHANGED.format("old")} END""",
    f"""CREATE TRIGGER dataset_count_update AFTER UPDATE OF owner_id, status, task ON dataset BEGIN
        {_COUNT_OUT} {_COUNT_IN} {_CHANGED.format("old")} END""",
)
_SEARCH = (
    """CREATE TABLE owner_place (number INTEGER PRIMARY KEY AUTOINCREMENT, owner_id VARCHAR(32) UNIQUE,
        changes INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE dataset_place (number INTEGER PRIMARY KEY AUTOINCREMENT, dataset_id VARCHAR(32) UNIQUE)",
    """CREATE VIRTUAL TABLE dataset_search
        USING fts5(name, description, content='', tokenize='trigram')""",
    """CREATE VIRTUAL TABLE clip_search
        USING fts5(filename, text, label, speaker, content='', tokenize='trigram')""",
    "INSERT INTO owner_place (owner_id) SELECT DISTINCT owner_id FROM dataset",
    "INSERT INTO dataset_place (dataset_id) SELECT id FROM dataset ORDER BY created_at, id",
    f"""INSERT INTO dataset_search (rowid, name, description)
        SELECT {_DATASET_ROW.format("d")}, d.name, d.description FROM dataset d""",
    f"""INSERT INTO clip_search (rowid, filename, text, label, speaker)
        SELECT {_CLIP_ROW.format("c")}, {_CLIP_TEXT.format("c")} FROM clip c""",
    f"""CREATE TRIGGER dataset_search_insert AFTER INSERT ON dataset BEGIN
        {_OWNER_IN} INSERT INTO dataset_place (dataset_id) VALUES (new.id); {_DATASET_IN}
        {_CHANGED.format("new")} END""",
    f"""CREATE TRIGGER dataset_search_update AFTER UPDATE OF owner_id, name, description ON dataset BEGIN
        {_OWNER_IN} {_DATASET_OUT} {_DATASET_IN} {_CHANGED.format("old")} {_CHANGED.format("new")} END""",
    # its clips go before it, while their place is known
    f"""CREATE TRIGGER dataset_search_delete AFTER DELETE ON dataset BEGIN
        {_DATASET_OUT} DELETE FROM dataset_place WHERE dataset_id = old.id; END""",
    f"CREATE TRIGGER clip_search_insert AFTER INSERT ON clip BEGIN {_CLIP_IN} END",
    f"CREATE TRIGGER clip_search_delete AFTER DELETE ON clip BEGIN {_CLIP_OUT} END",
    f"""CREATE TRIGGER clip_search_update
        AFTER UPDATE OF position, filename, text, label, speaker ON clip BEGIN {_CLIP_OUT} {_CLIP_IN} END""",
)


def upgrade() -> None:
    op.drop_index("ix_clip_label", "clip")
    op.drop_index("ix_dataset_name", "dataset")
    op.drop_index("ix_dataset_owner_id", "dataset")
    op.drop_index("ix_dataset_created_at", "dataset")
    for name in _CLIP_SORTS:
        op.create_index(f"ix_clip_by_{name}", "clip", ["dataset_id", name, "position"])
    for name in _DATASET_SORTS:
        op.create_index(f"ix_dataset_by_{name}", "dataset", ["owner_id", name, "id"])
    op.create_index("ix_dataset_by_name", "dataset", ["owner_id", sa.text("lower(name)"), "id"])
    if op.get_bind().dialect.name == "sqlite":  # elsewhere an index can't hold a long text
        op.create_index("ix_clip_by_text", "clip", ["dataset_id", "text", "position"])
        for statement in (*_COUNTS, *_SEARCH):
            op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in ("dataset_count", "dataset_search", "clip_search"):
            for event in ("insert", "update", "delete"):
                op.execute(f"DROP TRIGGER {table}_{event}")
            op.execute(f"DROP TABLE {table}")
        for name in ("dataset_place", "owner_place"):
            op.execute(f"DROP TABLE {name}")
        op.drop_index("ix_clip_by_text", "clip")
    op.drop_index("ix_dataset_by_name", "dataset")
    for name in _DATASET_SORTS:
        op.drop_index(f"ix_dataset_by_{name}", "dataset")
    for name in _CLIP_SORTS:
        op.drop_index(f"ix_clip_by_{name}", "clip")
    op.create_index("ix_dataset_created_at", "dataset", ["created_at"])
    op.create_index("ix_dataset_owner_id", "dataset", ["owner_id"])
    op.create_index("ix_dataset_name", "dataset", ["name"])
    op.create_index("ix_clip_label", "clip", ["label"])
