"""Alembic's entry: one transaction for each migration, types compared, SQLite by batches."""

from alembic import context
from sqlmodel import SQLModel

import qlora_studio.db.models  # noqa: F401  fills the metadata
from qlora_studio.db.engine import get_engine

engine = context.config.attributes.get("engine") or get_engine()

with engine.connect().execution_options(studio_write=True) as connection:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        compare_type=True,
        render_as_batch=True,
        transaction_per_migration=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
