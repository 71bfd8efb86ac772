"""running counts of generations and takes

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create("take_tally", sa.Column("mean_stars", sa.Float(), primary_key=True))
    _create("generation_tally", sa.Column("status", sa.String(32), primary_key=True))
    op.execute(
        """INSERT INTO take_tally SELECT owner_id, model_id, coalesce(mean_stars, 0), count(*)
        FROM take GROUP BY owner_id, model_id, coalesce(mean_stars, 0)"""
    )
    op.execute(
        """INSERT INTO generation_tally SELECT owner_id, model_id, status, count(*)
        FROM generation GROUP BY owner_id, model_id, status"""
    )
    op.drop_index("ix_generation_by_status", "generation")
    op.create_index("ix_generation_by_status", "generation", ["owner_id", "status", "created_at", "id"])


def _create(name: str, counted_by: sa.Column) -> None:
    op.create_table(
        name,
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("model_id", sa.String(32), primary_key=True),
        counted_by,
        sa.Column("n", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    op.drop_index("ix_generation_by_status", "generation")
    op.create_index("ix_generation_by_status", "generation", ["owner_id", "status", "id"])
    op.drop_table("generation_tally")
    op.drop_table("take_tally")
