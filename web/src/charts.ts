/** Charts as plain SVG: a trend with its target, a bar with the target on it. */

import type { Indicator, PeriodValue } from './coverage';
import { amount, figure, shown } from './scale';

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [460, 220];
const EDGE = { left: 44, right: 26, top: 16, bottom: 28 };

function draw(tag: string, attributes: Record<string, string | number>, ...children: (Node | string)[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A line through what is known; periods without data stay open. */
export function trendChart(values: PeriodValue[], indicator: Indicator): SVGElement {
  const figures = values.map(({ value }) => figure(value));
  const targets = values.map(({ value }) => value.target);
  const highest = indicator.unit === '%' ? 1 : top(Math.max(1e-9, ...[...figures, ...targets].map((found) => found ?? 0)));
  const x = (at: number) => EDGE.left + (values.length < 2 ? 0.5 : at / (values.length - 1)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value: number) => HEIGHT - EDGE.bottom - (value / highest) * (HEIGHT - EDGE.top - EDGE.bottom);
  const said = values.map(({ period, value }) => `${period} ${shown(value, indicator)}`).join('，');
  return draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'chart', role: 'img', 'aria-label': `趋势：${said}` },
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((share) => gridLine(y(share * highest), amount(share * highest, indicator).replace('.0%', '%'))),
    ...values.flatMap(({ period }, at) => ((values.length - 1 - at) % Math.ceil(values.length / 6) === 0 ? [draw('text', { x: x(at), y: HEIGHT - 9, class: 'chart-label', 'text-anchor': 'middle' }, period)] : [])),
    draw('path', { d: path(targets.map((value, at) => value === null ? null : [x(at), y(value)])), class: 'chart-target' }),
    draw('path', { d: path(figures.map((value, at) => value === null ? null : [x(at), y(value)])), class: 'chart-line' }),
    ...figures.flatMap((value, at) => (value === null ? [] : [draw('circle', { cx: x(at), cy: y(value), r: 3.6, class: 'chart-point' }, draw('title', {}, `${values[at]!.period}：${shown(values[at]!.value, indicator)}`))])));
}

/** A bar of `value` on a track of `highest`, the target as a line. */
export function bar(value: number, highest: number, colour: string, target: number | null): SVGElement {
  const share = highest > 0 ? Math.min(1, Math.max(0, value / highest)) : 0;
  return draw('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', class: 'rank-bar', 'aria-hidden': 'true' },
    draw('rect', { width: 100, height: 10, fill: '#e8edf0' }), draw('rect', { width: share * 100, height: 10, fill: colour }),
    ...(target === null || highest <= 0 ? [] : [draw('rect', { x: Math.min(99, (target / highest) * 100), width: 0.8, height: 10, fill: '#101d27' })]));
}

function gridLine(y: number, label: string): SVGElement[] {
  return [draw('line', { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y, class: 'chart-grid' }), draw('text', { x: EDGE.left - 6, y: y + 4, class: 'chart-label', 'text-anchor': 'end' }, label)];
}

function path(points: ([number, number] | null)[]): string {
  return points.map((point, at) => (point ? `${at > 0 && points[at - 1] ? 'L' : 'M'}${point[0].toFixed(1)} ${point[1].toFixed(1)}` : '')).join('');
}

function top(highest: number): number {
  const size = 10 ** Math.floor(Math.log10(highest));
  return Math.ceil(highest / size) * size;
}
