"""audit is insert-only

Revision: 202611220420, after 202611220419
"""

from alembic import op
revision = '202611220420'
down_revision = '202611220419'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'table % is insert-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entry_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER audit_entry_insert_only ON audit_entry")
    op.execute("DROP FUNCTION refuse_change()")
