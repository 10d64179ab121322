"""Alembic's entry: one connection handed in by relay_core.store.schema.migrate, one transaction for all revisions."""

from alembic import context

from relay_core.store.schema.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
