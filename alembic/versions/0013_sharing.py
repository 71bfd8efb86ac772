"""generations that others may hear, or rate

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SHARED = sa.text("sharing != 'private'")


def upgrade() -> None:
    op.add_column("generation", sa.Column("sharing", sa.String(32), nullable=False, server_default="private"))
    op.create_index(
        "ix_generation_shared",
        "generation",
        ["sharing", "created_at", "id"],
        sqlite_where=_SHARED,
        postgresql_where=_SHARED,
    )


def downgrade() -> None:
    op.drop_index("ix_generation_shared", "generation")
    op.drop_column("generation", "sharing")
