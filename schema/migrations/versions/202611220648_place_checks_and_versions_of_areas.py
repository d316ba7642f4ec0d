"""place checks and versions of areas

Revision: 202611220648, after 202611220644
"""

from alembic import op
import sqlalchemy as sa
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql
revision = '202611220648'
down_revision = '202611220644'
branch_labels = None
depends_on = None


PLACED = ('enterprise', 'inspection', 'institution', 'patrol', 'rehab_site')


def upgrade() -> None:
    op.create_table('area_job',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False, comment='scopes: records of these areas take theirs anew; places: all positions are checked anew'),
    sa.Column('codes', postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False, comment='scopes: what is left to do'),
    sa.Column('record', sa.Text(), nullable=True, comment='places: the record that is being worked through'),
    sa.Column('after', sa.UUID(as_uuid=False), nullable=True, comment='places: the last row done'),
    sa.Column('done', sa.BigInteger(), server_default=sa.text('0'), nullable=False, comment='Rows changed so far'),
    sa.Column('started', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('settled_at', sa.TIMESTAMP(timezone=True), nullable=True, comment='A second look, once no transaction that began before this is left'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_area_job')),
    comment='What a change of areas still has to do to records; empty when all is done.'
    )
    op.create_table('area_version',
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('valid_from', sa.Date(), nullable=False),
    sa.Column('valid_to', sa.Date(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('full_name', sa.Text(), nullable=False),
    sa.Column('level', sa.Text(), nullable=False),
    sa.Column('tree', sa.Text(), nullable=False),
    sa.Column('parent_code', sa.Text(), nullable=True),
    sa.Column('chain', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('other_codes', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('layers', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('point', Geometry('POINT', srid=4326, spatial_index=False)),
    sa.Column('bounds', postgresql.ARRAY(sa.Double())),
    sa.PrimaryKeyConstraint('code', 'valid_from', name=op.f('pk_area_version')),
    comment='What `area` said of a code before it changed; never rewritten.'
    )
    op.create_index('ix_area_version_chain', 'area_version', ['chain'], unique=False, postgresql_using='gin')
    op.add_column('area', sa.Column('derived', sa.Boolean(), server_default=sa.text('false'), nullable=False, comment='Its outline is derived, not surveyed.'))
    op.add_column('area_piece', sa.Column('layer', sa.Text(), server_default='county', nullable=False, comment="county; township; derived: a township's, not surveyed"))
    op.drop_index('ix_area_piece_geom', table_name='area_piece', postgresql_using='gist')
    op.create_index('ix_area_piece_geom', 'area_piece', ['geom'], postgresql_using='gist', postgresql_where=sa.text("layer <> 'derived'"))
    op.create_index('ix_area_piece_derived', 'area_piece', ['geom'], unique=False, postgresql_using='gist', postgresql_where=sa.text("layer = 'derived'"))
    op.create_table_comment(
        'area_piece',
        'Boundaries cut small, for point-in-polygon.',
        existing_comment='The finest boundaries, cut small, for point-in-polygon.',
        schema=None
    )
    for record in PLACED:
        op.add_column(record, sa.Column('place_check', sa.Text(), nullable=True, comment='位置核对'))
        op.add_column(record, sa.Column('place_area_code', sa.Text(), nullable=True, comment='位置所在区划'))
        op.add_column(record, sa.Column('place_datum', sa.Text(), nullable=True, comment='疑似坐标系'))
    # The positions that are there already are checked by the running server.
    op.execute("INSERT INTO area_job (kind) SELECT 'places' WHERE EXISTS (SELECT FROM area)")


def downgrade() -> None:
    for record in PLACED:
        for column in ('place_datum', 'place_area_code', 'place_check'):
            op.drop_column(record, column)
    op.create_table_comment(
        'area_piece',
        'The finest boundaries, cut small, for point-in-polygon.',
        existing_comment='Boundaries cut small, for point-in-polygon.',
        schema=None
    )
    op.drop_index('ix_area_piece_derived', table_name='area_piece', postgresql_using='gist', postgresql_where=sa.text("layer = 'derived'"))
    op.drop_index('ix_area_piece_geom', table_name='area_piece', postgresql_using='gist')
    op.execute("DELETE FROM area_piece WHERE layer <> 'county'")
    op.create_index('ix_area_piece_geom', 'area_piece', ['geom'], postgresql_using='gist')
    op.drop_column('area_piece', 'layer')
    op.drop_column('area', 'derived')
    op.drop_index('ix_area_version_chain', table_name='area_version', postgresql_using='gin')
    op.drop_table('area_version')
    op.drop_table('area_job')
