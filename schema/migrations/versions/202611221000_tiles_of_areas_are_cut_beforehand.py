"""tiles of areas are cut beforehand

Revision: 202611221000, after 202611220952
"""

from alembic import op
import sqlalchemy as sa
from geoalchemy2 import Geometry

revision = '202611221000'
down_revision = '202611220952'
branch_labels = None
depends_on = None


# As geo.area_tiles cut them on that day.
CUT = """
INSERT INTO area_tile (layer, zoom, x, y, code, geom)
WITH z AS (
  SELECT l.layer, zoom, CASE WHEN zoom <= 3 THEN 3 WHEN zoom <= 5 THEN 5 ELSE 7 END AS step, 40075016.685578488 / 2 ^ zoom AS edge
    FROM (VALUES ('province', 0), ('city', 2), ('county', 3)) l(layer, first) CROSS JOIN generate_series(l.first, 7) zoom)
SELECT layer, zoom, x, y, code, ST_SetSRID(geom, 0) FROM (
  SELECT t.layer, t.zoom, t.x, t.y, t.code, ST_SnapToGrid(ST_Affine(ST_ForcePolygonCW(ST_CollectionExtract(
      CASE WHEN t.geom @ t.box THEN t.geom ELSE ST_ClipByBox2D(t.geom, t.box::box2d) END, 3)),
      4096 / t.edge, 0, 0, -4096 / t.edge, 2048.0 * 2 ^ t.zoom - t.x * 4096, 2048.0 * 2 ^ t.zoom - t.y * 4096), 1) AS geom
    FROM (SELECT z.*, x, y, s.code, s.geom, ST_TileEnvelope(z.zoom, x, y, margin => 0.015625) AS box
            FROM z JOIN area_shape s ON s.layer = z.layer AND s.step = z.step
            CROSS JOIN LATERAL generate_series(
              greatest(floor((ST_XMin(s.geom) + 20037508.342789244) / z.edge - 0.015625)::integer, 0),
              least(floor((ST_XMax(s.geom) + 20037508.342789244) / z.edge + 0.015625)::integer, (1 << z.zoom) - 1)) x
            CROSS JOIN LATERAL generate_series(
              greatest(floor((20037508.342789244 - ST_YMax(s.geom)) / z.edge - 0.015625)::integer, 0),
              least(floor((20037508.342789244 - ST_YMin(s.geom)) / z.edge + 0.015625)::integer, (1 << z.zoom) - 1)) y OFFSET 0) t
   WHERE t.geom && t.box OFFSET 0) t
 WHERE NOT ST_IsEmpty(geom) ORDER BY layer, zoom, x, y, code"""


def upgrade() -> None:
    op.create_table('area_tile',
    sa.Column('layer', sa.Text(), nullable=False),
    sa.Column('zoom', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.Column('x', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('y', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('code', sa.Text(), nullable=False),
    sa.Column('geom', Geometry(dimension=2, spatial_index=False, from_text='ST_GeomFromEWKT', name='geometry', nullable=False), nullable=False, comment='In units of the tile, y downwards'),
    sa.PrimaryKeyConstraint('layer', 'zoom', 'x', 'y', 'code', name=op.f('pk_area_tile')),
    comment='What tiles of far zooms show of area_shape'
    )
    op.execute(CUT)
    op.drop_index('ix_area_shape_geom', table_name='area_shape', postgresql_using='gist')
    op.create_index('ix_area_shape_geom', 'area_shape', ['geom'], unique=False, postgresql_using='gist', postgresql_where=sa.text('step = 22'))
    op.create_index('ix_enterprise_place', 'enterprise', ['location_wgs84'], unique=False, postgresql_using='gist')
    op.create_index('ix_institution_place', 'institution', ['location_wgs84'], unique=False, postgresql_using='gist')
    op.create_index('ix_rehab_site_place', 'rehab_site', ['location_wgs84'], unique=False, postgresql_using='gist')


def downgrade() -> None:
    op.drop_index('ix_rehab_site_place', table_name='rehab_site', postgresql_using='gist')
    op.drop_index('ix_institution_place', table_name='institution', postgresql_using='gist')
    op.drop_index('ix_enterprise_place', table_name='enterprise', postgresql_using='gist')
    op.drop_index('ix_area_shape_geom', table_name='area_shape', postgresql_using='gist')
    op.create_index('ix_area_shape_geom', 'area_shape', ['geom'], unique=False, postgresql_using='gist')
    op.drop_table('area_tile')
