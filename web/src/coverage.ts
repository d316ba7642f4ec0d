/** What the desk asks the server about coverage. */

import type { Session } from './session';

export type Level = 'COUNTRY' | 'PROVINCE' | 'CITY' | 'COUNTY' | 'TOWNSHIP' | 'VILLAGE' | 'JURISDICTION';
export type Tree = 'DIVISION' | 'JURISDICTION';
export type Part = 'NUMERATOR' | 'DENOMINATOR' | 'GAP';
export type Length = 'MONTH' | 'QUARTER' | 'YEAR';

export const FIRST_INDICATOR = 'COORDINATOR-TOWNSHIPS';
export const LEVEL_NAMES: Record<Level, string> = {
  COUNTRY: '全国', PROVINCE: '省级', CITY: '市州', COUNTY: '区县', TOWNSHIP: '乡镇', VILLAGE: '村级', JURISDICTION: '管辖区',
};

export interface Indicator {
  id: string;
  label: string;
  /** "%" for a share, else what one is counted in. */
  unit: string;
  formula: string;
  note: string;
  source: string;
  countable: boolean;
  waitsFor: string[];
  personal: boolean;
  periodic: boolean;
}

export interface Area {
  code: string;
  name: string;
  level: Level;
  /** [lon, lat] of a place inside, WGS 84; null where no source has one. */
  point: [number, number] | null;
  /** west, south, east, north; null without a boundary. */
  bounds: [number, number, number, number] | null;
  /** Its outline is derived from points, not surveyed. */
  derived?: boolean;
}

export interface Place extends Area {
  /** From the province down, without the place itself. */
  ancestors: { code: string; name: string }[];
  /** The levels below that have areas, from the top. */
  levels: Level[];
}

export interface Value {
  area: { code: string; name: string };
  /** Null: hidden, since too few persons are behind it. */
  numerator: number | null;
  /** Null: hidden, or the indicator is a plain number. */
  denominator: number | null;
  /** 0 to 1; null: nothing to count. */
  value: number | null;
  target: number | null;
  gap: number | null;
  met: boolean | null;
  suppressed: boolean;
  targetSource: string | null;
  provenance: string;
}

export interface Row extends Value {
  place: Area | null;
  /** The same area in the period of comparison. */
  before: Value | null;
}

export interface Question {
  indicator: Indicator;
  area: string;
  level: Level | null;
  period: string | null;
  asOf: string | null;
  tree: Tree | null;
  compare: string | null;
}

export interface Picture {
  question: Question;
  place: Place;
  level: Level;
  rows: Row[];
  total: Value | null;
  totalBefore: Value | null;
}

export interface PeriodValue {
  period: string;
  asOf: string;
  value: Value;
}

export interface Listed {
  record: string;
  id: string;
  label: string;
  area: string;
}

const INDICATOR = 'id label unit formula note source countable waitsFor personal periodic';
const INDICATORS = `query Indicators { indicators { ${INDICATOR} } }`;
const VALUE = 'area { code name } numerator denominator value target gap met suppressed targetSource provenance';
const DETAIL = 'code name level point bounds levels ancestors { code name }';
const PLACE = `query Place($code: ID!, $asOf: Date) {
  area(code: $code, asOf: $asOf) { ${DETAIL} } }`;
const ASKED = '$indicator: ID!, $area: ID!, $level: AreaLevel!, $own: AreaLevel!, $tree: Tree, $period: String, $asOf: Date, $compare: String, $two: Boolean!';
const FIGURES = `
  rows: coverage(indicator: $indicator, area: $area, level: $level, tree: $tree, period: $period, asOf: $asOf) { ${VALUE} }
  total: coverage(indicator: $indicator, area: $area, level: $own, period: $period, asOf: $asOf) { ${VALUE} }
  before: coverage(indicator: $indicator, area: $area, level: $level, tree: $tree, period: $compare, asOf: $asOf) @include(if: $two) { ${VALUE} }
  totalBefore: coverage(indicator: $indicator, area: $area, level: $own, period: $compare, asOf: $asOf) @include(if: $two) { ${VALUE} }
  places: areas(parent: $area, level: $level, asOf: $asOf) { code name level point bounds derived }`;
const COVERAGE = `query Coverage(${ASKED}) {${FIGURES} }`;
const OPENING = `query Opening(${ASKED}) { indicators { ${INDICATOR} }
  area(code: $area, asOf: $asOf) { ${DETAIL} }${FIGURES} }`;
const TREND = `query Trend($indicator: ID!, $area: ID!, $length: PeriodLength!, $count: Int!, $asOf: Date) {
  trend(indicator: $indicator, area: $area, length: $length, count: $count, asOf: $asOf) { period asOf value { ${VALUE} } } }`;
