"""votes between two takes of one text

Revision ID: 0009
Revises: 0008
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OUTSIDE_TESTS = sa.text("listening_test_id IS NULL")


def upgrade() -> None:
    op.add_column("generation", sa.Column("prompt_key", sa.String(64), nullable=False, server_default=""))
    _fill_keys()
    op.create_index("ix_generation_by_prompt", "generation", ["owner_id", "model_id", "prompt_key", "id"])
    op.add_column("prompt_tally", sa.Column("n_votes", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_prompt_tally_by_votes", "prompt_tally", ["owner_id", "n_votes", "prompt_key"])
    _create_vote()


def _fill_keys() -> None:
    connection = op.get_bind()
    generation = sa.table("generation", sa.column("id"), sa.column("prompt"), sa.column("prompt_key"))
    rows = connection.execute(sa.select(generation.c.id, generation.c.prompt)).all()
    keys = [{"row": id_, "key": hashlib.sha256(prompt.encode()).hexdigest()} for id_, prompt in rows]
    if keys:
        filled = sa.update(generation).where(generation.c.id == sa.bindparam("row"))
        connection.execute(filled.values(prompt_key=sa.bindparam("key")), keys)


def _create_vote() -> None:
    def take() -> sa.ForeignKey:
        return sa.ForeignKey("take.id", ondelete="CASCADE")

    op.create_table(
        "preference_vote",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("rater_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("first_take_id", sa.String(32), take(), nullable=False, index=True),
        sa.Column("second_take_id", sa.String(32), take(), nullable=False, index=True),
        sa.Column("pair_key", sa.String(70), nullable=False),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("prompt_key", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("listening_test_id", sa.String(32), nullable=True, index=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_index(
        "ix_preference_vote_once",
        "preference_vote",
        ["rater_id", "pair_key"],
        unique=True,
        sqlite_where=_OUTSIDE_TESTS,
        postgresql_where=_OUTSIDE_TESTS,
    )
    op.create_index("ix_preference_vote_by_rater", "preference_vote", ["rater_id", "updated_at", "id"])
    op.create_index(
        "ix_preference_vote_by_prompt",
        "preference_vote",
        ["owner_id", "model_id", "prompt_key", "rater_id"],
    )


def downgrade() -> None:
    op.drop_table("preference_vote")
    op.drop_index("ix_prompt_tally_by_votes", "prompt_tally")
    op.drop_column("prompt_tally", "n_votes")
    op.drop_index("ix_generation_by_prompt", "generation")
    op.drop_column("generation", "prompt_key")
