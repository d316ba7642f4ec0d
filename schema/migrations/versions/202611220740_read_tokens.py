"""read tokens

Revision: 202611220740, after 202611220648
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '202611220740'
down_revision = '202611220648'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'read_token',
        sa.Column('id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('hash', sa.LargeBinary(), nullable=False, comment='SHA-256; the token itself is kept nowhere'),
        sa.Column('user_id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('device_id', sa.Text(), nullable=True, comment='Where it was made; it ends with the device'),
        sa.Column('name', sa.Text(), nullable=False, comment='What it is for, in the words of its maker'),
        sa.Column('created_at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column('expires_at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column('last_used_at', sa.TIMESTAMP(timezone=True), nullable=True, comment='To the hour'),
        sa.Column('revoked_at', sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column('revoked_by', postgresql.UUID(as_uuid=False), nullable=True),
        sa.ForeignKeyConstraint(['user_id'], ['user_account.id'], name=op.f('fk_read_token_user_id_user_account'), ondelete='CASCADE'),
        sa.ForeignKeyConstraint(['device_id'], ['device.id'], name=op.f('fk_read_token_device_id_device'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_read_token')),
        sa.UniqueConstraint('hash', name=op.f('uq_read_token_hash')),
        comment='Tokens for programs that only read, such as QGIS',
    )
    op.create_index('ix_read_token_user_id', 'read_token', ['user_id'])
    op.create_index('ix_read_token_device_id', 'read_token', ['device_id'])


def downgrade() -> None:
    op.drop_table('read_token')
