"""hash chain of the audit

Revision: 202611220442, after 202611220420
"""

from alembic import op
import geoalchemy2
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
revision = '202611220442'
down_revision = '202611220502'
branch_labels = None
depends_on = None


INSERT_ONLY = ("sync_change", "audit_chain")
DO = (
    *(
        f"CREATE TRIGGER {table}_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        for table in INSERT_ONLY
    ),
    # Whoever changes a grant or an account, by whatever way, is in the audit; `zhijian.user` is the actor where the program says one.
    """CREATE FUNCTION audit_account() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'password_hash' END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'password_hash' END;
BEGIN
  INSERT INTO audit_entry (at, kind, user_id, area, detail)
  VALUES (clock_timestamp(), TG_ARGV[0] || '_' || TG_OP, nullif(current_setting('zhijian.user', true), '')::uuid,
    substring(coalesce(after, before)->>'scope' FROM '^[0-9]{6}'), jsonb_build_object('before', before, 'after', after));
  RETURN NULL;
END $$""",
    "CREATE TRIGGER user_grant_audited AFTER INSERT OR UPDATE OR DELETE ON user_grant FOR EACH ROW EXECUTE FUNCTION audit_account('GRANT')",
    "CREATE TRIGGER user_account_audited AFTER INSERT OR UPDATE OR DELETE ON user_account FOR EACH ROW EXECUTE FUNCTION audit_account('ACCOUNT')",
    # Nothing leaves the inbox without a name and a time.
    "ALTER TABLE sync_conflict ADD CONSTRAINT ck_sync_conflict_settled CHECK (num_nulls(resolution, resolved_by, resolved_at) IN (0, 3))",
    """CREATE FUNCTION refuse_unsettled() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a conflict stays until a person has settled it'; END $$""",
    """CREATE TRIGGER sync_conflict_stays BEFORE DELETE ON sync_conflict FOR EACH ROW WHEN (OLD.resolved_at IS NULL)
EXECUTE FUNCTION refuse_unsettled()""",
    """CREATE TRIGGER sync_conflict_settled_once BEFORE UPDATE ON sync_conflict FOR EACH ROW
WHEN (OLD.resolved_at IS NOT NULL AND (OLD.resolution, OLD.resolved_by, OLD.resolved_at) IS DISTINCT FROM (NEW.resolution, NEW.resolved_by, NEW.resolved_at))
EXECUTE FUNCTION refuse_unsettled()""",
)
UNDO = (
    *(f"DROP TRIGGER {table}_insert_only ON {table}" for table in INSERT_ONLY),
    "DROP FUNCTION audit_account()",
    "DROP TRIGGER user_grant_audited ON user_grant",
    "DROP TRIGGER user_account_audited ON user_account",
    "ALTER TABLE sync_conflict DROP CONSTRAINT ck_sync_conflict_settled",
    "DROP FUNCTION refuse_unsettled()",
    "DROP TRIGGER sync_conflict_stays ON sync_conflict",
    "DROP TRIGGER sync_conflict_settled_once ON sync_conflict",
)


def upgrade() -> None:
    op.create_table('audit_chain',
    sa.Column('area', sa.Text(collation='C'), nullable=False, comment='County of the entry, or the next larger area that it has; 000000 without one'),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False, comment='1, 2, 3 … in each area, without a gap'),
    sa.Column('source', sa.Text(collation='C'), nullable=False, comment='change: sync_change, entry: audit_entry'),
    sa.Column('entry_id', sa.BigInteger(), nullable=False),
    sa.Column('algorithm', sa.Text(), nullable=False, comment='sha256 or sm3; a setting may change, what is chained stays'),
    sa.Column('hash', postgresql.BYTEA(), nullable=False, comment='Of the previous hash, the place and every column of the entry: sync.chain'),
    sa.PrimaryKeyConstraint('area', 'seq', name=op.f('pk_audit_chain')),
    comment='One chain of hashes per area over everything in the audit; insert-only'
    )
    op.create_index('ix_audit_chain_source_entry_id', 'audit_chain', ['source', 'entry_id'], unique=True)
    op.create_table('audit_progress',
    sa.Column('source', sa.Text(collation='C'), nullable=False),
    sa.Column('complete_to', sa.BigInteger(), nullable=False, comment='Every entry with an id up to here that will ever exist is chained'),
    sa.PrimaryKeyConstraint('source', name=op.f('pk_audit_progress')),
    comment='Where the next look for entries outside the chain begins',
    postgresql_with={'fillfactor': 10}
    )
    op.add_column('sync_change', sa.Column('area', sa.Text(), nullable=True, comment="Of the chain in the audit: the document's county at that time; null: the country's"))
    for statement in DO:
        op.execute(statement)


def downgrade() -> None:
    for statement in reversed(UNDO):
        op.execute(statement)
    op.drop_column('sync_change', 'area')
    op.drop_table('audit_progress')
    op.drop_index('ix_audit_chain_source_entry_id', table_name='audit_chain')
    op.drop_table('audit_chain')
