"""indicators, targets and institutions

Revision: 202611220644, after 202611220641
"""

import csv
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql
revision = '202611220644'
down_revision = '202611220641'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('indicator_count',
    sa.Column('measure', sa.Text(collation='C'), nullable=False),
    sa.Column('area', sa.Text(collation='C'), nullable=False, comment='Every area of the chains, the country too'),
    sa.Column('n', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('measure', 'area', name=op.f('pk_indicator_count')),
    comment='What counts on the day of indicator_state',
    postgresql_with={'fillfactor': 80}
    )
    op.create_table('indicator_fact',
    sa.Column('measure', sa.Text(collation='C'), nullable=False, comment='Measure; of an event with @Y, @Q, @M for its year, quarter, month'),
    sa.Column('doc_id', sa.UUID(as_uuid=False), nullable=False),
    sa.Column('unit_id', sa.UUID(as_uuid=False), nullable=True, comment='What is counted, once; null: the document itself'),
    sa.Column('area', sa.Text(collation='C'), nullable=False, comment='The smallest that is known'),
    sa.Column('starts', sa.Date(), nullable=False),
    sa.Column('ends', sa.Date(), nullable=False, comment='First day on which it no longer counts'),
    sa.Column('amount', sa.Integer(), nullable=False),
    comment='Derived from records and their history; no key, since it is replaced by comparison'
    )
    op.create_index('ix_indicator_fact_doc_id', 'indicator_fact', ['doc_id'], unique=False)
    op.create_index('ix_indicator_fact_measure_area_doc_id', 'indicator_fact', ['measure', 'area', 'doc_id'], unique=False)
    op.create_index('ix_indicator_fact_unit_id', 'indicator_fact', ['unit_id', 'measure'], unique=False, postgresql_where=sa.text('unit_id IS NOT NULL'))
    op.create_table('indicator_secret',
    sa.Column('id', sa.SmallInteger(), server_default=sa.text('1'), autoincrement=False, nullable=False),
    sa.Column('secret', sa.LargeBinary(), nullable=False, comment='Decides how counts of persons are rounded; never published'),
    sa.CheckConstraint('id = 1', name='ck_indicator_secret_one_row'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_indicator_secret'))
    )
    op.create_table('indicator_state',
    sa.Column('id', sa.SmallInteger(), server_default=sa.text('1'), autoincrement=False, nullable=False),
    sa.Column('epoch', sa.Text(), nullable=False, comment='Of the feed'),
    sa.Column('pos', sa.BigInteger(), nullable=False, comment='Of the feed; what is at or below it is counted'),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('fingerprint', sa.Text(), nullable=False, comment='Of the declarations and the areas; another one asks for a recompute'),
    sa.CheckConstraint('id = 1', name='ck_indicator_state_one_row'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_indicator_state')),
    postgresql_with={'fillfactor': 10}
    )
    op.create_table('indicator_target',
    sa.Column('indicator', sa.Text(collation='C'), nullable=False),
    sa.Column('area', sa.Text(collation='C'), nullable=False),
    sa.Column('year', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('op', sa.Text(), nullable=False),
    sa.Column('value', sa.Numeric(), nullable=False, comment='0 to 1 for a share'),
    sa.Column('scope', sa.Text(), server_default='', nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('confidence', sa.Text(), nullable=False),
    sa.Column('set_by', sa.UUID(as_uuid=False), nullable=True, comment='Null: loaded from schema/catalogue'),
    sa.Column('set_at', sa.TIMESTAMP(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.CheckConstraint("op IN ('>=', '=', '<=')", name='ck_indicator_target_op'),
    sa.PrimaryKeyConstraint('indicator', 'area', 'year', name=op.f('pk_indicator_target')),
    comment='What is aimed at; holds for the areas below that have none of their own'
    )
    op.create_table('institution',
    sa.Column('id', sa.UUID(as_uuid=False), nullable=False, comment='编号'),
    sa.Column('name', sa.Text(), nullable=False, comment='名称'),
    sa.Column('kind', sa.Text(), nullable=False, comment='类别'),
    sa.Column('area_code', sa.Text(), nullable=False, comment='所在区划'),
    sa.Column('credit_code', sa.Text(), nullable=True, comment='统一社会信用代码'),
    sa.Column('address', sa.Text(), nullable=True, comment='地址'),
    sa.Column('location', postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment='位置'),
    sa.Column('location_wgs84', Geometry(geometry_type='POINT', srid=4326, dimension=2, spatial_index=False, from_text='ST_GeomFromEWKT', name='geometry'), nullable=True, comment='位置（WGS 84）'),
    sa.Column('valid_from', sa.Date(), nullable=True, comment='生效日期'),
    sa.Column('valid_to', sa.Date(), nullable=True, comment='失效日期'),
    sa.Column('health_section', sa.Boolean(), nullable=True, comment='设职业健康科室'),
    sa.Column('full_time_managers', sa.Integer(), nullable=True, comment='专职职业健康管理人员'),
    sa.Column('demo', sa.Boolean(), nullable=True, comment='演示虚构数据'),
    sa.Column('revision', sa.Integer(), nullable=False, comment='版本'),
    sa.Column('stamp', sa.Text(), nullable=True, comment='设备戳'),
    sa.Column('deleted', sa.Boolean(), nullable=False, comment='已删除'),
    sa.Column('created_at', sa.TIMESTAMP(timezone=True), nullable=False, comment='建立时间'),
    sa.Column('updated_at', sa.TIMESTAMP(timezone=True), nullable=False, comment='更新时间'),
    sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_institution')),
    comment='职业健康机构'
    )
    op.create_index('ix_institution_scopes', 'institution', ['scopes'], unique=False, postgresql_using='gin')
    op.add_column('enterprise', sa.Column('management_grade', sa.Text(), nullable=True, comment='职业卫生管理状况等级'))
    op.add_column('enterprise', sa.Column('key_industry', sa.Boolean(), nullable=True, comment='重点行业'))
    op.add_column('enterprise', sa.Column('declaration_state', sa.Text(), nullable=True, comment='申报状态'))
    op.create_index('ix_area_layers', 'area', ['layers'], postgresql_using='gin')
    _fill()


def _fill() -> None:
    """The targets of the sources, and the secret that decides how counts of persons are rounded."""
    file = Path(__file__).parents[2] / "catalogue" / "indicator_targets.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [{**row, "year": int(row["year"])} for row in csv.DictReader(lines)]
    insert = sa.text(
        "INSERT INTO indicator_target (area, indicator, year, op, value, scope, source, confidence)"
        " VALUES (:area, :indicator, :year, :op, CAST(:value AS numeric), :scope, :source, :confidence)"
    ).bindparams(sa.bindparam("value", type_=sa.Text()))
    op.get_bind().execute(insert, rows)
    op.execute("INSERT INTO indicator_secret (secret) SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid(), 'UTF8'))")


def downgrade() -> None:
    op.drop_index('ix_area_layers', table_name='area', postgresql_using='gin')
    op.drop_column('enterprise', 'declaration_state')
    op.drop_column('enterprise', 'key_industry')
    op.drop_column('enterprise', 'management_grade')
    op.drop_index('ix_institution_scopes', table_name='institution', postgresql_using='gin')
    op.drop_table('institution')
    op.drop_table('indicator_target')
    op.drop_table('indicator_state')
    op.drop_table('indicator_secret')
    op.drop_index('ix_indicator_fact_unit_id', table_name='indicator_fact', postgresql_where=sa.text('unit_id IS NOT NULL'))
    op.drop_index('ix_indicator_fact_measure_area_doc_id', table_name='indicator_fact')
    op.drop_index('ix_indicator_fact_doc_id', table_name='indicator_fact')
    op.drop_table('indicator_fact')
    op.drop_table('indicator_count')
