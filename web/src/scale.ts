/** Figures in words, and classes and colours for them. */

import type { Indicator, Picture, Value } from './coverage';

export interface Scale {
  /** Bounds of the classes, from the lowest to the highest; a bound belongs to the class above it. */
  breaks: number[];
  colours: string[];
  share: boolean;
  target: number | null;
}

export const NONE = -1;
export const HIDDEN = -3;
const SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1];
// Orange to blue, which nobody confuses; a plain amount, where more is neither good nor bad, in one hue.
export const JUDGED = ['#c4573a', '#e59b62', '#f2d9a0', '#97c1c9', '#2f7391'];
const PLAIN = ['#cddfe9', '#a3c2d6', '#739fbe', '#457aa0', '#1d5176'];
const PERCENT = new Intl.NumberFormat('zh-CN', { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
const COUNT = new Intl.NumberFormat('zh-CN');
const RATIO = new Intl.NumberFormat('zh-CN', { maximumFractionDigits: 1 });

/** What is coloured and ranked: the share or ratio, else the number; null where there is nothing to show. */
export function figure(value: Value): number | null {
  return value.value ?? (value.denominator === null ? value.numerator : null);
}

/** Whether the aim is to have few: then a low share is the good one. */
export function fewerIsBetter(values: Value[]): boolean {
  return values.some((value) => value.targetSource?.includes('：≤'));
}

/** One scale for both periods, so that a colour means the same on both maps. */
export function scaleOf({ question, rows, total }: Picture): Scale {
  const target = total?.target ?? rows.find((row) => row.target !== null)?.target ?? null;
  const share = question.indicator.unit === '%';
  if (share && target !== null) return { breaks: SHARES, colours: fewerIsBetter(rows) ? [...JUDGED].reverse() : JUDGED, share, target };
  const figures = rows.flatMap((row) => [figure(row), row.before && figure(row.before)]).filter((found): found is number => found !== null);
  const breaks = quantiles(figures.sort((a, b) => a - b));
  return { breaks, colours: spread(PLAIN, breaks.length - 1), share, target };
}

export function classOf(value: Value, scale: Scale): number {
  const found = figure(value);
  if (found === null) return value.suppressed ? HIDDEN : NONE;
  return scale.breaks.slice(1, -1).filter((bound) => found >= bound).length;
}

/** Where a figure lies on a legend whose classes are equally wide, 0 to 1. */
export function positionOn(scale: Scale, found: number): number {
  const { breaks } = scale;
  const classes = breaks.length - 1;
  const at = Math.min(breaks.slice(1, -1).filter((bound) => found >= bound).length, classes - 1);
  const [low, high] = [breaks[at]!, breaks[at + 1]!];
  return Math.min(1, Math.max(0, (at + (high > low ? (found - low) / (high - low) : 0.5)) / classes));
}

export function shown(value: Value | null, indicator: Indicator): string {
  const found = value && figure(value);
  if (found !== null) return indicator.unit === '%' ? percent(found) : RATIO.format(found);
  return value?.suppressed ? '已隐藏' : '无数据';
}

export function percent(value: number): string {
  // never rounded up to full cover, nor down to none
  const rounded = value < 1 ? Math.min(Math.round(value * 1000) / 1000, 0.999) : value;
  return PERCENT.format(value > 0 ? Math.max(rounded, 0.001) : rounded);
}

/** A part of a value: hidden numbers say so. */
export function count(number: number | null, suppressed = false): string {
  return number === null ? (suppressed ? '已隐藏' : '—') : COUNT.format(number);
}

export function amount(number: number, indicator: Indicator): string {
  return indicator.unit === '%' ? percent(number) : RATIO.format(number);
}

/** A bound as a legend says it: the unit stands in its title. */
export function tick(bound: number, scale: Scale, indicator: Indicator): string {
  return scale.share ? String(Number((bound * 100).toFixed(1))) : amount(bound, indicator);
}

/** What changed since, in percentage points or in the unit; null where one of both is missing. */
export function change(value: Value, before: Value | null): number | null {
  const [now, then] = [figure(value), before && figure(before)];
  return now === null || then === null ? null : now - then;
}

export function changed(difference: number | null, indicator: Indicator): string {
  if (difference === null) return '—';
  const size = indicator.unit === '%' ? `${(Math.abs(difference) * 100).toFixed(1)} 点` : RATIO.format(Math.abs(difference));
  return Math.abs(difference) < 0.0005 ? '持平' : `${difference > 0 ? '▲' : '▼'} ${size}`;
}

export function quantiles(sorted: number[]): number[] {
  const [lowest, highest] = [sorted[0] ?? 0, sorted[sorted.length - 1] ?? 1];
  const inner = [0.2, 0.4, 0.6, 0.8].map((share) => round(sorted[Math.floor(share * sorted.length)] ?? 0)).filter((bound) => bound > lowest && bound < highest);
  return [lowest, ...new Set(inner), highest];
}

/** To two digits that count. */
function round(number: number): number {
  return Number(number.toPrecision(2));
}

function spread(colours: string[], count: number): string[] {
  return Array.from({ length: count }, (_, at) => colours[count < 2 ? 2 : Math.round((at * (colours.length - 1)) / (count - 1))]!);
}
