/** An answer, or two against each other, as the map draws them: townships by class, proposed sites as numbered marks. */

import { make } from './dom';
import type { Answer, Site, Town } from './planning';
import type { Way } from './routes';
import { persons } from './planning';
import { JUDGED, percent, quantiles } from './scale';

export type Side = 'a' | 'b';
export const NAMES: Record<Side, string> = { a: '甲', b: '乙' };
export const COLOURS: Record<Side, string> = { a: '#1d5a80', b: '#a8480f' };

interface Class {
  label: string;
  colour: string;
  /** Drawn as a ring: told from the others without colours. */
  hollow: boolean;
  count: number;
}

export interface Spot {
  code: string;
  name: string;
  point: [number, number];
  colour: string;
  hollow: boolean;
  patients: number;
}

export interface Mark {
  text: string;
  name: string;
  side: Side;
  point: [number, number];
  /** The other answer has a site here too. */
  shared: boolean;
}

/** What numbered marks of a side stand for. */
export interface Sign {
  text: string;
  label: string;
  side: Side;
  count: number;
}

export interface PlanLayer {
  title: string;
  /** What one must know to read it. */
  note: string;
  classes: Class[];
  spots: Spot[];
  marks: Mark[];
  signs: Sign[];
  /** From place to place in the order of visits. */
  ways: { side: Side; points: [number, number][] }[];
  /** Colours of counties. */
  areas: Map<string, string>;
  /** Townships without a place. */
  unplaced: number;
  /** What is said of a township, by code. */
  said: Map<string, string[]>;
}

type Judge = (town: Town, other: Town | undefined) => number;
type Kind = [label: string, colour: string, hollow?: boolean];
const [BLUE, PALE, RED, GREY] = ['#2f7391', '#8fbcc6', '#b0442a', '#8a98a3'];
const UNKNOWN: Kind[] = [['人数过少，已隐藏', GREY, true], ['无法到达或无位置', '#c3cbd1', true]];
const SHORT = new Intl.NumberFormat('zh-CN', { maximumSignificantDigits: 2 });

export function layerOf(one: Answer, other: Answer | null): PlanLayer {
  const drawn = one.way ? wayLayer(one.way) : townLayer(one, other);
  const sides: [Side, Answer][] = other ? [['a', one], ['b', other]] : [['a', one]];
  return {
    ...drawn, title: other && comparable(one, other) ? '甲与乙' : one.title, marks: marksOf(one, other), signs: sides.flatMap(([side, answer]) => signsOf(side, answer, other !== null)),
    ways: sides.flatMap(([side, { way }]) => (way ? [{ side, points: line(way) }] : [])),
    note: [one.way ? '' : '圆点为乡镇，大小随患者人数；患者不以点表示。', sides.some(([, { way }]) => way) ? '连线为走访次序，不是道路。' : ''].join(''),
  };
}

type Drawn = Pick<PlanLayer, 'classes' | 'spots' | 'areas' | 'unplaced' | 'said'>;

/** Stops are marks; who had no place in the day is a ring. */
function wayLayer({ left }: Way): Drawn {
  return {
    areas: new Map(), unplaced: 0, said: new Map(), classes: left.length ? [{ label: '未排入的单位', colour: GREY, hollow: true, count: left.length }] : [],
    spots: left.map(({ id, name, point }) => ({ code: id, name, point, colour: GREY, hollow: true, patients: 0 })),
  };
}

function line({ start, end, stops }: Way): [number, number][] {
  return stops.length ? [start, ...stops.map(({ point }) => point), ...(end ? [end] : [])] : [];
}

function townLayer(one: Answer, other: Answer | null): Drawn {
  const both = other !== null && other.measure === one.measure ? other : null;
  const [kinds, judge] = both ? against(one) : one.measure !== 'REACH' ? graded(one) : one.sites.length ? gains() : reach();
  const others = new Map(both?.towns.map((town) => [town.code, town]));
  const all = [...kinds, ...UNKNOWN];
  const judged = one.towns.map((town) => ({ town, at: town.hidden ? kinds.length : town.value === null ? kinds.length + 1 : judge(town, others.get(town.code)) }));
  const counts = all.map((_, at) => judged.filter((each) => each.at === at).length);
  return {
    areas: new Map(both || one.counties.size < 2 ? [] : [...one.counties].map(([code, share]) => [code, shade(share)])), unplaced: one.towns.filter(({ point }) => !point).length,
    said: new Map([...one.towns.map((town): [string, string[]] => [town.code, lines(town, others.get(town.code))]), ...counties(one, both)]),
    classes: all.map(([label, colour, hollow = false], at) => ({ label, colour, hollow, count: counts[at]! })).filter(({ count }, at) => count || at < kinds.length),
    spots: judged.flatMap(({ town, at }) => (town.point ? [{ code: town.code, name: town.name, point: town.point, colour: all[at]![1], hollow: all[at]![2] ?? false, patients: town.patients ?? 0 }] : [])),
  };
}

/** Whether two answers can be told apart on the map. */
export function comparable(one: Answer, other: Answer): boolean {
  return one.measure === other.measure;
}

function reach(): [Kind[], Judge] {
  return [[['可达', BLUE], ['不可达', RED, true]], (town) => (town.value ? 0 : 1)];
}

function gains(): [Kind[], Judge] {
  return [[['原已可达', PALE], ['新增可达', BLUE], ['仍不可达', RED, true]], (town) => (town.gained ? 1 : town.value ? 0 : 2)];
}

