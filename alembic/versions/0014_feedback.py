"""feedback by day and criterion, when there is enough of it, and audit lines that count

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("audit_event") as batch:
        batch.add_column(sa.Column("n", sa.Integer(), nullable=False, server_default="1"))
        batch.add_column(sa.Column("last_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("day_key", sa.String(120), nullable=True))
    op.create_index("ix_audit_event_day_key", "audit_event", ["day_key"], unique=True)
    op.create_table(
        "readiness_rule",
        sa.Column("user_id", sa.String(32), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("criterion", sa.String(32), nullable=True),
        sa.Column("min_stars", sa.Float(), nullable=False),
        sa.Column("n_needed", sa.Integer(), nullable=False),
    )
    _create("criterion_tally", _key("criterion"), sa.Column("mean_stars", sa.Float(), primary_key=True))
    _create("feedback_day", _key("day", 10), _key("rater_id"), _key("kind", 8))
    op.execute(
        """INSERT INTO criterion_tally SELECT owner_id, model_id, criterion, mean_stars, count(*) FROM (
        SELECT take.owner_id, take.model_id, rating.criterion,
        CAST(sum(rating.stars) AS DOUBLE PRECISION) / count(*) AS mean_stars
        FROM rating JOIN take ON take.id = rating.take_id
        GROUP BY take.id, take.owner_id, take.model_id, rating.criterion) AS one
        GROUP BY owner_id, model_id, criterion, mean_stars"""
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    day = "substr({}, 1, 10)" if is_sqlite else "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    of_rating, of_vote = day.format("rating.created_at"), day.format("created_at")
    op.execute(
        f"""INSERT INTO feedback_day
        SELECT take.owner_id, take.model_id, {of_rating}, rater_id, 'rating', count(*)
        FROM rating JOIN take ON take.id = rating.take_id
        GROUP BY take.owner_id, take.model_id, {of_rating}, rater_id"""
    )
    op.execute(
        f"""INSERT INTO feedback_day SELECT owner_id, model_id, {of_vote}, rater_id, 'vote', count(*)
        FROM preference_vote WHERE listening_test_id IS NULL
        GROUP BY owner_id, model_id, {of_vote}, rater_id"""
    )


def _key(name: str, length: int = 32) -> sa.Column:
    return sa.Column(name, sa.String(length), primary_key=True)


def _create(name: str, *keys: sa.Column) -> None:
    op.create_table(
        name,
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), primary_key=True),
        _key("model_id"),
        *keys,
        sa.Column("n", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    for table in ("feedback_day", "criterion_tally", "readiness_rule"):
        op.drop_table(table)
    op.drop_index("ix_audit_event_day_key", "audit_event")
    with op.batch_alter_table("audit_event") as batch:
        for column in ("day_key", "last_at", "n"):
            batch.drop_column(column)
