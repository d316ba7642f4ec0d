"""document numbers

Revision: 202611220522, after 202611220521
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '202611220522'
down_revision = '202611220521'
branch_labels = None
depends_on = None


def _series() -> list[sa.Column[object]]:
    return [
        sa.Column('series', sa.Text(), nullable=False),
        sa.Column('area_code', sa.Text(), nullable=False),
        sa.Column('year', sa.Integer(), autoincrement=False, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        'number_series', *_series(),
        sa.Column('last', sa.Integer(), nullable=False, comment='Handed out up to here'),
        sa.PrimaryKeyConstraint('series', 'area_code', 'year', name=op.f('pk_number_series')),
        comment='How far each series has been handed out',
    )
    op.create_table(
        'number_block',
        sa.Column('id', postgresql.UUID(as_uuid=False), nullable=False), *_series(),
        sa.Column('first', sa.Integer(), nullable=False),
        sa.Column('last', sa.Integer(), nullable=False),
        sa.Column('device_id', sa.Text(), nullable=False),
        sa.Column('user_id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('reserved_at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint('first >= 1 AND last >= first', name='ck_number_block_order'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_number_block')),
        sa.UniqueConstraint('series', 'area_code', 'year', 'first', name='uq_number_block_first'),
        sa.UniqueConstraint('series', 'area_code', 'year', 'last', name='uq_number_block_last'),
        comment='Numbers first to last, reserved for one device',
    )
    op.create_index('ix_number_block_device_id', 'number_block', ['device_id'])
    op.create_table(
        'number_fate', *_series(),
        sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('fate', sa.Text(), nullable=False),
        sa.Column('record', sa.Text(), nullable=True),
        sa.Column('doc_id', postgresql.UUID(as_uuid=False), nullable=True),
        sa.Column('reason', sa.Text(), nullable=True, comment='Why it was returned or voided'),
        sa.Column('user_id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("fate IN ('USED', 'RETURNED', 'VOID')", name='ck_number_fate_fate'),
        sa.CheckConstraint("(fate = 'USED') = (doc_id IS NOT NULL) AND (fate = 'USED') = (reason IS NULL)", name='ck_number_fate_why'),
        sa.PrimaryKeyConstraint('series', 'area_code', 'year', 'number', name=op.f('pk_number_fate')),
        comment='What became of a number: used by a document, returned unused, or void',
    )


def downgrade() -> None:
    for table in ('number_fate', 'number_block', 'number_series'):
        op.drop_table(table)
