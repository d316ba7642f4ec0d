"""the head knows its home

Revision: 202611220520, after 202611220502
"""

import sqlalchemy as sa
from alembic import op
revision = '202611220520'
down_revision = '202611220442'
branch_labels = None
depends_on = None


def upgrade() -> None:
    comment = 'Where the epoch began: cluster/timeline/database/table; null: not settled yet'
    op.add_column('sync_head', sa.Column('home', sa.Text(), nullable=True, comment=comment))
    floor = sa.Column('revision_floor', sa.Integer(), server_default=sa.text('0'), nullable=False, comment='Revisions of this epoch are above it')
    op.add_column('sync_head', floor)


def downgrade() -> None:
    op.drop_column('sync_head', 'revision_floor')
    op.drop_column('sync_head', 'home')
