"""what models wrote down of clips, and corrections of it

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "dictation",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False, index=True),
        sa.Column(
            "dataset_id", sa.String(32), sa.ForeignKey("dataset.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("model_name", sa.String(120), nullable=False),
        sa.Column("adapter_id", sa.String(32), nullable=True),
        sa.Column("adapter_name", sa.String(120), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False, index=True),
        sa.Column("n_clips", sa.Integer(), nullable=False),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column("n_checked", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(1000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
    )
    op.create_index("ix_dictation_by_dataset", "dictation", ["dataset_id", "created_at", "id"])
    op.create_table(
        "transcript",
        sa.Column(
            "dictation_id", sa.String(32), sa.ForeignKey("dictation.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "clip_id",
            sa.String(32),
            sa.ForeignKey("clip.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("heard", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("error", sa.String(500), nullable=False),
    )
    op.create_index("ix_transcript_in_order", "transcript", ["dictation_id", "position"])


def downgrade() -> None:
    op.drop_table("transcript")
    op.drop_table("dictation")
