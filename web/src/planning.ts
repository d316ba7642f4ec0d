/** Access, siting and routes: what is asked of the server, and its answers in one shape, so that any two can be compared. */

import { described as dayOf, routed, type Routed, type Tour, type Way } from './routes';
import type { Session } from './session';

export type SiteKind = 'STATION' | 'POINT';
export type Aim = 'COVERING' | 'MEDIAN';
export type State = 'QUEUED' | 'RUNNING' | 'DONE' | 'FAILED' | 'CANCELLED';
export type Measure = keyof typeof MEASURES;

export const SITES: Record<SiteKind, string> = { STATION: '康复站', POINT: '康复点' };
export const AIMS: Record<Aim, string> = { COVERING: '覆盖最多患者', MEDIAN: '总路程最短（p-中位）' };
export const STATES: Record<State, string> = { QUEUED: '排队', RUNNING: '计算中', DONE: '完成', FAILED: '失败', CANCELLED: '已取消' };
export const MEASURES = {
  WITHIN_KM: '公里内可达', WITHIN_MINUTES: '分钟内可达', NEAREST: '最近距离', TWO_STEP: '两步移动搜寻（2SFCA）', ENHANCED: '增强两步（E2SFCA）', THREE_STEP: '三步移动搜寻（3SFCA）',
} as const;

/** How well sites are reached; `limit` in kilometres, or minutes for WITHIN_MINUTES. */
export interface Access {
  measure: Measure;
  limit: number;
  kind: SiteKind;
}

export interface Siting {
  aim: Aim;
  kind: SiteKind;
  number: number;
  limit: number;
  minutes: boolean;
  capacity: number | null;
  keepSites: boolean;
}

export interface Plan {
  id: string;
  kind: Aim | 'ROUTE';
  area: { code: string; name: string };
  parameters: Record<string, unknown>;
  versions: { asOf?: string };
  state: State;
  progress: number;
  message: string;
  createdAt: string;
  result: Sited | Routed | null;
}

interface Sited {
  chosen: { id: string; name: string; lon: number; lat: number; reached: number | null }[];
  patients: number | null;
  reachedBefore: number | null;
  reachedAfter: number | null;
  meanBefore: number | null;
  meanAfter: number | null;
  gap: number;
  proven: boolean;
  seconds: number;
  unit: 'KM' | 'MINUTES';
  travel: string;
  areas: { area: string; name: string; patients: number | null; cost: number | null; reached: boolean; site: string | null }[];
}

/** A township in an answer: never a person. */
export interface Town {
  code: string;
  name: string;
  point: [number, number] | null;
  patients: number | null;
  /** 1 and 0 where it is reach; null: no way, no place, or hidden. */
  value: number | null;
  hidden: boolean;
  /** Reached by a proposed site. */
  gained: boolean;
  said: string;
  /** How near which site is; '' where none is. */
  near: string;
}

export interface Site {
  name: string;
  point: [number, number];
  reached: number | null;
}

export interface Answer {
  title: string;
  /** Values of the same measure can be set against each other; REACH is one, whatever the limit. */
  measure: string;
  /** Whether a low value is the better one. */
  low: boolean;
  facts: [string, string][];
  towns: Town[];
  sites: Site[];
  /** Share of patients in reach by county, 0 to 1; none where the question has no share. */
  counties: Map<string, number | null>;
  /** Of a day's route. */
  way: Way | null;
}

interface AccessFound {
  access: {
    asOf: string;
    unit: 'KM' | 'MINUTES';
    travel: string;
    sites: number;
    patients: number | null;
    share: number | null;
    unplaced: number;
    townships: { area: { code: string; name: string }; patients: number | null; point: [number, number] | null; value: number | null; suppressed: boolean; nearest: { name: string; cost: number }[] }[];
    counties: { area: string; share: number | null }[];
  };
}

const ACCESS = `query Access($area: ID!, $measure: AccessMeasure!, $kind: SiteKind!, $limit: Float) {
  access(area: $area, measure: $measure, kind: $kind, limit: $limit) { asOf unit travel sites patients share unplaced
    townships { area { code name } patients point value suppressed nearest { name cost } } counties { area share } } }`;
