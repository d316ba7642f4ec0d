"""planning runs

Revision: 202611220812, after 202611220741
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '202611220812'
down_revision = '202611220741'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('planning_run',
    sa.Column('id', sa.UUID(as_uuid=False), nullable=False, comment='UUIDv7: in order of start'),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('area', sa.Text(), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment='As they were asked for'),
    sa.Column('inputs', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment='What is computed with; counts of persons rounded, shown to nobody'),
    sa.Column('inputs_digest', sa.Text(), nullable=False, comment='SHA-256 of the inputs'),
    sa.Column('versions', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment='As of which day, which areas, which roads'),
    sa.Column('state', sa.Text(), server_default='QUEUED', nullable=False),
    sa.Column('progress', sa.Double(), server_default='0', nullable=False, comment='0 to 1'),
    sa.Column('message', sa.Text(), server_default='', nullable=False),
    sa.Column('result', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('user_id', sa.UUID(as_uuid=False), nullable=False),
    sa.Column('created_at', sa.TIMESTAMP(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('started_at', sa.TIMESTAMP(timezone=True), nullable=True),
    sa.Column('ended_at', sa.TIMESTAMP(timezone=True), nullable=True),
    sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('runner', sa.Text(), nullable=True, comment='The node that works on it'),
    sa.Column('lease_until', sa.TIMESTAMP(timezone=True), nullable=True, comment='Then it may be taken up by another node'),
    sa.CheckConstraint("state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED', 'CANCELLED')", name='ck_planning_run_state'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_planning_run')),
    comment='What was planned, from what, with what result'
    )
    op.create_index('ix_planning_run_area', 'planning_run', ['area', 'id'], unique=False)
    op.create_index('ix_planning_run_open', 'planning_run', ['id'], unique=False, postgresql_where=sa.text("state IN ('QUEUED', 'RUNNING')"))


def downgrade() -> None:
    op.drop_index('ix_planning_run_open', table_name='planning_run', postgresql_where=sa.text("state IN ('QUEUED', 'RUNNING')"))
    op.drop_index('ix_planning_run_area', table_name='planning_run')
    op.drop_table('planning_run')
