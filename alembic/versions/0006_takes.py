"""takes made of a text, and what people say of them

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_generation()
    _create_take()
    _create_rating()


def _create_generation() -> None:
    op.create_table(
        "generation",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("prompt", sa.String(1000), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("model_name", sa.String(120), nullable=False),
        sa.Column("adapter_id", sa.String(32), nullable=True, index=True),
        sa.Column("adapter_name", sa.String(120), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("n_takes", sa.Integer(), nullable=False),
        sa.Column("guidance", sa.Float(), nullable=False),
        sa.Column("temperature", sa.Float(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False, index=True),
        sa.Column("n_done", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(120), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(1000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
    )
    op.create_index("ix_generation_by_created_at", "generation", ["owner_id", "created_at", "id"])
    op.create_index("ix_generation_by_status", "generation", ["owner_id", "status", "id"])
    op.create_index("ix_generation_by_model", "generation", ["owner_id", "model_id", "created_at", "id"])


def _create_take() -> None:
    op.create_table(
        "take",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "generation_id", sa.String(32), sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("sample_rate", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("n_ratings", sa.Integer(), nullable=False),
        sa.Column("stars_sum", sa.Integer(), nullable=False),
        sa.Column("mean_stars", sa.Float(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("generation_id", "position"),
    )
    op.create_index("ix_take_by_stars", "take", ["owner_id", "mean_stars"])
    op.create_index("ix_take_by_model", "take", ["owner_id", "model_id", "mean_stars"])


def _create_rating() -> None:
    take = sa.ForeignKey("take.id", ondelete="CASCADE")
    op.create_table(
        "rating",
        sa.Column("take_id", sa.String(32), take, primary_key=True),
        sa.Column("rater_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("criterion", sa.String(32), primary_key=True),
        sa.Column("stars", sa.Integer(), nullable=False),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index("ix_rating_by_rater", "rating", ["rater_id", "updated_at"])
    op.create_table(
        "rating_tally",
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("model_id", sa.String(32), primary_key=True),
        sa.Column("criterion", sa.String(32), primary_key=True),
        sa.Column("stars", sa.Integer(), primary_key=True),
        sa.Column("n", sa.Integer(), nullable=False),
    )
    op.create_table(
        "prompt_tally",
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("model_id", sa.String(32), primary_key=True),
        sa.Column("prompt_key", sa.String(64), primary_key=True),
        sa.Column("prompt", sa.String(1000), nullable=False),
        sa.Column("n_takes", sa.Integer(), nullable=False),
        sa.Column("n_rated", sa.Integer(), nullable=False),
    )
    op.create_index("ix_prompt_tally_by_rated", "prompt_tally", ["owner_id", "n_rated", "prompt_key"])
    op.create_index(
        "ix_prompt_tally_by_model", "prompt_tally", ["owner_id", "model_id", "n_rated", "prompt_key"]
    )


def downgrade() -> None:
    for table in ("prompt_tally", "rating_tally", "rating", "take", "generation"):
        op.drop_table(table)
