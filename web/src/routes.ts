/** A day's inspections of a team: which enterprises are due, what is asked, and a finished run in the shape of an answer. */

import type { Plan, Answer } from './planning';
import type { Session } from './session';

export type Point = [number, number];
export type Ends = 'START' | 'LAST' | 'ELSEWHERE';

export const ENDS: Record<Ends, string> = { START: '回到起点', LAST: '到最后一家为止', ELSEWHERE: '另定终点' };
/** What is missing there is a visit that is due. */
export const DUE: Record<string, string> = { INSPECTED: '本期尚未监督检查', PATROLLED: '本期尚未巡查', 'IND-04': '检测过期或从未检测', 'IND-01': '尚未申报' };
export const MOST_STOPS = 60;
const LISTED = 1000;
const WHY: Record<string, string> = { DAY_FULL: '当日工时已满', TOO_FAR: '单独走访也超出工时', NO_WAY: '没有道路可到' };

/** An enterprise that may be visited. */
export interface Due {
  id: string;
  name: string;
  point: Point;
  severe: boolean;
}

export interface Found {
  due: Due[];
  /** Without a position, which no route can reach. */
  unplaced: number;
  /** More are due than were read. */
  more: boolean;
}

export interface Tour {
  start: Point;
  /** Where the day ends if elsewhere. */
  end: Point | null;
  closed: boolean;
  enterprises: string[];
  visitMinutes: number;
  dayMinutes: number;
  /** After midnight. */
  departureMinutes: number;
  severeFirst: boolean;
}

export interface Way {
  start: Point;
  end: Point | null;
  stops: { name: string; point: Point; severe: boolean; arrives: string; leaves: string; km: number }[];
  left: { id: string; name: string; point: Point; why: string }[];
}

interface Called {
  id: string;
  name: string;
  lon: number;
  lat: number;
  severe: boolean;
}

export interface Routed {
  stops: (Called & { arrives: number; leaves: number; km: number })[];
  leftOut: (Called & { why: string })[];
  travelMinutes: number;
  km: number;
  endsAt: number;
  proven: boolean;
  travel: string;
}

interface Given {
  start: Point;
  end?: Point;
  closed: boolean;
  enterprises: string[];
  visit_minutes: number;
  day_minutes: number;
  departure_minutes?: number;
  severe_first?: boolean;
}

const GAP = `query Due($indicator: ID!, $area: ID!, $period: String, $asOf: Date) {
  page: coverageRecords(indicator: $indicator, area: $area, part: GAP, period: $period, asOf: $asOf, first: ${LISTED}) { records { record id } endCursor } }`;
const PLACES = `query Places($ids: [ID!]!) { enterprises(filter: {id: {in: $ids}}, first: ${LISTED}) { nodes { id name locationWgs84 hazardClass } } }`;

const NUMBER = new Intl.NumberFormat('zh-CN', { maximumFractionDigits: 1 });

/** Those that an indicator misses in an area; null where it counts no enterprises. */
export async function due(session: Session, asked: { indicator: string; area: string; period: string | null; asOf: string | null }): Promise<Found | null> {
  const { page } = await session.query<{ page: { records: { record: string; id: string }[]; endCursor: string | null } }>(GAP, asked);
  const ids = page.records.filter(({ record }) => record === 'enterprise').map(({ id }) => id);
  if (ids.length < page.records.length) return null;
  if (!ids.length) return { due: [], unplaced: 0, more: false };
  const { enterprises } = await session.query<{ enterprises: { nodes: { id: string; name: string; locationWgs84: { coordinates: Point } | null; hazardClass: string | null }[] } }>(PLACES, { ids });
  const placed = enterprises.nodes.flatMap(({ id, name, locationWgs84, hazardClass }) => (locationWgs84 ? [{ id, name, point: locationWgs84.coordinates, severe: hazardClass === 'SEVERE' }] : []));
  return { due: placed, unplaced: enterprises.nodes.length - placed.length, more: page.endCursor !== null };
}

/** In kilometres over a sphere: to put what is near first, no more. */
export function apart([lon, lat]: Point, [otherLon, otherLat]: Point): number {
  const [one, other, across] = [lat, otherLat, otherLon - lon].map((degrees) => (degrees * Math.PI) / 180) as [number, number, number];
  return 12_742 * Math.asin(Math.sqrt(Math.sin((other - one) / 2) ** 2 + Math.cos(one) * Math.cos(other) * Math.sin(across / 2) ** 2));
}

/** A finished run as an answer. */
export function routed(plan: Plan, found: Routed): Answer {
  const given = plan.parameters as unknown as Given;
  const departs = given.departure_minutes ?? 510;
  const point = ({ lon, lat }: Called): Point => [lon, lat];
  const many = found.stops.length + found.leftOut.length;
  return {
    title: `${plan.area.name} · ${described(plan)}`, measure: 'ROUTE', low: true, towns: [], sites: [], counties: new Map(),
    way: {
      start: given.start, end: given.end ?? (given.closed ? given.start : null),
      stops: found.stops.map((stop) => ({ name: stop.name, point: point(stop), severe: stop.severe, arrives: clock(departs + stop.arrives), leaves: clock(departs + stop.leaves), km: stop.km })),
      left: found.leftOut.map((left) => ({ id: left.id, name: left.name, point: point(left), why: WHY[left.why] ?? left.why })),
    },
    facts: [['问题', described(plan)], ['排入', `${found.stops.length} / ${many} 家`], ['出发与收队', found.stops.length ? `${clock(departs)} → ${clock(departs + found.endsAt)}` : '—'],
      ['路上', `${NUMBER.format(found.travelMinutes)} 分钟，直线 ${NUMBER.format(found.km)} 公里`], ['次序', found.proven ? '已证明最优' : '较优，未证明'], ['路程', found.travel]],
  };
}

export function described({ parameters }: Plan): string {
  const given = parameters as unknown as Given;
  const more = [`${NUMBER.format(given.day_minutes / 60)} 小时`, `每家 ${NUMBER.format(given.visit_minutes)} 分钟`, ENDS[given.end ? 'ELSEWHERE' : given.closed ? 'START' : 'LAST'], given.severe_first ? '严重的优先' : ''].filter(Boolean);
  return `一日路线，${given.enterprises.length} 家（${more.join('，')}）`;
}

/** 570 as 09:30; the next day's as 次日 00:15. */
export function clock(minutes: number): string {
  const whole = Math.round(minutes);
  const two = (number: number) => String(number).padStart(2, '0');
  return `${whole >= 1440 ? '次日 ' : ''}${two(Math.floor((whole % 1440) / 60))}:${two(whole % 60)}`;
}
