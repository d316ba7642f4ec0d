"""the feed by document

Revision: 202611220952, after 202611220812
"""

from alembic import op
revision = '202611220952'
down_revision = '202611220812'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint('pk_sync_scope_doc', 'sync_scope_doc', type_='primary')
    op.create_primary_key('pk_sync_scope_doc', 'sync_scope_doc', ['doc_id', 'scope', 'record'])


def downgrade() -> None:
    op.drop_constraint('pk_sync_scope_doc', 'sync_scope_doc', type_='primary')
    op.create_primary_key('pk_sync_scope_doc', 'sync_scope_doc', ['scope', 'record', 'doc_id'])
