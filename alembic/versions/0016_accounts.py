"""accounts that can be disabled and limited, their tokens, and what they share

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_SHARED = sa.text("sharing != 'private'")
_SHARABLE = ("dataset", "model", "job", "adapter")
_AUDITED = ("actor_name", "action", "object_type", "object_id")
_OF_USERS = ("name", "disabled_at", "deleted_at", "max_bytes", "max_queued_jobs")


def _owner() -> sa.ForeignKey:
    return sa.ForeignKey("user.id", ondelete="CASCADE")


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("user", sa.Column("name", sa.String(120), nullable=False, server_default=""))
    op.add_column("user", sa.Column("disabled_at", time))
    op.add_column("user", sa.Column("deleted_at", time))
    op.add_column("user", sa.Column("max_bytes", sa.BigInteger()))
    op.add_column("user", sa.Column("max_queued_jobs", sa.Integer()))
    op.create_table(
        "api_token",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(32), _owner(), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("last_used_at", time),
    )
    op.create_index("ix_api_token_user_id", "api_token", ["user_id"])
    op.create_table(
        "password_reset",
        sa.Column("user_id", sa.String(32), _owner(), primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", time, nullable=False),
    )
    for table in _SHARABLE:
        op.add_column(table, sa.Column("sharing", sa.String(32), nullable=False, server_default="private"))
        names = ["sharing", "created_at", "id"]
        op.create_index(f"ix_{table}_shared", table, names, sqlite_where=_SHARED, postgresql_where=_SHARED)
    for name in _AUDITED:
        op.create_index(f"ix_audit_event_by_{name}", "audit_event", [name, "id"])


def downgrade() -> None:
    for name in _AUDITED:
        op.drop_index(f"ix_audit_event_by_{name}", "audit_event")
    for table in _SHARABLE:
        op.drop_index(f"ix_{table}_shared", table)
        op.drop_column(table, "sharing")
    op.drop_table("password_reset")
    op.drop_table("api_token")
    for name in _OF_USERS:
        op.drop_column("user", name)
