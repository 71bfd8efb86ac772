"""listening tests

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_test()
    _create_contestant()
    _create_cell()
    _create_question()
    op.create_table(
        "listening_rater",
        _of_test(primary_key=True),
        sa.Column("rater_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        sa.Column("is_left_out", sa.Boolean(), nullable=False),
    )


def _of_test(*, primary_key: bool = False) -> sa.Column:
    test = sa.ForeignKey("listening_test.id", ondelete="CASCADE")
    return sa.Column("test_id", sa.String(32), test, primary_key=primary_key, nullable=False)


def _create_test() -> None:
    op.create_table(
        "listening_test",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("status", sa.String(32), nullable=False, index=True),
        sa.Column("audience", sa.String(32), nullable=False),
        sa.Column("prompts", _JSON, nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("n_seeds", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("guidance", sa.Float(), nullable=False),
        sa.Column("temperature", sa.Float(), nullable=False),
        sa.Column("catch_every", sa.Integer(), nullable=False),
        sa.Column("max_votes", sa.Integer(), nullable=True),
        sa.Column("max_per_rater", sa.Integer(), nullable=True),
        sa.Column("sample_rate", sa.Integer(), nullable=False),
        sa.Column("n_votes", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(1000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("opened_at", _TIME, nullable=True),
        sa.Column("closed_at", _TIME, nullable=True),
    )
    op.create_index("ix_listening_test_by_owner", "listening_test", ["owner_id", "created_at", "id"])
    op.create_index("ix_listening_test_by_audience", "listening_test", ["audience", "status", "created_at"])


def _create_contestant() -> None:
    op.create_table(
        "listening_contestant",
        _of_test(primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("model_id", sa.String(32), nullable=False),
        sa.Column("model_name", sa.String(120), nullable=False),
        sa.Column("adapter_id", sa.String(32), nullable=True),
        sa.Column("adapter_name", sa.String(120), nullable=False),
        sa.Column("strength", sa.Float(), nullable=False),
    )


def _create_cell() -> None:
    op.create_table(
        "listening_cell",
        _of_test(primary_key=True),
        sa.Column("contestant", sa.Integer(), primary_key=True),
        sa.Column("prompt", sa.Integer(), primary_key=True),
        sa.Column("generation_id", sa.String(32), nullable=True, index=True),
        sa.Column("n_tries", sa.Integer(), nullable=False),
    )


def _create_question() -> None:
    op.create_table(
        "listening_question",
        sa.Column("id", sa.String(32), primary_key=True),
        _of_test(),
        sa.Column("rater_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("prompt", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("left", sa.Integer(), nullable=False),
        sa.Column("right", sa.Integer(), nullable=False),
        sa.Column("left_take_id", sa.String(32), nullable=False),
        sa.Column("right_take_id", sa.String(32), nullable=False),
        sa.Column("damaged", sa.String(8), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=True),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("answered_at", _TIME, nullable=True),
        sa.UniqueConstraint("test_id", "rater_id", "number"),
    )
    op.create_index("ix_listening_question_by_answer", "listening_question", ["test_id", "answered_at"])


def downgrade() -> None:
    for name in ("rater", "question", "cell", "contestant", "test"):
        op.drop_table(f"listening_{name}")
