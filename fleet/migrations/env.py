"""Alembic runs this; the connection is the one of :meth:`fleet.database.Database.migrate`."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
