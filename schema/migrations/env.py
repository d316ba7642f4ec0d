"""How Alembic runs here: on the connection that `api.migrate` hands over, one transaction, one runner at a time."""

from __future__ import annotations

from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import text

config = context.config
ONE_AT_A_TIME = 0x7A68696A69616E  # "zhijian"

context.configure(
    connection=config.attributes["connection"],
    target_metadata=config.attributes["metadata"],
    include_object=config.attributes["belongs"],
    render_item=alembic_helpers.render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})"))
    context.execute(text("CREATE EXTENSION IF NOT EXISTS postgis"))
    context.run_migrations()