const POINTS = 'query Points($area: ID!) { access(area: $area, measure: NEAREST) { townships { area { code } point } } }'; // where patients of each stand
const FIELDS = 'id kind area { code name } parameters versions state progress message createdAt';
const PLAN = `query Plan($id: ID!) { plan(id: $id) { ${FIELDS} result } }`;
const PLANS = `query Plans($area: ID!) { plans(area: $area, first: 30) { plans { ${FIELDS} } } }`;
const START = `mutation StartPlan($kind: PlanKind!, $area: ID!, $parameters: PlanParameters!) { plan: startPlan(kind: $kind, area: $area, parameters: $parameters) { ${FIELDS} } }`;
const CANCEL = `mutation CancelPlan($id: ID!) { plan: cancelPlan(id: $id) { ${FIELDS} } }`;

const NUMBER = new Intl.NumberFormat('zh-CN', { maximumFractionDigits: 1 });
const FINE = new Intl.NumberFormat('zh-CN', { maximumSignificantDigits: 3 });
const SHARE = new Intl.NumberFormat('zh-CN', { style: 'percent', maximumFractionDigits: 1 });

/** `WITHIN_KM-20-STATION`, as it stands in the address; null: it names a planning run. */
export function parse(name: string): Access | null {
  const [measure = '', limit = '', kind = '', ...rest] = name.split('-');
  const known = Object.hasOwn(MEASURES, measure) && Object.hasOwn(SITES, kind) && rest.length === 0 && Number(limit) > 0;
  return known ? { measure: measure as Measure, limit: Number(limit), kind: kind as SiteKind } : null;
}

export function named({ measure, limit, kind }: Access): string {
  return `${measure}-${limit}-${kind}`;
}

export async function plans(session: Session, area: string): Promise<Plan[]> {
  const { plans: page } = await session.query<{ plans: { plans: Plan[] } }>(PLANS, { area });
  return page.plans;
}

export async function find(session: Session, id: string): Promise<Plan> {
  return (await session.query<{ plan: Plan }>(PLAN, { id })).plan;
}

export async function start(session: Session, area: string, asked: Siting): Promise<Plan> {
  const { aim, kind, number, limit, minutes, capacity, keepSites } = asked;
  const parameters = { number, siteKind: kind, capacity, keepSites, ...(minutes ? { limitMinutes: limit } : { limitKm: limit }) };
  return (await session.query<{ plan: Plan }>(START, { kind: aim, area, parameters })).plan;
}

export async function route(session: Session, area: string, tour: Tour): Promise<Plan> {
  return (await session.query<{ plan: Plan }>(START, { kind: 'ROUTE', area, parameters: tour })).plan;
}

export async function cancel(session: Session, id: string): Promise<Plan> {
  return (await session.query<{ plan: Plan }>(CANCEL, { id })).plan;
}

export async function access(session: Session, area: { code: string; name: string }, asked: Access): Promise<Answer> {
  const limit = asked.measure === 'NEAREST' ? null : asked.limit;
  const { access: found } = await session.query<AccessFound>(ACCESS, { area: area.code, measure: asked.measure, kind: asked.kind, limit });
  const within = asked.measure === 'WITHIN_KM' || asked.measure === 'WITHIN_MINUTES';
  const towns = found.townships.map(({ area: { code, name }, patients, point, value, suppressed, nearest }): Town => ({
    code, name, patients, value, hidden: suppressed, point, gained: false,
    said: suppressed ? '已隐藏' : value === null ? '无法到达' : within ? (value ? '可达' : '不可达') : asked.measure === 'NEAREST' ? cost(value, found.unit) : FINE.format(value),
    near: nearest[0] ? `${nearest[0].name}，${cost(nearest[0].cost, found.unit)}` : '',
  }));
  const few = towns.filter(({ hidden }) => hidden).length;
  return {
    title: `${area.name} · ${described(asked)}`, measure: within ? 'REACH' : asked.measure, low: asked.measure === 'NEAREST', towns, sites: [], way: null,
    counties: new Map(within ? found.counties.map(({ area: code, share }) => [code, share]) : []),
    facts: [['问题', described(asked)], ['患者', persons(found.patients)], ...(within ? [['可达占比', found.share === null ? '不显示' : SHARE.format(found.share)] as [string, string]] : []),
      ['现有站点', `${found.sites} 个`], ...(few ? [['已隐藏', `${few} 个乡镇（人数过少）`] as [string, string]] : []), ...(found.unplaced ? [['无位置', `${found.unplaced} 个乡镇，不计入`] as [string, string]] : []),
      ['路程', found.travel], ['人数截至', found.asOf]],
  };
}

