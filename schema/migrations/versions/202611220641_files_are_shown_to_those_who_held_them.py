"""files are shown to those who held them

Revision: 202611220641, after 202611220640
"""

import sqlalchemy as sa
from alembic import op
revision = '202611220641'
down_revision = '202611220640'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'evidence_proof',
        sa.Column('sha256', sa.Text(collation='C'), nullable=False),
        sa.Column('user_id', sa.Text(), nullable=False),
        sa.Column('at', sa.TIMESTAMP(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.PrimaryKeyConstraint('sha256', 'user_id', name=op.f('pk_evidence_proof')),
        comment='Who has shown that they hold a file, by sending all of it',
    )
    op.add_column('evidence', sa.Column('kept', sa.Boolean(), server_default=sa.text('false'), nullable=False, comment='An issued document named it once: never collected'))
    op.add_column('evidence', sa.Column('unnamed_since', sa.TIMESTAMP(timezone=True), nullable=True, comment='When the collector first found that no document names it'))
    op.add_column('evidence', sa.Column('collected_at', sa.TIMESTAMP(timezone=True), nullable=True, comment='Its bytes are being thrown away; nobody may rely on them any more'))
    op.add_column('evidence_item', sa.Column('proven', sa.Boolean(), server_default=sa.text('false'), nullable=False, comment='Whoever named the file here holds it or could read it; only then does the document show it'))
    op.create_index('ix_evidence_unnamed_since', 'evidence', ['unnamed_since'], postgresql_where=sa.text('unnamed_since IS NOT NULL'))
    op.create_index('ix_evidence_collected_at', 'evidence', ['collected_at'], postgresql_where=sa.text('collected_at IS NOT NULL'))
    op.create_index('ix_evidence_item_unproven', 'evidence_item', ['record', 'doc_id'], postgresql_where=sa.text('NOT proven'))
    op.create_index('ix_upload_sha256', 'upload', ['sha256'])
    # Who sent what before was forgotten after a week: what documents show today they go on showing.
    op.execute("UPDATE evidence_item i SET proven = true FROM evidence e WHERE e.sha256 = i.sha256 AND e.state = 'VERIFIED'")
    op.execute("INSERT INTO evidence_proof (sha256, user_id) SELECT DISTINCT sha256, user_id FROM upload WHERE state = 'VERIFIED'")


def downgrade() -> None:
    op.drop_index('ix_upload_sha256', table_name='upload')
    op.drop_index('ix_evidence_item_unproven', table_name='evidence_item')
    op.drop_index('ix_evidence_collected_at', table_name='evidence')
    op.drop_index('ix_evidence_unnamed_since', table_name='evidence')
    op.drop_column('evidence_item', 'proven')
    for name in ('collected_at', 'unnamed_since', 'kept'):
        op.drop_column('evidence', name)
    op.drop_table('evidence_proof')
