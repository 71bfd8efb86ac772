"""bytes and parameters beyond 2^31, where an integer has 32 bits (SQLite's have 64)

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BIG = {
    "adapter": ("size_bytes",),
    "clip": ("size_bytes",),
    "dataset": ("size_bytes",),
    "hub_push": ("done_bytes", "total_bytes"),
    "job": ("event_offset", "last_seq", "peak_rss_bytes"),
    "model": ("downloaded_bytes", "n_parameters", "size_bytes"),
    "take": ("size_bytes",),
}


def upgrade() -> None:
    _alter(sa.BigInteger())


def downgrade() -> None:
    _alter(sa.Integer())


def _alter(kind: sa.Integer) -> None:
    if op.get_bind().dialect.name != "sqlite":
        for table, names in _BIG.items():
            for name in names:
                op.alter_column(table, name, type_=kind)
