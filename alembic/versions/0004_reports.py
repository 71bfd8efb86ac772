"""what jobs, samples and adapters tell beyond figures

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = (("job", "report"), ("job_sample", "details"), ("adapter", "certificate"), ("adapter", "origin"))


def upgrade() -> None:
    json = sa.JSON(none_as_null=True)
    for table, name in _COLUMNS:
        op.add_column(table, sa.Column(name, json, nullable=False, server_default="{}"))


def downgrade() -> None:
    for table, name in reversed(_COLUMNS):
        op.drop_column(table, name)