/** A finished run as an answer. */
export async function answered(session: Session, plan: Plan, found: Sited | Routed): Promise<Answer> {
  return 'stops' in found ? routed(plan, found) : sited(session, plan, found);
}

async function sited(session: Session, plan: Plan, found: Sited): Promise<Answer> {
  const { access: today } = await session.query<AccessFound>(POINTS, { area: plan.area.code });
  const points = new Map(today.townships.map(({ area, point }) => [area.code, point]));
  const sites = new Map(found.chosen.map((site) => [site.id, site.name]));
  const towns = found.areas.map(({ area, name, patients, cost: far, reached, site }): Town => {
    const gained = reached && site !== null;
    return {
      code: area, name, patients, value: Number(reached), hidden: false, point: points.get(area) ?? null, gained, said: gained ? '新增可达' : reached ? '原已可达' : '仍不可达',
      near: far === null ? '' : `${site === null ? '现有站点' : `新站（${sites.get(site) ?? ''}）`}，${cost(far, found.unit)}`,
    };
  });
  const mean = (value: number | null) => (value === null ? '不显示' : cost(value, found.unit));
  return {
    title: `${plan.area.name} · ${summary(plan)}`, measure: 'REACH', low: false, towns, counties: new Map(), way: null,
    sites: found.chosen.map(({ name, lon, lat, reached }) => ({ name, point: [lon, lat], reached })),
    facts: [['问题', summary(plan)], ['患者', persons(found.patients)], ['现状可达', part(found.reachedBefore, found.patients)], ['新建后可达', part(found.reachedAfter, found.patients)],
      ['平均路程', `${mean(found.meanBefore)} → ${mean(found.meanAfter)}`], ['与最优相差', found.proven ? '0（已证明最优）' : `至多 ${SHARE.format(found.gap)}`], ['用时', `${NUMBER.format(found.seconds)} 秒`],
      ['路程', found.travel], ['人数截至', plan.versions.asOf ?? '']],
  };
}

/** What a run was asked for, in a line. */
export function summary(plan: Plan): string {
  const { kind, parameters } = plan;
  if (kind === 'ROUTE') return dayOf(plan);
  const given = parameters as { number?: number; site_kind?: SiteKind; limit_km?: number; limit_minutes?: number; capacity?: number; keep_sites?: boolean };
  const reach = given.limit_minutes ? `${given.limit_minutes} 分钟` : `${given.limit_km ?? 20} 公里`;
  const more = [given.capacity ? `每站至多 ${given.capacity} 人` : '', given.keep_sites === false ? '不计现有站点' : ''].filter(Boolean);
  return `新建 ${given.number ?? 1} 个${SITES[given.site_kind ?? 'STATION']}，${kind === 'MEDIAN' ? '总路程最短' : '覆盖最多'}（${[reach, ...more].join('，')}）`;
}

export function described({ measure, limit, kind }: Access): string {
  if (measure === 'NEAREST') return `到最近${SITES[kind]}的距离`;
  const unit = measure === 'WITHIN_MINUTES' ? '分钟' : '公里';
  return measure.startsWith('WITHIN') ? `${limit} ${unit}内可达${SITES[kind]}` : `${SITES[kind]} ${MEASURES[measure]}，${limit} ${unit}`;
}

export function persons(number: number | null): string {
  return number === null ? '不足 10 人，不显示' : `${NUMBER.format(number)} 人`;
}

/** What a worker says while it works. */
export function progressSaid({ state, message, progress }: Plan): string {
  const steps: Record<string, string> = { 'first answer': '求初解', 'first answer found': '已有初解', bound: '求界', proof: '证明最优' };
  const gap = /^gap ([\d.]+)$/.exec(message)?.[1];
  const said = gap ? `证明最优，尚差 ${SHARE.format(Number(gap))}` : (steps[message] ?? '');
  return `${STATES[state]}${state === 'RUNNING' ? ` ${Math.round(progress * 100)}%` : ''}${said ? `：${said}` : state === 'FAILED' && message ? `：${message}` : ''}`;
}

function part(number: number | null, of: number | null): string {
  return number === null ? '不足 10 人，不显示' : `${persons(number)}${of ? `（${SHARE.format(number / of)}）` : ''}`;
}

function cost(value: number, unit: 'KM' | 'MINUTES'): string {
  return `${NUMBER.format(value)} ${unit === 'KM' ? '公里' : '分钟'}`;
}
