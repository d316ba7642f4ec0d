/** What the desk asks the server, and how coverage is put into classes. */

import type { Session } from './session';

export type Level = 'COUNTRY' | 'PROVINCE' | 'CITY' | 'COUNTY' | 'TOWNSHIP' | 'VILLAGE' | 'JURISDICTION';

export const INDICATOR = 'COORDINATOR-TOWNSHIPS';
export const LEVEL_NAMES: Record<Level, string> = {
  COUNTRY: '全国', PROVINCE: '省级', CITY: '市州', COUNTY: '区县', TOWNSHIP: '乡镇', VILLAGE: '村级', JURISDICTION: '管辖区',
};

export interface Area {
  code: string;
  name: string;
  level: Level;
  /** [lon, lat] of a place inside, WGS 84; null where no source has one. */
  point: [number, number] | null;
  /** west, south, east, north; null without a boundary. */
  bounds: [number, number, number, number] | null;
}

export interface Place extends Area {
  /** From the province down, without the place itself. */
  ancestors: { code: string; name: string }[];
  /** The levels below that have areas, from the top. */
  levels: Level[];
}

export interface Value {
  area: { code: string; name: string };
  numerator: number;
  denominator: number;
  /** 0 to 1; null: nothing to count. */
  value: number | null;
  target: number | null;
  gap: number | null;
  provenance: string;
}

export interface Row extends Value {
  place: Area | null;
}

export interface Picture {
  place: Place;
  level: Level;
  rows: Row[];
  total: Value | null;
}

const PLACE = `query Place($code: ID!) {
  area(code: $code) { code name level point bounds levels ancestors { code name } } }`;
const COVERAGE = `query Coverage($indicator: ID!, $area: ID!, $level: AreaLevel!, $own: AreaLevel!) {
  rows: coverage(indicator: $indicator, area: $area, level: $level) { ...value }
  total: coverage(indicator: $indicator, area: $area, level: $own) { ...value }
  places: areas(parent: $area, level: $level) { code name level point bounds } }
fragment value on AreaValue { area { code name } numerator denominator value target gap provenance }`;

/** `level` is taken if the place has it, else the counties, else the first below. */
export async function picture(session: Session, code: string, level: Level | null): Promise<Picture> {
  const { area: place } = await session.query<{ area: Place }>(PLACE, { code });
  const shown = choose(place, level);
  const variables = { indicator: INDICATOR, area: code, level: shown, own: place.level };
  const found = await session.query<{ rows: Value[]; total: Value[]; places: Area[] }>(COVERAGE, variables);
  const places = new Map(found.places.map((area) => [area.code, area]));
  const rows = found.rows.map((value) => ({ ...value, place: places.get(value.area.code) ?? null }));
  return { place, level: shown, rows, total: found.total[0] ?? null };
}

function choose(place: Place, wanted: Level | null): Level {
  if (wanted && place.levels.includes(wanted)) return wanted;
  if (place.level === 'COUNTRY' && place.levels.includes('PROVINCE')) return 'PROVINCE';
  return place.levels.includes('COUNTY') ? 'COUNTY' : (place.levels[0] ?? 'TOWNSHIP');
}

export const BREAKS = [0, 0.2, 0.4, 0.6, 0.8, 1];
export const COLOURS = ['#c4573a', '#e59b62', '#f2d9a0', '#97c1c9', '#2f7391'];
export const NO_DATA = '#c3c8ce';

/** The class of a value, from 0; null is *no data*. The upper bound belongs to the class below, so 100 % is in the last. */
export function classOf(value: number | null): number | null {
  if (value === null) return null;
  const found = BREAKS.findIndex((bound, index) => index > 0 && value < bound);
  return found === -1 ? COLOURS.length - 1 : found - 1;
}

const PERCENT = new Intl.NumberFormat('zh-CN', { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COUNT = new Intl.NumberFormat('zh-CN');

export function percent(value: number | null): string {
  if (value === null) return '无数据';
  // never rounded up to full cover, nor down to none
  const shown = value < 1 ? Math.min(Math.round(value * 1000) / 1000, 0.999) : value;
  return PERCENT.format(value > 0 ? Math.max(shown, 0.001) : shown);
}

export function count(value: number): string {
  return COUNT.format(value);
}
