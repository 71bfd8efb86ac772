"""the order of the queue, groups of jobs, what a run really took, notifications, pushes to the Hub

Revision ID: 0005
Revises: 0004
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_groups()
    # Columns are added in place: copying `job`, as SQLite's batches do, would delete what refers to it.
    op.add_column("job", sa.Column("rank", sa.Float(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("actual", _JSON, nullable=False, server_default="{}"))
    op.add_column("job", sa.Column("is_stalled", sa.Boolean(), nullable=False, server_default=sa.false()))
    group = sa.Column("group_id", sa.String(32), sa.ForeignKey("job_group.id"), nullable=True)
    op.add_column("job", group, inline_references=True)
    op.create_index("ix_job_rank", "job", ["rank"])
    op.create_index("ix_job_group_id", "job", ["group_id"])
    _rank_by_age()
    _create_notifications()
    _create_pushes()


def _rank_by_age() -> None:
    job = sa.table(
        "job", sa.column("id", sa.String), sa.column("rank", sa.Float), sa.column("created_at", _TIME)
    )
    connection = op.get_bind()
    for job_id, created_at in connection.execute(sa.select(job.c.id, job.c.created_at)).all():
        at: datetime = created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC)
        connection.execute(sa.update(job).where(job.c.id == job_id).values(rank=at.timestamp()))


def _create_groups() -> None:
    op.create_table(
        "job_group",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False, index=True),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("axes", _JSON, nullable=False),
        sa.Column("launch_key", sa.String(200), nullable=True, unique=True),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "queue_state",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("changed_by", sa.String(32), sa.ForeignKey("user.id", ondelete="SET NULL"), nullable=True),
        sa.Column("changed_at", _TIME, nullable=False),
    )


def _create_notifications() -> None:
    cascade = {"ondelete": "CASCADE"}
    op.create_table(
        "notification",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(32), sa.ForeignKey("user.id", **cascade), nullable=False, index=True),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("job.id", ondelete="SET NULL"), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.String(2000), nullable=False),
        sa.Column("href", sa.String(200), nullable=False),
        sa.Column("data", _JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False, index=True),
        sa.Column("read_at", _TIME, nullable=True),
    )
    op.create_table(
        "notification_channel",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("user_id", sa.String(32), sa.ForeignKey("user.id", **cascade), nullable=False, index=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("target", sa.String(2000), nullable=False),
        sa.Column("ciphertext", sa.String(2000), nullable=False),
        sa.Column("kinds", _JSON, nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("last_at", _TIME, nullable=True),
        sa.Column("last_error", sa.String(500), nullable=False),
        sa.Column("n_failures", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "delivery",
        sa.Column(
            "notification_id", sa.String(32), sa.ForeignKey("notification.id", **cascade), primary_key=True
        ),
        sa.Column(
            "channel_id", sa.String(32), sa.ForeignKey("notification_channel.id", **cascade), primary_key=True
        ),
        sa.Column("status", sa.String(32), nullable=False, index=True),
        sa.Column("n_tries", sa.Integer(), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("error", sa.String(500), nullable=False),
    )
    op.create_table(
        "mail_sent",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.String(32), sa.ForeignKey("user.id", **cascade), nullable=False, index=True),
        sa.Column("is_test", sa.Boolean(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )


def _create_pushes() -> None:
    op.create_table(
        "hub_push",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner_id", sa.String(32), sa.ForeignKey("user.id"), nullable=False, index=True),
        sa.Column(
            "adapter_id",
            sa.String(32),
            sa.ForeignKey("adapter.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "credential_id", sa.String(32), sa.ForeignKey("credential.id", ondelete="SET NULL"), nullable=True
        ),
        sa.Column("repo_id", sa.String(200), nullable=False),
        sa.Column("weights", sa.String(16), nullable=False),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("has_repo", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("done_bytes", sa.Integer(), nullable=False),
        sa.Column("total_bytes", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(500), nullable=False),
        sa.Column("error", sa.String(1000), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
    )


def downgrade() -> None:
    for table in (
        "hub_push", "mail_sent", "delivery", "notification_channel", "notification", "queue_state"
    ):  # fmt: skip
        op.drop_table(table)
    for name in ("ix_job_group_id", "ix_job_rank"):
        op.drop_index(name, "job")
    for name in ("group_id", "is_stalled", "actual", "rank"):
        op.drop_column("job", name)
    op.drop_table("job_group")
