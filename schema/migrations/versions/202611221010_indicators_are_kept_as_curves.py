"""indicators are kept as curves

Revision: 202611221010, after 202611221000
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '202611221010'
down_revision = '202611221000'
branch_labels = None
depends_on = None

FACTS = 'Of measures that count persons, derived from records and their history: who counts where, from when until when'
FACTS_BEFORE = 'Derived from records and their history; no key, since it is replaced by comparison'


def upgrade() -> None:
    op.create_table('indicator_curve',
    sa.Column('measure', sa.Text(collation='C'), nullable=False, comment='As in indicator_fact'),
    sa.Column('area', sa.Text(collation='C'), nullable=False, comment='The smallest that is known'),
    sa.Column('days', postgresql.ARRAY(sa.Date()), nullable=False, comment='In their order; the first may be -infinity'),
    sa.Column('totals', postgresql.ARRAY(sa.BigInteger()), nullable=False, comment='What there is from each of these days on'),
    sa.PrimaryKeyConstraint('measure', 'area', name=op.f('pk_indicator_curve')),
    comment='Derived from records and their history: how much of a measure there is in an area, on any day'
    )
    op.create_table('indicator_past',
    sa.Column('doc_id', sa.UUID(as_uuid=False), nullable=False),
    sa.Column('link', sa.Text(collation='C'), nullable=False, comment='Area or parent that it once had'),
    sa.Column('record', sa.Text(collation='C'), nullable=False),
    sa.PrimaryKeyConstraint('doc_id', 'link', name=op.f('pk_indicator_past')),
    comment='Where documents were before: there they count on past days'
    )
    op.create_index('ix_indicator_past_link', 'indicator_past', ['link'], unique=False)
    op.execute('DELETE FROM indicator_count')
    op.add_column('indicator_count', sa.Column(
        'wide', sa.Boolean(), nullable=False, comment='Whether the area stands on a level above the townships'))
    op.create_index('ix_indicator_count_wide', 'indicator_count', ['measure', 'area'], unique=False, postgresql_include=['n'],
                    postgresql_where=sa.text('wide'))
    op.execute("UPDATE indicator_state SET fingerprint = ''")
    op.create_table_comment('indicator_fact', FACTS, existing_comment=FACTS_BEFORE)


def downgrade() -> None:
    op.create_table_comment('indicator_fact', FACTS_BEFORE, existing_comment=FACTS)
    op.drop_index('ix_indicator_count_wide', table_name='indicator_count')
    op.drop_column('indicator_count', 'wide')
    op.execute("UPDATE indicator_state SET fingerprint = ''")
    op.drop_index('ix_indicator_past_link', table_name='indicator_past')
    op.drop_table('indicator_past')
    op.drop_table('indicator_curve')
