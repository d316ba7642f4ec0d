"""tombstones have a retention

Revision: 202611220640, after the newest of 2026-11-22
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '202611220640'
down_revision = '202611220522'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('sync_head', sa.Column(
        'trimmed_pos', sa.BigInteger(), server_default=sa.text('0'), nullable=False, comment='Up to it tombstones are in sync_tombstone'
    ))
    op.create_index('ix_sync_scope_doc_out_pos', 'sync_scope_doc', ['pos'], postgresql_where=sa.text("state = 'out'"))
    op.create_table(
        'sync_tombstone',
        sa.Column('record', sa.Text(collation='C'), nullable=False),
        sa.Column('doc_id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('pos', sa.BigInteger(), nullable=False, comment='Where it left the last of the scopes'),
        sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False, comment='Scopes that it has left since it was made'),
        sa.PrimaryKeyConstraint('record', 'doc_id', name=op.f('pk_sync_tombstone')),
        comment='Tombstones older than the retention, one row per document; for terminals that were away for longer',
    )
    op.create_index('ix_sync_tombstone_record_pos', 'sync_tombstone', ['record', 'pos'])
    op.create_table(
        'sync_mark',
        sa.Column('at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column('pos', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('at', name=op.f('pk_sync_mark')),
        comment='Where the feed was at a time, noted now and then: tells the age of a position',
    )


def downgrade() -> None:
    op.drop_table('sync_mark')
    op.drop_table('sync_tombstone')
    op.drop_index('ix_sync_scope_doc_out_pos', table_name='sync_scope_doc')
    op.drop_column('sync_head', 'trimmed_pos')
