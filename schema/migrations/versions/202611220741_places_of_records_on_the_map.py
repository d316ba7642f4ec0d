"""places of records on the map

Revision: 202611220741, after 202611220740
"""

import sqlalchemy as sa
from alembic import op

revision = '202611220741'
down_revision = '202611220740'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('map_cell',
    sa.Column('record', sa.Text(collation='C'), nullable=False),
    sa.Column('zoom', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.Column('scope', sa.Text(collation='C'), nullable=False, comment='A unit or a province of map_point'),
    sa.Column('quad', sa.BigInteger(), autoincrement=False, nullable=False, comment='Of the cell: 32 x 32 of them are a tile'),
    sa.Column('n', sa.Integer(), nullable=False),
    sa.Column('sum_x', sa.BigInteger(), nullable=False),
    sa.Column('sum_y', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('record', 'zoom', 'scope', 'quad', name=op.f('pk_map_cell')),
    comment='Sums of map_point by cell; 0 where the last one has gone',
    postgresql_with={'fillfactor': 90}
    )
    op.create_table('map_point',
    sa.Column('record', sa.Text(collation='C'), nullable=False),
    sa.Column('doc_id', sa.UUID(as_uuid=False), nullable=False),
    sa.Column('quad', sa.BigInteger(), nullable=False, comment='Morton code of x and y: a tile is a range of it'),
    sa.Column('x', sa.BigInteger(), nullable=False, comment='Web Mercator, 2^30 to the round of the world'),
    sa.Column('y', sa.BigInteger(), nullable=False, comment='Likewise, from the north'),
    sa.Column('area', sa.Text(collation='C'), nullable=False),
    sa.Column('unit', sa.Text(collation='C'), nullable=False, comment="The area's county, else the area itself"),
    sa.Column('province', sa.Text(collation='C'), nullable=True),
    sa.PrimaryKeyConstraint('record', 'doc_id', name=op.f('pk_map_point')),
    comment='Derived from records that have a place'
    )
    op.create_index('ix_map_point_area', 'map_point', ['record', 'area', 'quad'], unique=False)
    op.create_index('ix_map_point_quad', 'map_point', ['record', 'quad'], unique=False, postgresql_include=['x', 'y', 'doc_id', 'area', 'unit', 'province'])
    op.create_table('map_state',
    sa.Column('id', sa.SmallInteger(), server_default=sa.text('1'), autoincrement=False, nullable=False),
    sa.Column('epoch', sa.Text(), nullable=False, comment='Of the feed'),
    sa.Column('pos', sa.BigInteger(), nullable=False, comment='Of the feed; what is at or below it is placed'),
    sa.Column('fingerprint', sa.Text(), nullable=False, comment="Of this program's way and of the areas; another one asks for a recompute"),
    sa.CheckConstraint('id = 1', name='ck_map_state_one_row'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_map_state')),
    postgresql_with={'fillfactor': 10}
    )


def downgrade() -> None:
    op.drop_table('map_state')
    op.drop_index('ix_map_point_quad', table_name='map_point', postgresql_include=['x', 'y', 'doc_id', 'area', 'unit', 'province'])
    op.drop_index('ix_map_point_area', table_name='map_point')
    op.drop_table('map_point')
    op.drop_table('map_cell')