/** Five classes of equally many townships, the best in blue. */
function graded({ towns, low }: Answer): [Kind[], Judge] {
  const breaks = quantiles(towns.flatMap(({ value }) => (value === null ? [] : [value])).sort((a, b) => a - b));
  const many = breaks.length - 1;
  const colours = low ? [...JUDGED].reverse() : JUDGED;
  const kinds = Array.from({ length: many }, (_, at): Kind => [`${SHORT.format(breaks[at]!)} – ${SHORT.format(breaks[at + 1]!)}`, colours[many < 2 ? 2 : Math.round((at * 4) / (many - 1))]!]);
  return [kinds, ({ value }) => breaks.slice(1, -1).filter((bound) => value! >= bound).length];
}

function against({ measure, low }: Answer): [Kind[], Judge] {
  if (measure === 'REACH') {
    return [[['甲、乙均可达', PALE], ['仅甲可达', COLOURS.a], ['仅乙可达', COLOURS.b], ['均不可达', RED, true]],
      (town, other) => (town.value ? (other?.value ? 0 : 1) : other?.value ? 2 : 3)];
  }
  return [[['相当', PALE], ['甲较好', COLOURS.a], ['乙较好', COLOURS.b]], (town, other) => better(town.value!, other?.value ?? null, low)];
}

function better(one: number, other: number | null, low: boolean): number {
  if (other === null) return 1;
  const difference = (one - other) * (low ? -1 : 1);
  return Math.abs(difference) < 1e-9 ? 0 : difference > 0 ? 1 : 2;
}

function marksOf(one: Answer, other: Answer | null): Mark[] {
  const at = ({ point }: Placed) => point.join();
  const first = new Set(placed(one).map(at));
  const marks = (answer: Answer, side: Side) => [...placed(answer).map((site, index): Mark => ({
    text: markText(index, side, other !== null), name: site.name, side, point: site.point, shared: side === 'b' && first.has(at(site)) })), ...endsOf(answer, side)];
  return [...marks(one, 'a'), ...(other ? marks(other, 'b') : [])];
}

type Placed = Pick<Site, 'name' | 'point'>;

function placed({ sites, way }: Answer): Placed[] {
  return way ? way.stops : sites;
}

function endsOf({ way }: Answer, side: Side): Mark[] {
  if (!way) return [];
  const back = way.end?.join() === way.start.join();
  const end = (text: string, name: string, point: [number, number]): Mark => ({ text, name, side, point, shared: false });
  return [end('起', back ? '起点和终点' : '起点', way.start), ...(way.end && !back ? [end('终', '终点', way.end)] : [])];
}

function signsOf(side: Side, answer: Answer, two: boolean): Sign[] {
  const { length } = placed(answer);
  return length ? [{ text: markText(0, side, two), label: answer.way ? '走访次序' : '建议站址', side, count: length }] : [];
}

/** 3, or 甲3 where there are two answers. */
export function markText(index: number, side: Side, two: boolean): string {
  return `${two ? NAMES[side] : ''}${index + 1}`;
}

function lines(town: Town, other: Town | undefined): string[] {
  const said = (one: Town) => (one.near.endsWith(one.said) ? one.near : [one.said, one.near].filter(Boolean).join('；'));
  return [town.name, `患者 ${persons(town.patients)}`, ...(other ? [`甲：${said(town)}`, `乙：${said(other)}`] : [said(town)])];
}

/** A county's colour; grey where nothing may be said. */
function shade(share: number | null): string {
  return share === null ? '#dfe3e7' : JUDGED[Math.min(4, Math.floor(share * 5))]!;
}

function counties(one: Answer, other: Answer | null): [string, string[]][] {
  const said = (share: number | null | undefined) => (share === null || share === undefined ? '无患者或人数过少，不显示' : `可达占比 ${percent(share)}`);
  return [...one.counties].map(([code, share]) => [code, other?.counties.size ? ['', `甲：${said(share)}`, `乙：${said(other.counties.get(code))}`] : ['', said(share)]]);
}

function band(): HTMLElement {
  const colours = JUDGED.map((colour) => { const element = make('i', {}); element.style.background = colour; return element; });
  return make('div', { class: 'plan-band' }, make('p', {}, '底色：各区县患者可达占比（%），灰色不显示'), make('div', { class: 'legend-bands' }, ...colours),
    make('p', { class: 'plan-ticks', 'aria-hidden': 'true' }, ...[0, 20, 40, 60, 80, 100].map((tick) => make('span', {}, String(tick)))));
}

export function planLegend({ title, note, classes, signs, areas, unplaced }: PlanLayer): HTMLElement {
  const rows = classes.map(({ label, colour, hollow, count }) => {
    const swatch = make('span', { class: `spot${hollow ? ' hollow' : ''}` });
    swatch.style.setProperty('--spot', colour);
    return make('li', {}, swatch, label, make('b', {}, String(count)));
  });
  const marked = signs.map(({ text, label, side, count }) => make('li', {}, make('span', { class: `proposed ${side}` }, text), label, make('b', {}, String(count))));
  return make('figure', { class: 'legend plan-legend', 'aria-label': '图例' }, make('figcaption', {}, title), make('ul', {}, ...rows, ...marked),
    areas.size ? band() : null, make('p', {}, `${note}${unplaced ? `${unplaced} 个乡镇尚无位置，不在图上。` : ''}`));
}
