/** The address of the page holds its state, so that a link shows what its sender saw: `#/map?indicator=IND-01&area=220100&level=county`. */

import type { Level, Tree } from './coverage';

export const VIEWS = ['list', 'trend', 'ranking', 'records', 'plan'] as const;
export type View = (typeof VIEWS)[number];

export interface Address {
  indicator: string | null;
  area: string | null;
  level: Level | null;
  period: string | null;
  asOf: string | null;
  tree: Tree | null;
  /** The period shown on a second map. */
  compare: string | null;
  selected: string | null;
  view: View;
  layers: string[];
  /** A planning run, or a question of access, and what it is compared with. */
  plan: string | null;
  vs: string | null;
}

const CODE = /^(\d{6}|\d{9}|J\w+)$/;
const PERIOD = /^\d{4}(Q[1-4]|-(0[1-9]|1[0-2]))?$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const NAME = /^[\w-]{1,40}$/;
const PLAN = /^[\w.-]{1,60}$/;

/** Links of before, with the state in front of the hash, still work. */
export function read(): Address {
  const [, inHash] = location.hash.split('?');
  const query = new URLSearchParams(inHash ?? location.search);
  const valid = (name: string, form: RegExp) => (form.test(query.get(name) ?? '') ? query.get(name) : null);
  const upper = (name: string) => valid(name, NAME)?.toUpperCase() ?? null;
  return {
    indicator: valid('indicator', NAME), area: valid('area', CODE), level: upper('level') as Level | null, period: valid('period', PERIOD),
    asOf: valid('asOf', DAY), tree: upper('tree') as Tree | null, compare: valid('compare', PERIOD), selected: valid('at', CODE),
    view: VIEWS.find((view) => view === query.get('view')) ?? 'list', layers: (query.get('layers') ?? '').split('.').filter((name) => NAME.test(name)),
    plan: valid('plan', PLAN), vs: valid('vs', PLAN),
  };
}

export function write(address: Address, how: 'push' | 'replace'): void {
  const { indicator, area, period, asOf, compare, selected, plan, vs } = address;
  const given: Record<string, string | null> = {
    indicator, area, level: address.level?.toLowerCase() ?? null, period, asOf, tree: address.tree?.toLowerCase() ?? null, compare, at: selected,
    view: address.view === 'list' ? null : address.view, layers: address.layers.join('.') || null, plan, vs,
  };
  const query = new URLSearchParams(Object.entries(given).filter((entry): entry is [string, string] => Boolean(entry[1])));
  const target = `${location.pathname}#/map?${query}`;
  if (target === location.pathname + location.search + location.hash) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', target);
}
