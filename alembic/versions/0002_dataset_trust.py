"""findings, exclusions, versions and credentials of datasets

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_TIME = sa.DateTime(timezone=True)


def _dataset_id(**kwargs: bool) -> sa.Column:
    return sa.Column(
        "dataset_id",
        sa.String(length=32),
        sa.ForeignKey("dataset.id", ondelete="CASCADE"),
        nullable=False,
        **kwargs,
    )


def upgrade() -> None:
    for name in ("checks", "augmentation"):
        op.add_column("dataset", sa.Column(name, _JSON, nullable=False, server_default="{}"))
    op.add_column("dataset", sa.Column("report_key", sa.String(length=64), nullable=False, server_default=""))
    op.create_table(
        "exclusion",
        sa.Column("id", sa.String(length=32), primary_key=True, nullable=False),
        _dataset_id(),
        sa.Column("check", sa.String(length=40), nullable=False),
        sa.Column("n_clips", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("undone_at", _TIME, nullable=True),
    )
    op.create_index("ix_exclusion_dataset_id", "exclusion", ["dataset_id"])
    # A foreign key makes SQLite copy the table; no other table names it yet, so nothing cascades.
    with op.batch_alter_table("clip") as batch_op:
        batch_op.add_column(sa.Column("clipped_ratio", sa.Float(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("exclusion_id", sa.String(length=32), nullable=True))
        batch_op.create_foreign_key("fk_clip_exclusion_id", "exclusion", ["exclusion_id"], ["id"])
        batch_op.create_index("ix_clip_exclusion_id", ["exclusion_id"])
    op.create_table(
        "clip_finding",
        sa.Column(
            "clip_id",
            sa.String(length=32),
            sa.ForeignKey("clip.id", ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("check", sa.String(length=40), primary_key=True, nullable=False),
        _dataset_id(),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.Column("group", sa.String(length=64), nullable=True),
    )
    op.create_index("ix_clip_finding_dataset_check", "clip_finding", ["dataset_id", "check"])
    op.create_table(
        "dataset_version",
        _dataset_id(primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("n_clips", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("summary", sa.String(length=300), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "clip_change",
        _dataset_id(primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, nullable=False),
        sa.Column("clip_id", sa.String(length=32), primary_key=True, nullable=False),
        sa.Column("before", _JSON, nullable=False),
        sa.Column("after", _JSON, nullable=False),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.String(length=32), primary_key=True, nullable=False),
        sa.Column(
            "owner_id", sa.String(length=32), sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ciphertext", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("ix_credential_owner_id", "credential", ["owner_id"])


def downgrade() -> None:
    op.drop_table("credential")
    op.drop_table("clip_change")
    op.drop_table("dataset_version")
    op.drop_table("clip_finding")
    with op.batch_alter_table("clip") as batch_op:
        batch_op.drop_index("ix_clip_exclusion_id")
        for name in ("exclusion_id", "fingerprint", "clipped_ratio"):
            batch_op.drop_column(name)
    op.drop_table("exclusion")
    for name in ("report_key", "augmentation", "checks"):
        op.drop_column("dataset", name)
