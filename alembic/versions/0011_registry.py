"""adapters: versions, tags, notes, put away, one active for each base model

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("is_active")


def upgrade() -> None:
    op.add_column("adapter", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("adapter", sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("adapter", sa.Column("notes", sa.Text(), nullable=False, server_default=""))
    op.add_column("adapter", sa.Column("active_strength", sa.Float(), nullable=False, server_default="1"))
    op.add_column("adapter", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    _number()
    op.execute(sa.text("UPDATE adapter SET is_active = false"))  # nothing has set it so far
    op.create_index(
        "ix_adapter_active_once",
        "adapter",
        ["owner_id", "base_model_id"],
        unique=True,
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )


def _number() -> None:
    """Count the adapters of each owner and base model in the order in which they were made."""
    adapter = sa.table(
        "adapter",
        *(sa.column(name) for name in ("id", "owner_id", "base_model_id", "created_at", "version")),
    )
    connection = op.get_bind()
    columns = (adapter.c.id, adapter.c.owner_id, adapter.c.base_model_id)
    rows = connection.execute(sa.select(*columns).order_by(adapter.c.created_at, adapter.c.id))
    counts: dict[tuple[str, str], int] = {}
    numbers = []
    for row in rows:
        of = (row.owner_id, row.base_model_id)
        counts[of] = counts.get(of, 0) + 1
        numbers.append({"row": row.id, "number": counts[of]})
    if numbers:
        changed = sa.update(adapter).where(adapter.c.id == sa.bindparam("row"))
        connection.execute(changed.values(version=sa.bindparam("number")), numbers)


def downgrade() -> None:
    op.drop_index("ix_adapter_active_once", "adapter")
    for name in ("archived_at", "active_strength", "notes", "tags", "version"):
        op.drop_column("adapter", name)
