"""texts of generations found by their trigrams, in SQLite

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As `dataset_search` (0003): a row's number is that of its owner and its own, the index holds no text.
# A later migration that copies `generation`, as SQLite's batches do, must make the triggers again.
_ROW = """(SELECT number FROM owner_place WHERE owner_id = {0}.owner_id) * 4294967296
    + (SELECT number FROM generation_place WHERE generation_id = {0}.id)"""
_IN = f"""INSERT INTO generation_search (rowid, prompt) VALUES ({_ROW.format("new")}, new.prompt);"""
_OUT = f"""INSERT INTO generation_search (generation_search, rowid, prompt)
    VALUES ('delete', {_ROW.format("old")}, old.prompt);"""
_OWNER_IN = "INSERT OR IGNORE INTO owner_place (owner_id) VALUES (new.owner_id);"
_STATEMENTS = (
    """CREATE TABLE generation_place
        (number INTEGER PRIMARY KEY AUTOINCREMENT, generation_id VARCHAR(32) UNIQUE)""",
    "CREATE VIRTUAL TABLE generation_search USING fts5(prompt, content='', tokenize='trigram')",
    "INSERT OR IGNORE INTO owner_place (owner_id) SELECT DISTINCT owner_id FROM generation",
    "INSERT INTO generation_place (generation_id) SELECT id FROM generation ORDER BY created_at, id",
    f"INSERT INTO generation_search (rowid, prompt) SELECT {_ROW.format('g')}, g.prompt FROM generation g",
    f"""CREATE TRIGGER generation_search_insert AFTER INSERT ON generation BEGIN
        {_OWNER_IN} INSERT INTO generation_place (generation_id) VALUES (new.id); {_IN} END""",
    f"""CREATE TRIGGER generation_search_update AFTER UPDATE OF owner_id, prompt ON generation BEGIN
        {_OWNER_IN} {_OUT} {_IN} END""",
    f"""CREATE TRIGGER generation_search_delete AFTER DELETE ON generation BEGIN
        {_OUT} DELETE FROM generation_place WHERE generation_id = old.id; END""",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for statement in _STATEMENTS:
            op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER generation_search_{event}")
        op.execute("DROP TABLE generation_search")
        op.execute("DROP TABLE generation_place")