const RANKING = `query Ranking($indicator: ID!, $area: ID!, $level: AreaLevel!, $period: String, $asOf: Date, $bestFirst: Boolean!) {
  ranking(indicator: $indicator, area: $area, level: $level, period: $period, asOf: $asOf, bestFirst: $bestFirst, first: 1000) { rank value { ${VALUE} } } }`;
const RECORDS = `query Records($indicator: ID!, $area: ID!, $part: IndicatorPart!, $period: String, $asOf: Date, $after: String) {
  page: coverageRecords(indicator: $indicator, area: $area, part: $part, period: $period, asOf: $asOf, after: $after, first: 50) {
    records { record id label area } endCursor } }`;

interface Found {
  rows: Value[];
  total: Value[];
  before?: Value[];
  totalBefore?: Value[];
  places: Area[];
}

export async function indicators(session: Session): Promise<Indicator[]> {
  return (await session.query<{ indicators: Indicator[] }>(INDICATORS, {})).indicators;
}

/** All that the first picture needs in one request, where an area's code tells its level; null: it takes the usual way. */
export async function opening(session: Session, asked: Omit<Question, 'indicator'> & { indicator: string }): Promise<{ known: Indicator[]; picture: Picture | null } | null> {
  const own = levelOf(asked.area);
  if (!own) return null;
  const level = asked.level ?? (own === 'COUNTRY' ? 'PROVINCE' : own === 'COUNTY' ? 'TOWNSHIP' : 'COUNTY');
  const found = await session.query<Found & { indicators: Indicator[]; area: Place }>(OPENING, { ...asked, level, own, two: asked.compare !== null }).catch(() => null);
  const indicator = found?.indicators.find(({ id }) => id === asked.indicator);
  if (!found) return null;
  const right = indicator && found.area.level === own && choose(found.area, asked.level) === level;
  return { known: found.indicators, picture: right ? put({ ...asked, indicator }, found.area, level, found) : null };
}

/** As divisions are numbered; null for townships, jurisdictions and what is no code. */
function levelOf(code: string): Level | null {
  const [, digits] = /^(\d{6})$/.exec(code) ?? [];
  if (!digits) return null;
  return digits === '000000' ? 'COUNTRY' : digits.endsWith('0000') ? 'PROVINCE' : digits.endsWith('00') ? 'CITY' : 'COUNTY';
}

/** `level` is taken if the place has it, else the counties, else the first below. */
export async function picture(session: Session, question: Question): Promise<Picture> {
  const { area: place } = await session.query<{ area: Place }>(PLACE, { code: question.area, asOf: question.asOf });
  const level = choose(place, question.level);
  const found = await session.query<Found>(COVERAGE, { ...variables(question), level, own: place.level, two: question.compare !== null });
  return put(question, place, level, found);
}

function put(question: Question, place: Place, level: Level, found: Found): Picture {
  const places = new Map(found.places.map((area) => [area.code, area]));
  const before = new Map(found.before?.map((value) => [value.area.code, value]));
  const rows = found.rows.map((value) => ({ ...value, place: places.get(value.area.code) ?? null, before: before.get(value.area.code) ?? null }));
  return { question, place, level, rows, total: found.total[0] ?? null, totalBefore: found.totalBefore?.[0] ?? null };
}

export async function trend(session: Session, question: Question, area: string, length: Length): Promise<PeriodValue[]> {
  const { indicator, asOf } = question;
  const count = length === 'YEAR' ? 8 : 12;
  return (await session.query<{ trend: PeriodValue[] }>(TREND, { indicator: indicator.id, area, length, count, asOf })).trend;
}

export async function ranking(session: Session, { question, level }: Picture, bestFirst: boolean): Promise<{ rank: number; value: Value }[]> {
  const found = await session.query<{ ranking: { rank: number; value: Value }[] }>(RANKING, { ...variables(question), level, bestFirst });
  return found.ranking;
}

export async function records(session: Session, question: Question, area: string, part: Part, after: string | null): Promise<{ records: Listed[]; endCursor: string | null }> {
  const { page } = await session.query<{ page: { records: Listed[]; endCursor: string | null } }>(RECORDS, { ...variables(question), area, part, after });
  return page;
}

function variables({ indicator, area, tree, period, asOf, compare }: Question): Record<string, string | null> {
  return { indicator: indicator.id, area, tree, period, asOf, compare };
}

function choose(place: Place, wanted: Level | null): Level {
  if (wanted && place.levels.includes(wanted)) return wanted;
  if (place.level === 'COUNTRY' && place.levels.includes('PROVINCE')) return 'PROVINCE';
  return place.levels.includes('COUNTY') ? 'COUNTY' : (place.levels[0] ?? 'TOWNSHIP');
}
