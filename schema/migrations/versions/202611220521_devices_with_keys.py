"""devices with keys, grants by name

Revision: 202611220521, after 202611220520
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '202611220521'
down_revision = '202611220520'
branch_labels = None
depends_on = None

DEVICE = (
    ('clock_measured_at', sa.TIMESTAMP(timezone=True), None),
    ('thumbprint', sa.Text(), 'RFC 7638, of the key that signs its requests; null: not enrolled'),
    ('enrolled_at', sa.TIMESTAMP(timezone=True), None),
    ('enrolled_by', postgresql.UUID(as_uuid=False), 'Who issued the code'),
    ('offline_bytes', sa.BigInteger(), 'Size of what it holds, as it says'),
    ('unsent', sa.Integer(), 'Documents not sent yet, as it said at reported_at'),
    ('reported_at', sa.TIMESTAMP(timezone=True), None),
    ('held_pos', sa.BigInteger(), 'Head of the feed when a pull last reached its end'),
    ('held_at', sa.TIMESTAMP(timezone=True), None),
    ('revoked_by', postgresql.UUID(as_uuid=False), None),
    ('revoked_for', sa.Text(), 'The reason, in words'),
    ('wiped_at', sa.TIMESTAMP(timezone=True), 'When it said that it had wiped itself'),
)


def upgrade() -> None:
    op.create_table(
        'device_code',
        sa.Column('hash', sa.LargeBinary(), nullable=False, comment='SHA-256; the code itself is kept nowhere'),
        sa.Column('user_id', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('issued_by', postgresql.UUID(as_uuid=False), nullable=False),
        sa.Column('expires_at', sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column('used_at', sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['user_id'], ['user_account.id'], name=op.f('fk_device_code_user_id_user_account'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('hash', name=op.f('pk_device_code')),
        comment='One-time codes with which a device registers its key',
    )
    for name, kind, comment in DEVICE:
        op.add_column('device', sa.Column(name, kind, nullable=True, comment=comment))
    offset = "Server's clock minus the device's, at the last contact that told it"
    op.alter_column('device', 'clock_offset_ms', existing_type=sa.BigInteger(), comment=offset)
    op.add_column('user_grant', sa.Column('granted_by', postgresql.UUID(as_uuid=False), nullable=True, comment='Null: with the account'))
    op.create_check_constraint('ck_user_grant_period', 'user_grant', 'valid_to >= valid_from')


def downgrade() -> None:
    op.drop_constraint('ck_user_grant_period', 'user_grant')
    op.drop_column('user_grant', 'granted_by')
    for name, _, _ in reversed(DEVICE):
        op.drop_column('device', name)
    op.drop_table('device_code')
